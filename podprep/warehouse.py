"""DuckDB over a finished dataset: the views of sql/views.sql, and nothing else of the machine."""

from pathlib import Path

import duckdb

from podprep.engine import Machine, sql_text
from podprep.shards import read_manifest


def open_warehouse(shards: Path, machine: Machine) -> duckdb.DuckDBPyConnection:
    """Open a connection with the views over a dataset, closed to everything outside its folder.

    Errors: `PodError` as `read_manifest`.
    """
    read_manifest(shards)
    folder = shards.resolve()
    con = duckdb.connect(config=machine.config())
    con.execute(views(folder))
    con.execute("SET allowed_directories = [$1]", [f"{folder}/"])
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con


def views(folder: Path) -> str:
    """Return sql/views.sql with the paths of one dataset."""
    quoted = str(folder).replace("'", "''")
    text = sql_text("views.sql")
    for relative in ("catalog/", "samples/", "rejects.parquet", "manifest.json"):
        text = text.replace(f"('{relative}", f"('{quoted}/{relative}")
    return text
