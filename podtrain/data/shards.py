"""Reading the shard contract, version 1: checked against the manifest, never against hope."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from podtrain.errors import PodError

SCHEMA_VERSION = 1
TASKS = ("sequential", "topn", "explanation")
SPLITS = ("train", "valid", "test")
SEAL = "manifest_sha256"
MEND = "podprep build --force makes the dataset again"


@dataclass(slots=True)
class Shards:
    """A finished dataset. Every file is hashed once, before the first of its rows is read."""

    folder: Path
    manifest: dict[str, Any]
    _checked: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, folder: Path) -> "Shards":
        """Read the manifest.

        Errors: `PodError` for none, a damaged or changed one, or another version.
        """
        path = folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            version = manifest["schema_version"]
        except OSError:
            raise PodError(
                f"{folder} is no dataset (it has no manifest.json): make one with podprep build"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise PodError(f"{path} is damaged: {MEND}") from None
        if version != SCHEMA_VERSION:
            raise PodError(
                f"{path} has schema version {version}, this podtrain reads {SCHEMA_VERSION}: "
                "build it again, or install the podtrain that goes with it"
            )
        if manifest.get(SEAL) != _sealed(manifest):
            raise PodError(f"{path} was changed after the build: {MEND}")
        return cls(folder, manifest)

    @property
    def reading(self) -> str:
        """How the published recipe was read: clean or pod."""
        return str(self.manifest["inputs"]["reading"])

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that have samples to train on: reviews may hold no explanation."""
        return tuple(t for t in TASKS if self._parts(t, "train"))

    @property
    def rounds(self) -> int:
        """How many draws of training samples there are."""
        return int(self.manifest["inputs"]["options"]["rounds"])

    @property
    def sha256(self) -> str:
        """The seal of the manifest: the identity of the whole dataset."""
        return str(self.manifest[SEAL])

    def rows(self, name: str) -> int:
        """Return how many rows the manifest says a file has."""
        return int(self.manifest["files"][name]["rows"])

    def open_file(self, name: str) -> pq.ParquetFile:
        """Open one file. Errors: `PodError` if it is unknown, missing or changed."""
        path, entry = self.folder / name, self.manifest["files"].get(name)
        if entry is None:
            raise PodError(f"{self.folder} has no {name}: it was built without it")
        if name not in self._checked:
            try:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:
                raise PodError(f"{path} is missing: {MEND}") from None
            if digest != entry["sha256"]:
                raise PodError(f"{path} was changed after the build: {MEND}")
            self._checked.add(name)
        return pq.ParquetFile(path)

    def row_groups(self, name: str) -> list[int]:
        """Return how many rows each row group of a file has, without hashing the file.

        The footer is believed while it agrees with the manifest: rows are still read through
        `open_file`. Errors: as `open_file`, where it does not agree.
        """
        try:
            rows = _group_rows(pq.read_metadata(self.folder / name))
        except (OSError, pa.ArrowException):
            rows = []
        return rows if sum(rows) == self.rows(name) else _group_rows(self.open_file(name).metadata)

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Read one file whole. Errors: as `open_file`."""
        return self.open_file(name).read(columns)

    def sample_files(self, task: str, split: str, round_: int = 0) -> list[str]:
        """Return the parts of a task, split and round, in order."""
        start = f"samples/task={task}/split={split}/round={round_}/"
        return sorted(name for name in self.manifest["files"] if name.startswith(start))

    def samples(
        self,
        task: str,
        split: str,
        round_: int = 0,
        columns: list[str] | None = None,
        most: int | None = None,
    ) -> pa.Table:
        """Read all samples of a task, split and round; `most` takes an even choice of them.

        Errors: as `open_file`, and for none.
        """
        files = self._parts(task, split, round_)
        if not files:
            raise PodError(
                f"{self.folder} has no {task} samples of split {split}: name other tasks with "
                "--tasks, or build from more reviews"
            )
        ends = np.cumsum([self.rows(name) for name in files])
        if most is None or most >= ends[-1]:
            return pa.concat_tables([self.table(name, columns) for name in files])
        chosen = np.linspace(0, ends[-1] - 1, most).astype(np.int64)
        parts = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
        return pa.concat_tables(  # a part at a time in memory
            [
                self.table(name, columns).take(part - (end - self.rows(name)))
                for name, end, part in zip(files, ends, parts, strict=True)
                if len(part)
            ]
        )

    def _parts(self, task: str, split: str, round_: int = 0) -> list[str]:
        """Return the parts that have rows."""
        return [name for name in self.sample_files(task, split, round_) if self.rows(name)]

    def interactions(self) -> "Interactions":
        """Read the purchases of all users, in the order of their sequences."""
        table = self.table(
            "catalog/interactions.parquet", ["user_id", "position", "item_id", "split"]
        )
        users = table["user_id"].to_numpy()
        order = np.lexsort((table["position"].to_numpy(), users))
        split = table["split"].combine_chunks().dictionary_encode()
        names = split.dictionary.to_pylist()
        code = np.array([SPLITS.index(name) for name in names], np.int8)
        counts = np.bincount(users, minlength=self.users + 1)[1:]
        return Interactions(
            items=table["item_id"].to_numpy()[order],
            split=code[split.indices.to_numpy()][order],
            starts=np.concatenate([[0], np.cumsum(counts)]),
            n_items=self.items,
        )

    @property
    def users(self) -> int:
        """How many users there are; their ids are 1 to this."""
        return self.rows("catalog/users.parquet")

    @property
    def items(self) -> int:
        """How many items there are; their ids are 1 to this."""
        return self.rows("catalog/items.parquet")


@dataclass(frozen=True, slots=True)
class Interactions:
    """All purchases, user after user, each user's in order.

    items: (purchases,) item ids; split: (purchases,) index into `SPLITS`;
    starts: (users + 1,) where the purchases of user u begin is starts[u - 1].
    """

    items: npt.NDArray[np.int32]
    split: npt.NDArray[np.int8]
    starts: npt.NDArray[np.int64]
    n_items: int

    @property
    def n_users(self) -> int:
        """How many users there are."""
        return len(self.starts) - 1

    def seen(
        self, users: npt.NDArray[np.integer[Any]], split: str
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return where (users, items) has what was bought before a split: rows and columns."""
        before = np.concatenate([[0], np.cumsum(self.split < SPLITS.index(split))])
        first, last = self.starts[users - 1], self.starts[users]
        length = before[last] - before[first]
        rows = np.repeat(np.arange(len(users)), length)
        at = np.arange(length.sum()) + np.repeat(first - np.cumsum(length) + length, length)
        return rows, self.items[at].astype(np.int64) - 1

    def history(self, user_id: int, before: str = "") -> list[int]:
        """Return a user's items: all, or those that come before the split named."""
        here = slice(self.starts[user_id - 1], self.starts[user_id])
        items = self.items[here]
        if before:
            items = items[self.split[here] < SPLITS.index(before)]
        return [int(i) for i in items]


def _group_rows(footer: pq.FileMetaData) -> list[int]:
    return [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]


def _sealed(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 that a manifest must name: of its text without that line."""
    rest = {key: value for key, value in manifest.items() if key != SEAL}
    text = json.dumps(rest, indent=1, ensure_ascii=False) + "\n"
    return hashlib.sha256(text.encode()).hexdigest()
