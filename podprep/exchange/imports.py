"""Datasets from the layouts of others: their ids, order, split, negatives and explanations."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from podprep.contract.errors import PodError
from podprep.engine import Machine, Progress, sql_text
from podprep.exchange.folders import Folder, find_folder, read_columns
from podprep.exchange.reader import Reader
from podprep.recipe.inputs import Inputs, described_source
from podprep.recipe.options import BuildOptions, Duplicates, Protocol, Task
from podprep.recipe.pipeline import Build, build
from podprep.recipe.templates import Template

PURCHASE_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
ITEM_COLUMNS = ("item_id", "title", "brand", "categories")

# The time of a purchase without one, for draws: only time-aware sampling looks at it.
_TIMELESS = """
CREATE OR REPLACE TABLE sequences AS
SELECT * REPLACE (list_transform(times, lambda t: coalesce(t, TIMESTAMP '1970-01-01')) AS times)
FROM sequences ORDER BY user_id
"""
_GIVEN_NEGATIVES = """
UPDATE drawn SET item_ids = given_negatives.item_ids FROM given_negatives
WHERE drawn.split = 'test' AND drawn.user_id = given_negatives.user_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderInputs(Inputs):
    """All that decides the bytes of a dataset that was imported."""

    folder: Folder

    @property
    def mines(self) -> bool:
        """Whether explanations are mined: never, the folder has no reviews."""
        return False

    def described(self) -> dict[str, Any]:
        """Return the inputs as the manifest records them, and which layout they came in."""
        kept = self.options.protocol is Protocol.POD
        numbers = "as in the files" if self.folder.layout == "pod" else "first appearance"
        return {
            **Inputs.described(self),
            "imported": self.folder.layout,
            "tie_policy": "as in the files" if kept else "keyed hash",
            "id_scheme": numbers if kept else "keyed hash",
            "sources": [described_source(role, path) for role, path in self.folder.files.items()],
        }


def folder_inputs(
    path: Path,
    layout: str,
    templates: list[Template],
    *,
    name: str | None = None,
    protocol: Protocol = Protocol.CLEAN,
    tasks: tuple[Task, ...] | None = None,
    **options: Any,
) -> FolderInputs:
    """Return the inputs of an import; without `tasks` it makes those that the folder can serve.

    The name is by default that of the files, or of the folder. The pod layout is always read as
    pod: its numbers and its order are what they are.
    Errors: `PodError` as `find_folder` and `BuildOptions`, or for a task the folder cannot serve.
    """
    folder = find_folder(path, layout)
    able = tuple(t for t in Task if t is not Task.EXPLANATION or "explanations" in folder.files)
    if missing := [task for task in tasks or () if task not in able]:
        raise PodError(f"--tasks {missing[0]}: {path} has nothing to make such samples of")
    items = folder.files.get("items")
    columns = read_columns(items, ITEM_COLUMNS) if items else {}
    return FolderInputs(
        dataset=name or folder.name,
        options=BuildOptions(
            protocol=Protocol.POD if layout == "pod" else protocol,
            tasks=tasks if tasks is not None else able,
            core=1,  # no k-core: the selection was theirs
            duplicates=Duplicates.ALL if layout == "pod" else None,
            **options,
        ),
        templates=templates,
        dump=next(iter(folder.files.values())),
        metadata=items if any(columns.get(name) for name in ITEM_COLUMNS[1:]) else None,
        folder=folder,
    )


def import_folder(
    inputs: FolderInputs,
    machine: Machine,
    out: Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make a dataset at `out` of a folder in another layout; return its manifest.

    Errors: `PodError` that names file and line; then nothing of the dataset is left.
    """
    stages = {"pod": PodStages, "recbole": RecboleStages}[inputs.folder.layout]
    return build(inputs, machine, out, force=force, progress=progress, stages=stages)


class _FolderStages(Build):
    """What both layouts need."""

    @property
    def source(self) -> Folder:
        """Return the folder that is imported."""
        assert isinstance(self.inputs, FolderInputs)
        return self.inputs.folder

    @property
    def reader(self) -> Reader:
        """Return what reads its files."""
        return Reader(self.con, self.progress)


class PodStages(_FolderStages):
    """sequential.txt, and what there is of datamaps.json, negative.txt and explanation.json."""

    def load(self) -> str:
        """Make the tables of the catalogue from the folder."""
        files, reader = self.source.files, self.reader
        reader.pod_sequences(files)
        self._refuse_gaps(files["sequences"])
        self.progress("split", 0, 0)
        self._sql("08_split")
        self.con.execute(_TIMELESS)
        self.con.execute("CREATE TABLE rejects (line_number BIGINT, reason VARCHAR, line VARCHAR)")
        if negatives := files.get("negatives"):
            reader.pod_negatives(negatives)
            self.after_negatives = _GIVEN_NEGATIVES
        self.progress("explanations", 0, 0)
        reader.pod_explanations(files.get("explanations"))
        return "unknown"

    def _refuse_gaps(self, path: Path) -> None:
        last = self._value("SELECT max(user_id) FROM users")
        gap = self._value(
            "SELECT min(place) FROM (SELECT users.user_id, given.user_id AS stated, "
            "row_number() OVER (ORDER BY coalesce(users.user_id, given.user_id)) AS place "
            "FROM users FULL JOIN given USING (user_id)) WHERE stated IS DISTINCT FROM place"
        )
        if gap is not None and gap <= last:
            raise PodError(f"{path} has no line for user {gap:,} of {last:,}")


class RecboleStages(_FolderStages):
    """NAME.inter, or the benchmark files NAME.train.inter and so on, and NAME.item."""

    def load(self) -> str:
        """Make the tables of the catalogue from the folder."""
        files = {role: p for role, p in self.source.files.items() if role != "items"}
        for n, path in enumerate(files.values()):
            columns = read_columns(path, PURCHASE_COLUMNS)
            for name in PURCHASE_COLUMNS[:2]:
                if not columns[name]:
                    raise PodError(f"{path}, line 1 has no column {name}:token")
            if not n:
                first, found = path, columns
            elif columns != found:
                raise PodError(f"{path}, line 1 has other columns than {first.name}")
        names = ("user_at", "item_at", "rating_at", "time_at", "width")
        places = dict(zip(names, found.values(), strict=True))
        self._places(places)
        self.reader.run("recbole_read", files)
        self._refuse_rejects(first)
        self._sql("03_deduplicate")
        self.progress("order", 0, 0)
        self.con.execute(sql_text("import/recbole_order.sql"))
        self._sql("06_number")
        if self.inputs.metadata:
            self.con.execute("DROP TABLE columns")
            found = read_columns(self.inputs.metadata, ITEM_COLUMNS)
            names = ("item_at", "title_at", "brand_at", "categories_at", "width")
            self._places(dict(zip(names, found.values(), strict=True)))
            self.reader.run("recbole_items", {"items": self.inputs.metadata})
        self._sql("08_split")
        self._refuse_other_splits(files)
        self.con.execute(_TIMELESS)
        self.con.execute(
            "CREATE TABLE explanations (number BIGINT, split VARCHAR, user_id INTEGER, "
            "position INTEGER, item_id INTEGER, feature VARCHAR, sentence VARCHAR)"
        )
        return "unknown"

    def _places(self, places: dict[str, int | None]) -> None:
        self._table("columns", pa.table({k: pa.array([v], pa.int64()) for k, v in places.items()}))

    def _refuse_rejects(self, path: Path) -> None:
        lines = self._value("SELECT count(*) FROM parsed")
        bad = self._value("SELECT count(*) FROM rejects")
        if bad > self.options.max_bad * lines or bad == lines:
            row = self.con.execute("SELECT line_number, reason FROM rejects LIMIT 1").fetchone()
            where = f" (first: line {row[0]:,}, {row[1]})" if row else ""
            raise PodError(
                f"{path}: {bad:,} of {lines:,} lines are not purchases{where}; more than --max-bad "
                f"{self.options.max_bad:g} allows: mend the file, or raise it"
            )

    def _refuse_other_splits(self, files: dict[str, Path]) -> None:
        row = self.con.execute(
            "SELECT given_split, line_number % 1099511627776, user_id, split "
            "FROM interactions JOIN parsed USING (line_number) "
            "WHERE given_split <> split ORDER BY line_number LIMIT 1"
        ).fetchone()
        if row:
            raise PodError(
                f"{files[row[0]]}, line {row[1]:,}: leaving one out this is a {row[3]} purchase; "
                "shards hold no other split: take the three files away, and NAME.inter is split"
            )
