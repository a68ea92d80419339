"""Tables for a terminal or a pipe."""

from collections.abc import Sequence
from typing import Any

from podprep.ui.console import Table, numbers, texts
from podtrain.metrics.compare import Comparison
from podtrain.recommenders.registry import Entry
from podtrain.report.results import (
    RANK_COLUMNS,
    TEXT_COLUMNS,
    Found,
    heading,
    result_rows,
    ways,
)

WHAT = {
    ("sequential", False): "among all items",
    ("sequential", True): "among all items but those bought before",
    ("topn", False): "among the candidates",
    ("explanation", False): "sentences; BLEU and ROUGE in percent, DIV: less is better",
}


def results_tables(found: Found) -> list[Table]:
    """Return a task's results: the model, its parts, the baselines, the published figures."""
    columns = TEXT_COLUMNS if found["task"] == "explanation" else RANK_COLUMNS
    tables = []
    for exclude_seen in ways(found):
        n = found["rows"][0]["n"]
        what = f"{n:,} {WHAT[found['task'], exclude_seen]}"
        title = (
            f"{found['task']}, {found['split']}, {found['dataset']}, {found['protocol']} protocol: "
            f"{what}"
        )
        table = Table(title, [*texts(""), *numbers(*map(heading, columns))])
        for row in result_rows(found, exclude_seen=exclude_seen):
            table.add(row.name, *map(row.figure, columns))
        tables.append(table)
    return tables


def comparison_table(baseline: Comparison, others: Sequence[Comparison], title: str) -> Table:
    """Return runs beside the first."""
    figures = numbers("seeds", "mean", "sd", "difference", "95% interval", "p")
    table = Table(title, [*texts("run"), *figures, *texts("verdict")])
    for c in (baseline, *others):
        beside = ("", "", "", "baseline")
        if c is not baseline:
            interval = f"{c.low:+.4f} to {c.high:+.4f}"
            beside = (f"{c.difference:+.4f}", interval, f"{c.p:.4f}", c.verdict)
        sd = "" if c.sd is None else f"{c.sd:.4f}"
        table.add(c.run, str(c.seeds), f"{c.mean:.4f}", sd, *beside)
    return table


def products_table(title: str, products: Sequence[dict[str, Any]]) -> Table:
    """Return products: item_id and asin, and title, score and why where they have any."""
    columns, names = [*numbers("", "item"), *texts("asin")], ["item_id", "asin"]
    for name, column in (
        ("title", texts("title")), ("score", numbers("log p")), ("why", texts("why")),
    ):  # fmt: skip
        if any(product.get(name) is not None for product in products):
            columns += column
            names.append(name)
    table = Table(title, columns)
    for n, product in enumerate(products, 1):
        cells = (product.get(name) for name in names)
        shown = (f"{c:.2f}" if isinstance(c, float) else str("" if c is None else c) for c in cells)
        table.add(str(n), *shown)
    return table


def models_table(listed: Sequence[Entry]) -> Table:
    """Return the recommenders there are."""
    table = Table("Recommenders", texts("name", "tasks", "made by", "what it goes by"))
    for entry in listed:
        made = "podtrain fit --model" if entry.trained else "counting"
        table.add(entry.name, ", ".join(entry.tasks), made, entry.summary)
    return table
