"""Folders that others published, as the views of sql/views.sql: what they lack stays empty."""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from podprep.contract.errors import PodError
from podprep.contract.schema import SCHEMAS
from podprep.engine import sql_text
from podprep.exchange.folders import POD_FILES, find_file, find_folder
from podprep.exchange.reader import Reader

_EMPTY = pa.schema(
    [
        *SCHEMAS["sequential"],
        SCHEMAS["topn"].field("candidates"),
        *(("task", pa.string()), ("split", pa.string()), ("round", pa.int32())),
    ]
)
# What the stages write beside the tables of the catalogue, and an audit does not read.
_ACCOUNTS = """
CREATE TABLE stages (stage VARCHAR, what VARCHAR, rows BIGINT);
CREATE TABLE rejects (line_number BIGINT, reason VARCHAR, line VARCHAR)
"""
# Negatives and explanations as they were published: an import would drop the wrong ones.
_AS_PUBLISHED = """
CREATE TABLE negatives AS SELECT user_id, 'test' AS split, item_ids FROM listed;
CREATE OR REPLACE TABLE explanations AS
SELECT CAST(user AS INTEGER) AS user_id, CAST(item AS INTEGER) AS item_id, split, feature, sentence
FROM placed
"""


@dataclass(frozen=True, slots=True)
class Published:
    """What no view can tell of a folder that was read."""

    layout: str
    users_numbered: bool = True  # the numbers are the data's own
    items_numbered: bool = True
    named: bool = False  # product codes are known


def open_published(con: duckdb.DuckDBPyConnection, path: Path) -> Published:
    """Make the views over sequential.txt with its companions, or over one file of sequences.

    Errors: `PodError` naming file and line where the layout is another.
    """
    if not path.exists():
        raise PodError(f"{path} does not exist: name a dataset, or a folder that was published")
    con.execute(_ACCOUNTS)
    con.register("samples", _EMPTY.empty_table())
    reader = Reader(con)
    if path.is_dir() and find_file(path / POD_FILES["sequences"]):
        return _open_pod(reader, path)
    reader.coded_lines(path if path.is_file() else _only_file(path))
    con.execute(sql_text("build/08_split.sql"))
    for table in ("negatives", "explanations"):
        con.register(table, SCHEMAS[table].empty_table())
    users, items = con.execute(
        "SELECT (SELECT bool_and(user_id IS NOT DISTINCT FROM TRY_CAST(reviewer_id AS INTEGER)) "
        "FROM users), (SELECT bool_and(item_id IS NOT DISTINCT FROM TRY_CAST(asin AS INTEGER)) "
        "FROM items)"
    ).fetchall()[0]
    return Published("one file of user item item ...", users, items, named=not items)


def _open_pod(reader: Reader, path: Path) -> Published:
    files = find_folder(path, "pod").files
    reader.pod_sequences(files)
    reader.con.execute(sql_text("build/08_split.sql"))
    if "names" not in files:
        reader.con.execute(
            "DELETE FROM items WHERE item_id NOT IN (SELECT item_id FROM interactions)"
        )
    if "negatives" in files:
        reader.pod_negatives(files["negatives"])
    else:
        reader.con.execute("CREATE TABLE listed (user_id INTEGER, item_ids INTEGER[])")
    reader.pod_explanations(files.get("explanations"))
    nobody = "SELECT entry FROM placed WHERE user IS NULL OR item IS NULL ORDER BY entry LIMIT 1"
    if row := reader.con.execute(nobody).fetchone():
        raise PodError(f"{files['explanations']}, entry {row[0]:,} has no numbers of user and item")
    reader.con.execute(_AS_PUBLISHED)
    return Published("sequential.txt with companions", named="names" in files)


def _only_file(folder: Path) -> Path:
    files = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    if len(files) != 1:
        raise PodError(
            f"{folder} is neither a dataset (no manifest.json) nor published sequences (no "
            f"{POD_FILES['sequences']}, and {len(files)} files instead of one): name one file of "
            "`user item item ...` lines"
        )
    return files[0]
