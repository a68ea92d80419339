"""A finished dataset: made whole, opened sealed, and read through the hashes of its manifest."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from podprep.contract.errors import PodError
from podprep.contract.hashing import known_sha256
from podprep.contract.manifest import MANIFEST, REBUILD, SEAL, read_manifest, read_sealed_manifest
from podprep.contract.schema import ITEMS, USERS
from podprep.contract.tasks import TASKS
from podprep.contract.writing import replacing_folder


@dataclass(slots=True)
class Shards:
    """A dataset that was opened: its manifest is sealed, a file is hashed before it is read.

    Errors of whatever reads a file: `PodError` if it is unknown, missing or was changed.
    """

    folder: Path
    manifest: dict[str, Any]
    _checked: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Open a dataset. Errors: `PodError` for none, an edited one, or another version."""
        return cls(Path(folder), read_sealed_manifest(Path(folder)))

    @property
    def name(self) -> str:
        """What the dataset is called."""
        return str(self.manifest["inputs"]["dataset"])

    @property
    def protocol(self) -> str:
        """By which protocol it was made, clean or pod; version 1 calls it `reading`."""
        return str(self.manifest["inputs"]["reading"])

    @property
    def sha256(self) -> str:
        """The seal of the manifest: the identity of the whole dataset."""
        return str(self.manifest[SEAL])

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that have samples to train on: reviews may hold no explanation."""
        return tuple(t for t in TASKS if self._parts(t, "train"))

    @property
    def rounds(self) -> int:
        """How many draws of training samples there are."""
        return int(self.manifest["inputs"]["options"]["rounds"])

    @property
    def n_users(self) -> int:
        """How many users there are; their ids are 1 to this."""
        return self.rows(USERS)

    @property
    def n_items(self) -> int:
        """How many items there are; their ids are 1 to this."""
        return self.rows(ITEMS)

    def rows(self, name: str) -> int:
        """Return how many rows the manifest says a file has."""
        return int(self._entry(name)["rows"])

    def check(self, names: Iterable[str]) -> None:
        """Hash files that were not hashed yet, and compare with the manifest."""
        for name in names:
            if name in self._checked:
                continue
            path, entry = self.folder / name, self._entry(name)
            try:
                same = path.stat().st_size == entry["bytes"]
                same = same and known_sha256(path) == entry["sha256"]
            except OSError:
                raise PodError(f"{path} is missing: {REBUILD}") from None
            if not same:
                raise PodError(f"{path} was changed after the build: {REBUILD}")
            self._checked.add(name)

    def check_all(self, prefix: str = "") -> None:
        """Check every file, or those whose name begins with a prefix."""
        self.check(name for name in self.manifest["files"] if name.startswith(prefix))

    def open_file(self, name: str) -> pq.ParquetFile:
        """Open one file, checked."""
        self.check([name])
        return pq.ParquetFile(self.folder / name)

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Read one file whole."""
        return self.open_file(name).read(columns)

    def row_groups(self, name: str) -> list[int]:
        """Return how many rows each row group of a file has, without hashing the file.

        The footer is believed while it agrees with the manifest: rows are still read through
        `open_file`.
        """
        try:
            rows = _group_rows(pq.read_metadata(self.folder / name))
        except (OSError, pa.ArrowException):
            rows = []
        return rows if sum(rows) == self.rows(name) else _group_rows(self.open_file(name).metadata)

    def sample_files(self, task: str, split: str, round_: int = 0) -> list[str]:
        """Return the parts of a task, split and round, in order."""
        start = f"samples/task={task}/split={split}/round={round_}/"
        return sorted(name for name in self.manifest["files"] if name.startswith(start))

    def sample_table(
        self,
        task: str,
        split: str,
        round_: int = 0,
        columns: list[str] | None = None,
        most: int | None = None,
    ) -> pa.Table:
        """Read all samples of a task, split and round; `most` takes an even choice of them.

        Errors: `PodError` also for none.
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

    def first_samples(self, task: str | None, split: str, n: int) -> dict[str, list[Any]]:
        """Return the first `n` samples of a task, or of each that has some in this split, by task.

        Errors: `PodError` for a task that has none.
        """
        files = {t: self._parts(t, split) for t in ([task] if task else TASKS)}
        if task and not files[task]:
            raise PodError(f"{self.folder} has no {task} samples of split {split}")
        return {
            t: next(self.open_file(names[0]).iter_batches(batch_size=n)).to_pylist()
            for t, names in files.items()
            if names
        }

    def _parts(self, task: str, split: str, round_: int = 0) -> list[str]:
        """Return the parts that have rows."""
        return [name for name in self.sample_files(task, split, round_) if self.rows(name)]

    def _entry(self, name: str) -> dict[str, Any]:
        try:
            entry: dict[str, Any] = self.manifest["files"][name]
        except KeyError:
            raise PodError(f"{self.folder} has no {name}: it was built without it") from None
        return entry


def _group_rows(footer: pq.FileMetaData) -> list[int]:
    return [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]


@contextmanager
def new_dataset(out: Path, inputs: dict[str, Any], *, force: bool = False) -> Iterator[Path]:
    """Yield an empty folder that becomes the dataset `out` if the body succeeds.

    Errors: `PodError` if `out` holds a dataset of other inputs (without `force`), or anything
    that is not a dataset (always), or if another build is writing there.
    """

    def check(out: Path) -> None:
        _refuse_overwrite(out, inputs, force)

    with replacing_folder(out, check) as folder:
        yield folder


def _refuse_overwrite(out: Path, inputs: dict[str, Any], force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise PodError(f"{out} is a file: name a folder with --out")
    if not (out / MANIFEST).is_file():
        raise PodError(f"{out} is not a dataset and not empty: name another folder with --out")
    if force:
        return
    try:
        same = read_manifest(out)["inputs"] == json.loads(json.dumps(inputs))
    except (PodError, KeyError):
        same = False
    if not same:
        raise PodError(f"{out} holds another dataset: --force replaces it, --out goes elsewhere")
