"""Files in the layouts of others as tables: what `podprep import` and `podprep audit` both read."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from podprep.contract.errors import PodError
from podprep.contract.tasks import SPLITS
from podprep.engine import Progress, read_stream, sql_text
from podprep.exchange.folders import ENTRIES, read_explanations, read_maps
from podprep.raw.dumps import LINES, read_lines


class Reader:
    """Runs the files of sql/import/ over files of others, in one database.

    Errors: `PodError` that names file and line of what is no such file.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, progress: Progress | None = None) -> None:
        self.con, self.progress = con, progress

    def run(self, name: str, paths: dict[str, Path]) -> None:
        """Run a file of sql/import/ with `lines` over files, one after the other."""
        schema = pa.schema([*LINES, ("file", pa.int64()), ("given_split", pa.string())])

        def lines() -> Iterator[pa.RecordBatch]:
            for n, (role, path) in enumerate(paths.items()):
                split = role if role in SPLITS else None
                for batch in read_lines(path):
                    rows = batch.num_rows
                    extra = [pa.array([n] * rows, pa.int64()), pa.array([split] * rows, "string")]
                    yield pa.record_batch([*batch.columns, *extra], schema=schema)
                    if self.progress:
                        self.progress("read", 0, 0)

        query = "CREATE OR REPLACE TABLE lines AS FROM stream"
        read_stream(self.con, "stream", schema, lines(), query)
        self.con.execute(sql_text(f"import/{name}.sql"))
        self.con.execute("DROP TABLE lines")

    def stop_at(self, path: Path, query: str, more: str = "") -> None:
        """Raise the `PodError` of the first (line, reason) of a query, if there is one."""
        if row := self.con.execute(f"{query} LIMIT 1").fetchone():
            raise PodError(f"{path}, line {row[0]:,} {row[1]}{more}")

    def pod_sequences(self, files: dict[str, Path]) -> None:
        """Make users, items and `ordered` from sequential.txt, named by datamaps.json if given."""
        path, names = files["sequences"], files.get("names")
        self.con.register("maps", read_maps(names))
        self.con.execute("CREATE TABLE names AS FROM maps")
        self.con.unregister("maps")
        self.run("pod_sequences", {"sequences": path})
        self._check_lines(path)
        if names:
            more = f", which {names.name} does not name"
            known = "SELECT line_number, 'has user ' || user_id FROM given"
            self.stop_at(path, f"{known} WHERE user_id > (SELECT max(user_id) FROM users)", more)
            known = "SELECT line_number, 'has item ' || list_max(items) FROM given"
            most = "(SELECT max(item_id) FROM items)"
            self.stop_at(path, f"{known} WHERE list_max(items) > {most}", more)

    def coded_lines(self, path: Path) -> None:
        """Make users, items and `ordered` from one file of `user item item ...`, of any codes."""
        self.run("coded_lines", {"lines": path})
        self._check_lines(path)

    def _check_lines(self, path: Path) -> None:
        self.stop_at(path, "SELECT line_number, reason FROM given WHERE reason IS NOT NULL")
        if not self.con.execute("FROM given LIMIT 1").fetchone():
            raise PodError(f"{path} has no line of purchases")

    def pod_negatives(self, path: Path) -> None:
        """Make `listed`, the lines of negative.txt, and what an import takes of them."""
        self.run("pod_negatives", {"negatives": path})
        self.stop_at(path, "SELECT line_number, reason FROM bad_negatives")

    def pod_explanations(self, path: Path | None) -> None:
        """Make `placed`, the entries of explanation.json, and what an import takes of them."""
        batches = read_explanations(path) if path else iter(())
        read_stream(self.con, "stream", ENTRIES, batches, "CREATE TABLE entries AS FROM stream")
        self.con.execute(sql_text("import/pod_explanations.sql"))
