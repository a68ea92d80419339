"""Tables for a terminal or a pipe."""

from typing import Any

from podprep.ui.console import Table, numbers, texts
from podtrain.metrics.compare import Comparison
from podtrain.recommend import Product
from podtrain.report.results import (
    RANK_COLUMNS,
    TEXT_COLUMNS,
    heading,
    result_rows,
    users_of,
)

WHAT = {
    "sequential": "among all items",
    "topn": "among the candidates",
    "explanation": "sentences; BLEU and ROUGE in percent",
}


def results_table(
    dataset: str, reading: str, split: str, task: str, found: dict[str, dict[str, Any]]
) -> Table:
    """Return a task's results: the model, the baselines, and the published figures where known."""
    columns = TEXT_COLUMNS if task == "explanation" else RANK_COLUMNS
    users = users_of(found)
    what = f"{users:,} {WHAT[task]}" if users else WHAT[task]
    title = f"{task}, {split}, {dataset} in the {reading} reading: {what}"
    table = Table(title, [*texts(""), *numbers(*map(heading, columns))])
    for row in result_rows(dataset, reading, split, task, found):
        table.add(row.name, *map(row.figure, columns))
    return table


def comparison_table(baseline: Comparison, others: list[Comparison], title: str) -> Table:
    """Return runs beside the first."""
    figures = numbers("seeds", "mean", "sd", "difference", "95% interval")
    table = Table(title, [*texts("run"), *figures, *texts("verdict")])
    for c in (baseline, *others):
        beside = ("", "", "baseline")
        if c is not baseline:
            beside = (f"{c.difference:+.4f}", f"{c.low:+.4f} to {c.high:+.4f}", c.verdict)
        sd = "" if c.sd is None else f"{c.sd:.4f}"
        table.add(c.run, str(c.seeds), f"{c.mean:.4f}", sd, *beside)
    return table


def products_table(title: str, products: list[Product]) -> Table:
    """Return products with their names, and scores and reasons where they have any."""
    columns = [*numbers("", "item"), *texts("asin")]
    cells = [[str(n), str(p.item_id), p.asin] for n, p in enumerate(products, 1)]
    if any(p.title for p in products):
        columns += texts("title")
        cells = [[*row, p.title or ""] for row, p in zip(cells, products, strict=True)]
    if any(p.score is not None for p in products):
        columns += numbers("log p")
        scores = ["" if p.score is None else f"{p.score:.2f}" for p in products]
        cells = [[*row, score] for row, score in zip(cells, scores, strict=True)]
    if any(p.why for p in products):
        columns += texts("why")
        cells = [[*row, p.why or ""] for row, p in zip(cells, products, strict=True)]
    table = Table(title, columns)
    for row in cells:
        table.add(*row)
    return table
