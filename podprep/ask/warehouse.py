"""DuckDB over a finished dataset and a run: the views of sql/views.sql and sql/views_run.sql."""

import json
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podprep.engine import Machine, connect, sql_text

# Bytes of a catalog file that is read on threads, twice as fast: 4 million purchases are 24 MB on
# disk and 140 MB in memory.
READ_AHEAD = 32 << 20

_VIEW = re.compile(r"CREATE OR REPLACE VIEW (\w+) AS")
_FILES = re.compile(r"read_(parquet|json)\('([^']+)'")


def open_warehouse(shards: Shards, machine: Machine) -> duckdb.DuckDBPyConnection:
    """Open a connection for our own SQL, with the views over a dataset and no access outside it.

    It can write into the dataset's folder: a user's SQL goes to `closed_warehouse`.
    Errors: `PodError` as `Shards.check`.
    """
    shards.check_all()
    folder = shards.folder.resolve()
    con = connect(machine)
    con.execute(views(folder))
    con.execute("SET allowed_directories = [$1, $2]", [f"{folder}/", f"{_literally(folder)}/"])
    _lock(con)
    return con


@contextmanager
def closed_warehouse(
    shards: Shards, machine: Machine, run: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection that can ask the views and can open no file at all, to read or to write.

    The views are over Arrow here. DuckDB may write wherever it may read, and a statement does not
    show whether it writes: `WITH x AS (COPY ... TO ...) FROM x` is a SELECT.
    Errors: `PodError` as `open_warehouse`, for no run, or for a damaged file.
    """
    shards.check_all()
    # DuckDB makes it if it must spill; the only place it can reach, removed afterwards
    spill = Path(tempfile.gettempdir()) / f"podprep-{secrets.token_hex(8)}"
    con = connect(machine, spill)
    try:
        _put_on_arrow(con, sql_text("views.sql"), shards.folder.resolve())
        if run is not None:
            _put_on_arrow(con, _existing_views(run), run.resolve())
        _lock(con)
        yield con
    finally:
        con.close()
        shutil.rmtree(spill, ignore_errors=True)


def views(folder: Path) -> str:
    """Return sql/views.sql with the absolute paths of one dataset."""
    return _located(sql_text("views.sql"), folder.resolve())


def run_views(run: Path) -> str:
    """Return sql/views_run.sql with the absolute paths of one run; files it lacks are empty views.

    Errors: `PodError` if there is no such folder.
    """
    return _located(_existing_views(run), run.resolve())


def shell_sql(shards: Shards, run: Path | None = None) -> str:
    """Return SQL that gives the plain duckdb client and notebooks the views, by absolute paths.

    Errors: `PodError` as `open_warehouse`, or for no run.
    """
    shards.check_all()
    folder = json.dumps(str(shards.folder.resolve()), ensure_ascii=False)
    head = (
        f"-- The views of podprep over {folder}.\n"
        "-- client:    duckdb -init FILE\n"
        "-- notebook:  con = duckdb.connect(); con.execute(open(FILE).read())\n\n"
    )
    return head + views(shards.folder) + (f"\n{run_views(run)}" if run is not None else "")


def _existing_views(run: Path) -> str:
    """Return sql/views_run.sql without reading files that the run has not written."""
    if not run.is_dir():
        raise PodError(f"there is no run {run}: --run names a folder made by podtrain fit")
    text = sql_text("views_run.sql")
    for pattern in {found[2] for found in _FILES.finditer(text)}:
        if not any(run.glob(pattern)):
            reading = rf"\n *UNION ALL BY NAME FROM read_\w+\('{re.escape(pattern)}'.*?(?=\n\))"
            text = re.sub(reading, "", text, flags=re.DOTALL)
    return text


def _located(text: str, folder: Path) -> str:
    """Return SQL with the absolute paths of what it reads."""
    start = _literally(folder).replace("'", "''")
    return _FILES.sub(lambda found: f"read_{found[1]}('{start}/{found[2]}'", text)


def _literally(folder: Path) -> str:
    """Return a path in which DuckDB sees no wildcard."""
    return re.sub(r"([*?\[])", r"[\1]", str(folder))


def _lock(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")


def _put_on_arrow(con: duckdb.DuckDBPyConnection, text: str, folder: Path) -> None:
    """Create views such that those that read files are Arrow, of the same columns and types."""
    try:
        for statement in con.extract_statements(text):
            con.execute(_located(statement.query, folder))
            found, name = _FILES.search(statement.query), _VIEW.findall(statement.query)[0]
            if found:
                view = con.sql(f"FROM {name}")
                arrow: pa.Table | ds.Dataset
                if found[1] == "parquet":
                    arrow = _dataset(folder, found[2], view.limit(0).to_arrow_table().schema)
                else:
                    arrow = view.to_arrow_table()
                con.execute(f"DROP VIEW {name}")
                con.register(name, arrow)
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise PodError(f"{folder} cannot be read: {str(error).splitlines()[0]}") from None


class _UnbufferedDataset(ds.FileSystemDataset):  # type: ignore[misc]  # pyarrow has no types
    """A dataset read only as DuckDB asks for it; on threads Arrow reads up to 1 GB ahead."""

    def scanner(self, **options: Any) -> ds.Scanner:
        """Return the scanner that DuckDB asks for, without threads."""
        return super().scanner(use_threads=False, batch_readahead=1, **options)


def _dataset(folder: Path, pattern: str, schema: pa.Schema) -> ds.Dataset:
    """Return one file of the catalog, or the many files of a pattern, as Arrow."""
    paths = sorted(folder.glob(pattern))
    whole = ds.dataset(
        [str(path) for path in paths],
        schema=schema,
        format=ds.ParquetFileFormat(
            default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False)
        ),
        partitioning="hive" if "/*/" in pattern else None,
        partition_base_dir=str(folder),
    )
    if "*" not in pattern and paths[0].stat().st_size <= READ_AHEAD:
        return whole
    return _UnbufferedDataset(
        list(whole.get_fragments()), whole.schema, whole.format, whole.filesystem
    )
