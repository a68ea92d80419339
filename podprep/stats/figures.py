"""Figures of a dataset: one query a table, read from the finished files."""

from typing import Any

import duckdb
from rich.table import Table

from podprep.ask.warehouse import open_warehouse
from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podprep.engine import Machine, sql_text
from podprep.report import accounting_table

QUERIES = (
    "figures",
    "lengths",
    "popularity",
    "quantiles",
    "months",
    "years",
    "ties",
    "samples",
    "templates",
    "prompts",
    "negatives",
)

Rows = list[dict[str, Any]]


def collect(shards: Shards, machine: Machine) -> dict[str, Any]:
    """Return the rows of every query of sql/stats/ by its name, and the manifest.

    Errors: `PodError` as `open_warehouse`, for a damaged file, or for too little memory.
    """
    con = open_warehouse(shards, machine)
    try:
        found: dict[str, Any] = {}
        for name in QUERIES:
            found[name] = con.sql(sql_text(f"stats/{name}.sql")).to_arrow_table().to_pylist()
    except duckdb.OutOfMemoryException:
        raise PodError(
            f"the figures do not fit in --memory {machine.memory >> 20}MB: give it more"
        ) from None
    except duckdb.Error as error:
        raise PodError(f"{shards.folder} cannot be read: {str(error).splitlines()[0]}") from None
    finally:
        con.close()
    # what the build counted is not counted again; `podprep verify` is what distrusts it
    found["figures"] = [{**shards.manifest["statistics"], **found["figures"][0]}]
    return {**found, "manifest": shards.manifest}


def stats_tables(found: dict[str, Any]) -> list[Table]:
    """Return what `collect` found as tables for a terminal."""
    tables = [
        accounting_table(found["manifest"]),
        figures_table(found),
        _table("Sequence lengths", _lengths(found["lengths"])),
        _table("Purchases of an item", _quantiles(found)),
    ]
    if found["years"]:
        tables.append(_table("Purchases by year", found["years"]))
    if found["ties"]:
        tables.append(_table("Purchases at the same time, by size of the tie", _ties(found)))
    return [
        *tables,
        _table("Samples", found["samples"]),
        _table("Use of templates", found["templates"]),
        _table("Prompts, first round", prompt_lengths(found["prompts"])),
        _table("Test candidates by popularity in training, in tenths of the items", _tenths(found)),
    ]


def figures_table(found: dict[str, Any]) -> Table:
    """Return the figures of the whole dataset."""
    table = Table(title=heading(found["manifest"]), title_justify="left", show_header=False)
    table.add_column()
    table.add_column()
    for name, value in figures(found):
        table.add_row(name, value)
    return table


def heading(manifest: dict[str, Any]) -> str:
    """Return what a dataset is called: name, where from, protocol and seed."""
    inputs = manifest["inputs"]
    imported = inputs.get("imported")
    origin = f"imported from {imported}" if imported else f"{manifest['release']} release"
    return f"{inputs['dataset']}, {origin}, {inputs['reading']} protocol, seed {inputs['seed']}"


def figures(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the figures of the whole dataset as names and words."""
    f, statistics = found["figures"][0], found["manifest"]["statistics"]
    fewest, most = statistics["fewest_negatives"], statistics["most_negatives"]
    inputs = found["manifest"]["inputs"]
    return [
        ("users", f"{f['users']:,}"),
        ("items", f"{f['items']:,}, {f['items_never_trained']:,} of them never bought in training"),
        ("purchases", f"{f['purchases']:,}"),
        ("density", f"{f['density']:.4%}"),
        (
            "sequence length",
            f"mean {f['mean_length']:.2f}, median {f['median_length']:,}, "
            f"{f['shortest']:,} to {f['longest']:,}",
        ),
        ("bought most", f"a tenth of the items has {_percent(f['top_share'])} of the purchases"),
        ("Gini of purchases", f"{f['gini']:.3f}" if f["gini"] is not None else "none"),
        ("time", f"{f['first_day']} to {f['last_day']}" if f["first_day"] else "not known"),
        (
            "tied in time",
            f"{_percent(f['tied_share'])} of the purchases, {_percent(f['tied_test_share'])} of "
            f"the test purchases; order {inputs['tie_policy']}"
            if f["tied_share"] is not None
            else f"not known; order {inputs['tie_policy']}",
        ),
        ("negatives", f"{fewest if fewest == most else f'{fewest} to {most}'} a held-out purchase"),
    ]


def prompt_lengths(prompts: Rows) -> Rows:
    """Return one row per task: how long its prompts are, in words and in characters."""
    rows: Rows = []
    for task in dict.fromkeys(row["task"] for row in prompts):
        own = [row for row in prompts if row["task"] == task]
        samples = sum(row["samples"] for row in own)
        rows.append(
            {
                "task": task,
                "samples": samples,
                "fewest words": own[0]["words"],
                "median": quantile(own, "words", "samples", 0.5),
                "95 of 100": quantile(own, "words", "samples", 0.95),
                "most words": own[-1]["words"],
                "fewest characters": min(row["fewest_characters"] for row in own),
                "mean": round(sum(row["characters"] for row in own) / samples),
                "most characters": max(row["most_characters"] for row in own),
            }
        )
    return rows


def quantile(rows: Rows, value: str, count: str, share: float) -> int:
    """Return the least value that `share` of the counted do not exceed; rows are in order."""
    wanted, seen = share * sum(row[count] for row in rows), 0
    for row in rows:
        seen += row[count]
        if seen >= wanted:
            return int(row[value])
    return 0


def _lengths(rows: Rows) -> Rows:
    users = sum(row["users"] for row in rows)
    edges = [(1, 2), (3, 4), (5, 5), (6, 7), (8, 10), (11, 20), (21, 50), (51, 100), (101, None)]
    found = []
    for low, high in edges:
        own = [r for r in rows if r["length"] >= low and (high is None or r["length"] <= high)]
        n = sum(row["users"] for row in own)
        if n:
            name = (
                f"{low} and more"
                if high is None
                else f"{low}"
                if low == high
                else f"{low} to {high}"
            )
            found.append({"purchases": name, "users": n, "share": _percent(n / users)})
    return found


def _quantiles(found: dict[str, Any]) -> Rows:
    names = {0: "least", 0.5: "median", 1: "most"}
    return [
        {
            "items": names.get(row["share"], f"{float(row['share']):.0%} have at most"),
            "purchases": row["purchases"],
        }
        for row in found["quantiles"]
    ]


def _ties(found: dict[str, Any]) -> Rows:
    total = sum(row["purchases"] for row in found["ties"])
    return [
        {
            "tie of": {1: "none", 6: "6 and more"}.get(row["size"], str(row["size"])),
            "purchases": row["purchases"],
            "share": _percent(row["purchases"] / total),
        }
        for row in found["ties"]
    ]


def _tenths(found: dict[str, Any]) -> Rows:
    return [
        {
            "tenth": row["tenth"],
            "bought": f"{row['fewest_purchases']:,} to {row['most_purchases']:,} times",
            "of the negatives": _percent(row["negatives"]),
            "of the test purchases": _percent(row["positives"]),
        }
        for row in found["negatives"]
    ]


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"


def _table(title: str, rows: Rows) -> Table:
    """Return rows as a table; numbers are right-aligned."""
    table = Table(title=title, title_justify="left")
    for name, value in (rows[0] if rows else {}).items():
        right = not isinstance(value, str) or value.endswith("%")
        table.add_column(name.replace("_", " "), justify="right" if right else "left")
    for row in rows:
        year = {name: str(value) for name, value in row.items() if name == "year"}
        words = {n: v if isinstance(v, str) else f"{v:,}" for n, v in row.items()}
        table.add_row(*(words | year).values())
    return table
