"""Figures of a dataset: one query a table, read from the finished files."""

from typing import Any

import duckdb

from podprep.ask.warehouse import open_warehouse
from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podprep.engine import Machine, sql_text

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


def heading(manifest: dict[str, Any]) -> str:
    """Return what a dataset is called: name, where from, protocol and seed."""
    inputs = manifest["inputs"]
    imported = inputs.get("imported")
    origin = f"imported from {imported}" if imported else f"{manifest['release']} release"
    return f"{inputs['dataset']}, {origin}, {inputs['reading']} protocol, seed {inputs['seed']}"


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
