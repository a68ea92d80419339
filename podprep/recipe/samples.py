"""The samples: one query and one file per task, split, round and range of rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from podprep.contract.schema import PART_ROWS, SCHEMAS, sample_path
from podprep.contract.writing import ShardFile, write_parquet
from podprep.engine import Machine, Progress, run_parallel, sql_text
from podprep.recipe.draws import draw_uniform
from podprep.recipe.options import BuildOptions, NegativeSampling, Task

HELD_OUT = ("valid", "test")


@dataclass(frozen=True, slots=True)
class Part:
    """A range of rows of one task, split and round: what becomes one file.

    Rows are users, or the numbers of explanations.
    """

    task: Task
    split: str
    round: int
    number: int

    def select(self) -> str:
        first = self.number * PART_ROWS + 1
        return (
            "CREATE OR REPLACE TEMP TABLE part AS "
            f"SELECT '{self.split}' AS split, {self.round}::BIGINT AS round, "
            f"{first}::BIGINT AS first_row, {first + PART_ROWS - 1}::BIGINT AS last_row"
        )


def write_samples(
    con: duckdb.DuckDBPyConnection,
    options: BuildOptions,
    machine: Machine,
    folder: Path,
    progress: Progress,
    *,
    after_negatives: str = "",
) -> tuple[list[ShardFile], tuple[int, int]]:
    """Write all samples and the frozen negatives of a database that holds the finished stages.

    Returns the files, and the fewest and most negatives of a validation or test user.
    """
    sql = {task: sql_text(f"build/{number}_{task}.sql") for task, number in NUMBERS.items()}

    def samples(cursor: duckdb.DuckDBPyConnection, part: Part) -> ShardFile:
        table = cursor.sql(sql[part.task]).to_arrow_table()
        name = sample_path(part.task, part.split, part.round, part.number)
        return write_parquet(folder, name, SCHEMAS[part.task], [table])

    def draw(cursor: duckdb.DuckDBPyConnection, part: Part) -> None:
        cursor.execute(part.select())
        if part.task is Task.TOPN:
            _draw_negatives(cursor, options)
            if after_negatives:
                cursor.execute(after_negatives)

    def frozen(cursor: duckdb.DuckDBPyConnection, part: Part) -> tuple[pa.Table, ShardFile | None]:
        draw(cursor, part)
        query = "SELECT user_id, split, item_ids FROM drawn ORDER BY user_id"
        table = cursor.sql(query).to_arrow_table()
        return table, samples(cursor, part) if Task.TOPN in options.tasks else None

    def written(cursor: duckdb.DuckDBPyConnection, part: Part) -> ShardFile:
        draw(cursor, part)
        return samples(cursor, part)

    held_out, others = _all_parts(options, _rows(con))
    done: list[ShardFile] = []
    lengths: set[int] = set()
    steps = len(held_out) + len(others)

    def frozen_tables() -> Iterator[pa.Table]:
        results = run_parallel(con, machine.threads, frozen, held_out)
        for n, (table, file) in enumerate(results, 1):
            done.extend([file] if file else [])
            lengths.update(pc.unique(pc.list_value_length(table["item_ids"])).to_pylist())
            progress("samples", n, steps)
            yield table

    catalogue = write_parquet(
        folder, "catalog/negatives.parquet", SCHEMAS["negatives"], frozen_tables()
    )
    for file in run_parallel(con, machine.threads, written, others):
        done.append(file)
        progress("samples", len(done), steps)
    return [catalogue, *done], (min(lengths, default=0), max(lengths, default=0))


def _draw_negatives(cursor: duckdb.DuckDBPyConnection, options: BuildOptions) -> None:
    """Make the table `drawn`: by the SQL, or the same over arrays."""
    cursor.execute(sql_text("build/14_asked.sql"))
    if options.negative_sampling is not NegativeSampling.UNIFORM:
        cursor.execute(sql_text("build/14_negatives.sql"))
        return
    asked = cursor.sql("FROM asked ORDER BY user_id").to_arrow_table()
    drawn = asked.select(["user_id", "split", "round", "item_id"])
    lists = draw_uniform(asked, options.negatives)
    cursor.register("given", drawn.append_column("item_ids", lists))
    cursor.execute("CREATE OR REPLACE TEMP TABLE drawn AS FROM given")
    cursor.unregister("given")


NUMBERS = {Task.SEQUENTIAL: 15, Task.TOPN: 16, Task.EXPLANATION: 17}


def _rows(con: duckdb.DuckDBPyConnection) -> dict[tuple[Task, str], int]:
    """Return how many rows there are to cut into parts, by task and split."""
    users = con.execute("SELECT count(*) FROM users").fetchall()[0][0]
    counted = con.execute("SELECT split, count(*) FROM explanations GROUP BY split").fetchall()
    explained = dict(counted)
    return {
        (task, split): explained.get(split, 0) if task is Task.EXPLANATION else users
        for task in Task
        for split in ("train", *HELD_OUT)
    }


def _all_parts(
    options: BuildOptions, rows: dict[tuple[Task, str], int]
) -> tuple[list[Part], list[Part]]:
    """Return the parts with frozen negatives, and all others."""
    held_out = [p for s in HELD_OUT for p in _parts(Task.TOPN, s, 1, rows)]
    others = [
        part
        for task in options.tasks
        for split in ("train", *HELD_OUT)
        for part in _parts(task, split, options.rounds if split == "train" else 1, rows)
        if part.task is not Task.TOPN or split == "train"
    ]
    return held_out, others


def _parts(task: Task, split: str, rounds: int, rows: dict[tuple[Task, str], int]) -> list[Part]:
    numbers = -(-rows[task, split] // PART_ROWS)
    return [Part(task, split, r, n) for r in range(rounds) for n in range(numbers)]
