"""Tables for a terminal or a pipe."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from podtrain.evaluate.evaluate import UNSEEN_RULE
from podtrain.metrics.compare import Comparison
from podtrain.recommend import Product
from podtrain.recommenders.baselines import RULES
from podtrain.report.published import published

METHODS = {
    "exact": "model, every item scored",
    "unseen": "model, bought items left out",
    "beam": "model, beam search",
    "pod": "model, as published",
}
RULE_NAMES = {**{rule: rule for rule in RULES}, UNSEEN_RULE: "item-knn, bought items left out"}
RANK_COLUMNS = tuple(f"{name}@{k}" for k in (1, 5, 10) for name in ("hit", "ndcg"))
TEXT_COLUMNS = (
    *("bleu1", "bleu4", "rouge1", "rouge2", "rougeL"),
    *("rouge1_pod", "rouge2_pod", "rougeL_pod", "distinct", "feature"),
)


def results_table(
    dataset: str, reading: str, split: str, task: str, found: dict[str, dict[str, Any]]
) -> Table:
    """Return a task's results: the model, the rules, and the published figures where known."""
    columns = TEXT_COLUMNS if task == "explanation" else RANK_COLUMNS
    users = next((f["users"] for f in found.values() if "users" in f), 0)
    what = {
        "sequential": "among all items",
        "topn": "among the candidates",
        "explanation": "sentences; BLEU and ROUGE in percent",
    }
    title = f"{task}, {split}, {dataset} in the {reading} reading: {users:,} {what[task]}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column.replace("hit@", "HR@").replace("ndcg", "NDCG"), justify="right")
    for method, values in _rows(dataset, task, found):
        table.add_row(method, *(_figure(values, column) for column in columns))
    return table


def _rows(
    dataset: str, task: str, found: dict[str, dict[str, Any]]
) -> list[tuple[str, dict[str, float]]]:
    rows = [(METHODS[m], found[m]["metrics"]) for m in METHODS if m in found]
    rows += [(name, found[rule]["metrics"]) for rule, name in RULE_NAMES.items() if rule in found]
    if known := published(task, dataset):
        rows.append(("POD as published (leaky data)", known))
    return rows


def _figure(values: dict[str, float], column: str) -> str:
    name = column if column in values else column.replace("@", "_pod@")
    if name not in values:
        return ""
    ranked = "@" in column or column in ("distinct", "feature")
    return f"{values[name]:.4f}" if ranked else f"{values[name]:.2f}"


def comparison_table(baseline: Comparison, others: list[Comparison], title: str) -> Table:
    """Return runs beside the first."""
    table = Table(title=title, title_justify="left")
    for column in ("run", "seeds", "mean", "sd", "difference", "95% interval", "verdict"):
        table.add_column(column, justify="left" if column in ("run", "verdict") else "right")
    for c in (baseline, *others):
        beside = ("", "", "baseline")
        if c is not baseline:
            beside = (f"{c.difference:+.4f}", f"{c.low:+.4f} to {c.high:+.4f}", c.verdict)
        sd = "" if c.sd is None else f"{c.sd:.4f}"
        table.add_row(Text(c.run), str(c.seeds), f"{c.mean:.4f}", sd, *beside)
    return table


def products_table(title: str, products: list[Product]) -> Table:
    """Return products with their names, and scores where they have any."""
    scored = any(p.score is not None for p in products)
    titled = any(p.title for p in products)
    table = Table(title=title, title_justify="left")
    explained = any(p.why for p in products)
    columns = ["", "item", "asin", *(["title"] if titled else []), *(["log p"] if scored else [])]
    columns += ["why"] if explained else []
    for column in columns:
        table.add_column(column, justify="right" if column in ("", "item", "log p") else "left")
    for n, p in enumerate(products, 1):
        row = [str(n), str(p.item_id), p.asin]
        row += [p.title or ""] if titled else []
        row += [f"{p.score:.2f}"] if p.score is not None else []
        row += [p.why or ""] if explained else []
        table.add_row(*(Text(cell) for cell in row))
    return table


def print_tables(*tables: Table) -> None:
    """Print tables to stdout; in a pipe 120 columns wide, not the terminal's guess of 80."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    for table in tables:
        console.print(table)
