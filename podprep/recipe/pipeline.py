"""The build: the stages of sql/build/ in order, their row accounting, and the shards."""

import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from podprep import __version__
from podprep.contract.errors import PodError
from podprep.contract.manifest import write_manifest
from podprep.contract.schema import SCHEMA_VERSION, SCHEMAS
from podprep.contract.shards import new_dataset
from podprep.contract.tasks import SPLITS
from podprep.contract.writing import ShardFile, evenly, write_parquet
from podprep.engine import (
    Machine,
    Progress,
    connect,
    one_line_errors,
    read_stream,
    run_parallel,
    sql_text,
)
from podprep.raw.dumps import LINES, read_lines, read_metadata
from podprep.recipe.inputs import Inputs
from podprep.recipe.lexicon import load_lexicon
from podprep.recipe.options import Task
from podprep.recipe.samples import write_samples
from podprep.recipe.sentiment import read_sentiment
from podprep.recipe.templates import templates_table

CATALOG_ROWS = 131_072  # rows in a row group of the catalogue
# what the SQL reads of the options, in the one row of a table of that name
OPTIONS = (
    "protocol", "seed", "core", "negatives", "negative_sampling", "history", "segments",
    "duplicates",
)  # fmt: skip
OUTCOMES = ("kept", *SPLITS)
SENTENCE_LINES = 32_768  # lines of the dump that one query searches for sentences


def build(
    inputs: Inputs,
    machine: Machine,
    out: Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
    stages: "type[Build] | None" = None,
) -> dict[str, Any]:
    """Build a dataset at `out` and return its manifest; `stages` reads another kind of input.

    Errors: `PodError` for whatever a user can mend; then nothing of the dataset is left.
    """
    with one_line_errors(out, machine):
        described = inputs.described()
        with new_dataset(out, described, force=force) as folder:
            con = connect(machine, folder / "spill")
            try:
                work = (stages or Build)(con, inputs, machine, folder, progress or _silent)
                manifest = work.run(described)
            finally:
                con.close()
            return manifest


def _silent(stage: str, done: int, total: int) -> None:
    """Report no progress."""


class Build:
    """One run of the stages over one database."""

    after_negatives = ""  # SQL that replaces drawn negatives, of an import

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        inputs: Inputs,
        machine: Machine,
        folder: Path,
        progress: Progress,
    ) -> None:
        self.con, self.inputs, self.machine = con, inputs, machine
        self.folder, self.progress = folder, progress
        self.options = inputs.options
        self.files: list[ShardFile] = []

    def run(self, described: dict[str, Any]) -> dict[str, Any]:
        self._prepare()
        release = self.load()
        self._write_catalog()
        self.progress("negatives", 0, 0)
        self._sql("13_pools")
        files, (fewest, most) = write_samples(
            self.con,
            self.options,
            self.machine,
            self.folder,
            self.progress,
            after_negatives=self.after_negatives,
        )
        self.files += files
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "release": release,
            "inputs": described,
            "versions": {
                "python": platform.python_version(),
                "podprep": __version__,  # also of a copy of the tree that nobody installed
                **{name: version(name) for name in ("duckdb", "pyarrow")},
            },
            "stages": self._accounting(),
            "statistics": {
                **self._statistics(),
                "fewest_negatives": fewest,
                "most_negatives": most,
            },
            "files": {
                f.path: {"rows": f.rows, "bytes": f.bytes, "sha256": f.sha256}
                for f in sorted(self.files, key=lambda f: f.path)
            },
        }
        self.con.close()
        write_manifest(self.folder, manifest)
        return manifest

    def load(self) -> str:
        """Make the tables users, items, interactions, sequences, explanations and rejects.

        Returns the release of the dump.
        """
        self._read()
        release = str(self._value("SELECT max(release) FROM parsed WHERE reason IS NULL"))
        with ThreadPoolExecutor(1) as pool:  # one core mines features while another sorts
            features = pool.submit(self._mine_features) if self.inputs.mines else None
            self._clean()
            self._order()
            self.con.execute(
                "CREATE TABLE sentences (line_number BIGINT, feature VARCHAR, sentence VARCHAR)"
            )
            if features:
                self.progress("features", 0, 0)
                features.result()
        if self.inputs.mines:
            self._find_sentences()
        elif self.inputs.sentiment and Task.EXPLANATION in self.options.tasks:
            self._read_sentiment(self.inputs.sentiment)
        self._sql("12_explanations")
        self.con.execute("DROP TABLE parsed")
        return release

    def _sql(self, name: str) -> None:
        self.con.execute(sql_text(f"build/{name}.sql"))

    def _value(self, query: str) -> Any:
        row = self.con.execute(query).fetchone()
        return row[0] if row else None

    def _table(self, name: str, table: pa.Table) -> None:
        self.con.register("given", table)
        self.con.execute(f"CREATE TABLE {name} AS FROM given")
        self.con.unregister("given")

    def _prepare(self) -> None:
        values = {name: [getattr(self.options, name)] for name in OPTIONS}
        values["reading"] = values["protocol"]  # read by 14_asked.sql
        explained = [Task.EXPLANATION in self.options.tasks]
        self._table("options", pa.table({**values, "explained": explained}))
        self._table("templates", templates_table(self.inputs.templates))
        self.con.execute("CREATE TABLE stages (stage VARCHAR, what VARCHAR, rows BIGINT)")
        self._sql("00_draws")
        self.con.execute(f"CREATE OR REPLACE MACRO seed() AS {self.options.seed}")

    def _read(self) -> None:
        dump = self.inputs.dump

        def counted() -> Iterator[pa.RecordBatch]:
            lines = 0
            for batch in read_lines(dump):
                lines += batch.num_rows
                self.progress("read", lines, 0)
                yield batch

        read_stream(self.con, "lines", LINES, counted(), sql_text("build/01_read.sql"))
        self._sql("02_reject")
        lines = self._value("SELECT count(*) FROM parsed")
        bad = self._value("SELECT count(*) FROM rejects")
        if bad > self.options.max_bad * lines or bad == lines:
            reasons = self.con.execute(
                "SELECT reason, count(*), min(line_number) FROM rejects GROUP BY reason "
                "ORDER BY count(*) DESC, reason LIMIT 3"
            ).fetchall()
            listed = ", ".join(f"{n:,} {reason} (first: line {at:,})" for reason, n, at in reasons)
            raise PodError(
                f"{dump}: {bad:,} of {lines:,} lines are not reviews: {listed}; "
                f"more than --max-bad {self.options.max_bad:g} allows: mend the dump, or raise it"
            )

    def _clean(self) -> None:
        self.progress("deduplicate", 0, 0)
        self._sql("03_deduplicate")
        self.progress("core", 0, 0)
        before = self._value("SELECT count(*) FROM purchases")
        dropped = [0, 0]
        peel = self.con.extract_statements(sql_text("build/04_core.sql"))
        while True:
            deleted = [self.con.execute(statement).fetchone() for statement in peel]
            counts = [row[0] if row else 0 for row in deleted]
            dropped = [a + b for a, b in zip(dropped, counts, strict=True)]
            if not any(counts):
                break
        core = self.options.core
        after = before - sum(dropped)
        self.con.executemany(
            "INSERT INTO stages VALUES ('core', ?, ?)",
            [
                ("in", before),
                ("kept", after),
                (f"user with fewer than {core}", dropped[0]),
                (f"product with fewer than {core}", dropped[1]),
            ],
        )
        if not after:
            raise PodError(
                f"{self.inputs.dump}: no {core}-core is left of {before:,} purchases: "
                "use a larger dump or a smaller --core"
            )

    def _order(self) -> None:
        self.progress("order", 0, 0)
        self._sql("05_order")
        self.con.execute("DROP TABLE purchases")
        self.progress("number", 0, 0)
        self._sql("06_number")
        if self.inputs.metadata:
            asins = self.con.sql("SELECT asin FROM items").to_arrow_table()["asin"]
            batches = read_metadata(self.inputs.metadata, asins.combine_chunks())
            query = "CREATE TABLE metadata_lines AS FROM lines"
            read_stream(self.con, "lines", LINES, batches, query)
            self._sql("07_metadata")
        self.progress("split", 0, 0)
        self._sql("08_split")
        self.con.execute("DROP TABLE ordered")

    def _read_sentiment(self, path: Path) -> None:
        self.progress("sentiment", 0, 0)
        rows, problems = read_sentiment(path)
        records = pa.array(range(1, rows.num_rows + 1), pa.int64())
        self._table("sentiment", rows.append_column("record", records))
        columns = [[n for n, _ in problems], [reason for _, reason in problems]]
        types = (pa.int64(), pa.string())
        arrays = [pa.array(c, t) for c, t in zip(columns, types, strict=True)]
        self._table("unusable", pa.table(arrays, names=["record", "reason"]))
        self._sql("11_sentiment")

    def _mine_features(self) -> None:
        with self.con.cursor() as cursor:
            cursor.execute(
                "CREATE VIEW reviews AS SELECT line_number, text FROM parsed WHERE reason IS NULL"
            )
            cursor.register("given", load_lexicon())
            cursor.execute("CREATE TABLE lexicon AS FROM given")
            cursor.execute(sql_text("build/09_features.sql"))

    def _find_sentences(self) -> None:
        # features are mined from every review of the dump, sentences sought for the purchases
        self.con.execute(
            "DELETE FROM parsed WHERE line_number NOT IN (SELECT line_number FROM interactions)"
        )
        self.progress("sentences", 0, 0)
        last = self._value("SELECT max(line_number) FROM interactions")
        firsts = range(1, last + 1, SENTENCE_LINES)
        prepare, select = self.con.extract_statements(sql_text("build/10_sentences.sql"))

        def search(cursor: duckdb.DuckDBPyConnection, first: int) -> None:
            cursor.execute(
                "CREATE OR REPLACE TEMP TABLE block AS SELECT "
                f"{first} AS first_line, {first + SENTENCE_LINES - 1} AS last_line"
            )
            cursor.execute(prepare.query)
            cursor.execute(f"INSERT INTO sentences {select.query}")

        done = run_parallel(self.con, self.machine.threads, search, firsts)
        for n, _ in enumerate(done, 1):
            self.progress("sentences", n, len(firsts))

    def _write_catalog(self) -> None:
        self.progress("catalogue", 0, 0)
        items = "items"
        if self.inputs.metadata:
            items = "items LEFT JOIN metadata USING (asin)"
        for name, schema, query in (
            ("rejects", "rejects", "FROM rejects ORDER BY line_number"),
            ("catalog/users", "users", "FROM users ORDER BY user_id"),
            (
                "catalog/items",
                "items_with_metadata" if self.inputs.metadata else "items",
                f"FROM {items} ORDER BY item_id",
            ),
            (
                "catalog/interactions",
                "interactions",
                "FROM interactions ORDER BY user_id, position",
            ),
            (
                "catalog/explanations",
                "explanations",
                "FROM explanations ORDER BY user_id, position",
            ),
        ):
            columns = ", ".join(SCHEMAS[schema].names)
            reader = self.con.sql(f"SELECT {columns} {query}").to_arrow_reader(CATALOG_ROWS)
            tables = evenly(reader, CATALOG_ROWS)
            file = write_parquet(
                self.folder, f"{name}.parquet", SCHEMAS[schema], tables, CATALOG_ROWS
            )
            self.files.append(file)

    def _accounting(self) -> list[dict[str, Any]]:
        """Return the rows of each stage: in, out by outcome, and dropped by reason."""
        rows = self.con.execute("SELECT stage, what, rows FROM stages").fetchall()
        stages: dict[str, dict[str, Any]] = {}
        for stage, what, count in rows:
            entry = stages.setdefault(stage, {"stage": stage, "in": 0, "out": {}, "dropped": {}})
            if what == "in":
                entry["in"] = count
            elif what in OUTCOMES:
                entry["out"][what] = count
            elif count:
                entry["dropped"][what] = count
        for entry in stages.values():
            assert entry["in"] == sum(entry["out"].values()) + sum(entry["dropped"].values()), entry
            for outcomes in ("out", "dropped"):
                entry[outcomes] = dict(sorted(entry[outcomes].items(), key=lambda o: (-o[1], o[0])))
        return list(stages.values())

    def _statistics(self) -> dict[str, Any]:
        reader = self.con.sql(sql_text("build/18_statistics.sql")).to_arrow_table()
        samples: dict[str, dict[str, int]] = {}
        for file in self.files:
            if file.path.startswith("samples/"):
                task, split = (p.partition("=")[2] for p in file.path.split("/")[1:3])
                counts = samples.setdefault(task, dict.fromkeys(SPLITS, 0))
                counts[split] += file.rows
        return {**reader.to_pylist()[0], "samples": samples}
