"""A dataset as a library has it: Polars frames, SQL, and what the commands say of it.

One rule for the frames: `users` and `items`, which name the ids, are DataFrames; whatever has a
row a purchase, a sample or a user's candidates is a LazyFrame that scans the Parquet files.

Libraries are imported where they are needed: `podprep show` waits for none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podprep.contract.errors import PodError
from podprep.contract.schema import EXPLANATIONS, INTERACTIONS, ITEMS, NEGATIVES, SCHEMAS, USERS
from podprep.contract.shards import Shards
from podprep.contract.tasks import SPLITS, TASKS

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from podprep.audit.leaks import Audit
    from podprep.audit.verify import Verification


@dataclass(frozen=True, slots=True)
class Result:
    """The rows that a query gave, as Polars, Arrow or pandas."""

    table: pa.Table

    def pl(self) -> pl.DataFrame:
        """Return the rows as a Polars DataFrame."""
        import polars as pl

        return pl.DataFrame(self.table)

    def arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        return self.table

    def df(self) -> pd.DataFrame:
        """Return the rows as a pandas DataFrame. Errors: `PodError` where there is no pandas."""
        try:
            import pandas as pd  # noqa: F401 - only to say in one line that there is none
        except ImportError:
            raise PodError("pandas is not installed: pip install pandas, or use .pl()") from None
        return self.table.to_pandas()

    def __repr__(self) -> str:
        return repr(self.pl())


class Dataset(Shards):
    """A dataset that was opened: its seal is checked, each file is hashed when it is first read.

    Errors: `PodError` wherever a file is missing or was changed after the build.
    """

    __slots__ = ()

    @property
    def users(self) -> pl.DataFrame:
        """One row per user: user_id (from 1), reviewer_id."""
        import polars as pl

        return pl.DataFrame(self.table(USERS))

    @property
    def items(self) -> pl.DataFrame:
        """One row per product: item_id (from 1), asin; title, brand, categories where known.

        >>> ds.items.filter(item_id=1).select("title", "brand")
        shape: (1, 2)
        ...
        """
        import polars as pl

        return pl.DataFrame(self.table(ITEMS))

    @property
    def interactions(self) -> pl.LazyFrame:
        """One row per purchase: user_id, position, item_id, timestamp, rating, tied, split.

        >>> ds.interactions.filter(user_id=7).select(pl.len()).collect().item()
        12
        """
        return self._scan([INTERACTIONS])

    @property
    def negatives(self) -> pl.LazyFrame:
        """One row per user and held-out split: user_id, split, item_ids."""
        return self._scan([NEGATIVES])

    @property
    def explanations(self) -> pl.LazyFrame:
        """One row per explained purchase: user_id, item_id, split, feature, sentence."""
        return self._scan([EXPLANATIONS])

    def samples(self, task: str, split: str = "train", round: int | None = None) -> pl.LazyFrame:
        """Prompts and targets, one row per sample, with the columns task, split and round.

        round: one draw of training samples; without it all of them. Errors: `PodError` also for a
        task, split or round that there is not.

        >>> ds.samples("sequential", split="test").select("target").head(2).collect()["target"][0]
        '29'
        """
        if task not in TASKS:
            raise PodError(f"there is no task {task}: choose from {', '.join(TASKS)}")
        if split not in SPLITS:
            raise PodError(f"there is no split {split}: choose from {', '.join(SPLITS)}")
        rounds = range(self.rounds if split == "train" else 1)
        if round is not None and round not in rounds:
            raise PodError(f"{self.folder} has no round {round} of {split}: it has {len(rounds)}")
        chosen = rounds if round is None else [round]
        names = [name for r in chosen for name in self.sample_files(task, split, r)]
        if names:
            return self._scan(names, hive=True)
        if task in self.manifest["inputs"]["options"]["tasks"]:  # no review explained anything
            return _no_samples(task)
        raise PodError(f"{self.folder} has no {task} samples: build it with --tasks")

    def sql(
        self,
        query: str,
        *,
        run: Path | str | None = None,
        memory: str = "1GB",
        threads: int | None = None,
        **variables: Any,
    ) -> Result:
        """Answer one SELECT over the views of `podprep query`; nothing else can be read or written.

        run: a folder made by podtrain fit, for its views. Other keywords are what getvariable()
        gives. Errors: `PodError` for whatever DuckDB refuses.

        >>> ds.sql("SELECT count(*) AS n FROM users").pl().item()
        430
        >>> ds.sql("FROM items WHERE item_id = getvariable('item')", item=3).arrow().num_rows
        1
        """
        import pyarrow as pa

        from podprep.ask.query import answer, set_variables
        from podprep.ask.warehouse import closed_warehouse
        from podprep.engine import Machine

        folder = None if run is None else Path(run)
        with closed_warehouse(self, Machine.of(threads, memory), folder) as con:
            set_variables(con, query, variables)
            found = answer(con, query)
            return Result(pa.Table.from_batches(found.batches, found.schema))

    def question(
        self,
        name: str,
        *,
        run: Path | str | None = None,
        memory: str = "1GB",
        threads: int | None = None,
        **variables: Any,
    ) -> Result:
        """Answer a ready question: see `podprep.questions()`.

        >>> ds.question("split-sizes").pl()["split"].to_list()
        ['train', 'test', 'valid']
        """
        from podprep.ask.query import ready_question

        query = ready_question(name, run)
        return self.sql(query.sql, run=run, memory=memory, threads=threads, **variables)

    def audit(self, *, memory: str = "2GB", threads: int | None = None) -> Audit:
        """Look for leaks: what gives the answer away without any behaviour.

        >>> ds.audit().leaks
        0
        """
        from podprep.audit.leaks import audit
        from podprep.engine import Machine

        return audit(self.folder, Machine.of(threads, memory))

    def verify(self, **options: Any) -> Verification:
        """Check every byte and every invariant; options as of `podprep.verify`.

        >>> ds.verify().faults
        0
        """
        from podprep.api import verify

        return verify(self.folder, **options)

    def stats(self, *, memory: str | None = None, threads: int | None = None) -> dict[str, Any]:
        """Return the rows of every query of sql/stats/ by its name, and the manifest.

        >>> ds.stats()["figures"][0]["items"]
        239
        """
        from podprep.engine import Machine
        from podprep.stats.figures import collect

        return collect(self, Machine.of(threads, memory))

    def export(
        self,
        layout: str,
        to: Path | str,
        *,
        force: bool = False,
        memory: str | None = None,
        threads: int | None = None,
    ) -> list[Path]:
        """Write it to the folder `to` as pod, recbole, jsonl or hf; return the files.

        Errors: `PodError` where a file is in the way, without `force`.

        >>> [path.name for path in ds.export("jsonl", "lines") if "test" in path.name]
        ['sequential-test.jsonl', 'topn-test.jsonl', 'explanation-test.jsonl']
        """
        from podprep.engine import Machine
        from podprep.exchange.exports import export_dataset

        machine = Machine.of(threads, memory)
        return export_dataset(self, Path(to), layout, machine, force=force)

    def __repr__(self) -> str:
        return (
            f"Dataset({str(self.folder)!r}: {self.name}, {self.protocol} protocol, "
            f"{self.n_users:,} users, {self.n_items:,} items)"
        )

    def _scan(self, names: list[str], *, hive: bool = False) -> pl.LazyFrame:
        import polars as pl

        self.check(names)
        schema = {"task": pl.String, "split": pl.String, "round": pl.Int32} if hive else None
        paths = [self.folder / name for name in names]
        return pl.scan_parquet(paths, glob=False, hive_partitioning=hive, hive_schema=schema)


def _no_samples(task: str) -> pl.LazyFrame:
    import polars as pl

    empty = pl.DataFrame(SCHEMAS[task].empty_table()).lazy()
    text = pl.lit("", pl.String)
    return empty.with_columns(task=text, split=text, round=pl.lit(0, pl.Int32))
