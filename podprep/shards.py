"""The shard contract, version 1: how a dataset is written, and what reading one insists on."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from podprep.errors import PodError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
SEAL = "manifest_sha256"  # the manifest's last key
PART_ROWS = 16_384  # samples in a part; decides file boundaries, so it is part of the contract
GROUP_ROWS = 4_096  # samples in a row group, the unit in which a stream reads

_ID = pa.int32()
_IDS = pa.list_(pa.field("element", pa.int32()))
_SAMPLE = [
    ("sample_id", pa.int64()),
    ("user_id", _ID),
    ("item_id", _ID),
    ("template_id", pa.string()),
    ("prompt", pa.string()),
    ("target", pa.string()),
]
SCHEMAS = {
    "users": pa.schema([("user_id", _ID), ("reviewer_id", pa.string())]),
    "items": pa.schema([("item_id", _ID), ("asin", pa.string())]),
    "items_with_metadata": pa.schema(
        [
            ("item_id", _ID),
            ("asin", pa.string()),
            ("title", pa.string()),
            ("brand", pa.string()),
            ("categories", pa.list_(pa.field("element", pa.string()))),
        ]
    ),
    "interactions": pa.schema(
        [
            ("user_id", _ID),
            ("position", _ID),
            ("item_id", _ID),
            ("timestamp", pa.timestamp("ms")),
            ("rating", pa.float32()),
            ("tied", pa.bool_()),
            ("split", pa.string()),
        ]
    ),
    "negatives": pa.schema([("user_id", _ID), ("split", pa.string()), ("item_ids", _IDS)]),
    "explanations": pa.schema(
        [
            ("user_id", _ID),
            ("item_id", _ID),
            ("split", pa.string()),
            ("feature", pa.string()),
            ("sentence", pa.string()),
        ]
    ),
    "rejects": pa.schema(
        [("line_number", pa.int64()), ("reason", pa.string()), ("line", pa.string())]
    ),
    "sequential": pa.schema([*_SAMPLE, ("history", _IDS)]),
    "topn": pa.schema([*_SAMPLE, ("candidates", _IDS)]),
    "explanation": pa.schema(_SAMPLE),
}
_WORDS_THAT_REPEAT = ["template_id", "split", "feature", "reason", "brand", "rating", "tied"]


@dataclass(frozen=True, slots=True)
class ShardFile:
    """What the manifest says of one file."""

    path: str
    rows: int
    bytes: int
    sha256: str


def sample_path(task: str, split: str, round_: int, part: int) -> str:
    """Return where a part of the samples lies within the dataset."""
    return f"samples/task={task}/split={split}/round={round_}/part-{part:05}.parquet"


def write_parquet(
    folder: Path,
    name: str,
    schema: pa.Schema,
    tables: Iterable[pa.Table],
    group_rows: int = GROUP_ROWS,
) -> ShardFile:
    """Write tables one after the other; each is cut into row groups of its own.

    The bytes depend on the rows, the order and cut of the tables and the pyarrow version only.
    """
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    dictionary = [column for column in schema.names if column in _WORDS_THAT_REPEAT]
    with pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=1, use_dictionary=dictionary
    ) as writer:
        for table in tables:
            rows += table.num_rows
            if table.num_rows:
                writer.write_table(table.cast(schema), row_group_size=group_rows)
    return ShardFile(name, rows, path.stat().st_size, file_sha256(path))


def evenly(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Cut a stream of batches of any sizes into tables of exactly `rows`, but for the last."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        if count >= rows:
            table = pa.Table.from_batches(held)
            whole = count - count % rows
            yield from (table.slice(start, rows) for start in range(0, whole, rows))
            held, count = table.slice(whole).to_batches(), count - whole
    if held:
        yield pa.Table.from_batches(held)


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_dataset(out: Path, inputs: dict[str, Any], *, force: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `out` that becomes `out` if the body succeeds.

    A body that fails or is killed leaves `out` as it was; the next call clears what it left.
    Errors: `PodError` if `out` holds a dataset of other inputs (without `force`), or anything
    that is no dataset (always), or if another build is writing there.
    """
    out = out.resolve()  # a link stays one
    work, old = out.with_name(f".{out.name}.building"), out.with_name(f".{out.name}.replaced")
    out.parent.mkdir(parents=True, exist_ok=True)
    with _locked_folder(work, out):
        try:
            if old.exists() and not out.exists():
                old.rename(out)  # killed between the two renames below
            _refuse_overwrite(out, inputs, force)
            for leftover in (*work.iterdir(), old):
                _remove(leftover)
            yield work
            if out.exists():
                out.rename(old)
            work.rename(out)
        finally:
            _remove(work)
            _remove(old)


@contextmanager
def _locked_folder(folder: Path, out: Path) -> Iterator[None]:
    """Hold the only lock on a folder; it goes with the process, however that ends."""
    while True:
        folder.mkdir(exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # the one who held it may have renamed the folder since it was opened
            if folder.exists() and os.path.samestat(os.fstat(lock), folder.stat()):
                yield
                return
        except BlockingIOError:
            raise PodError(f"another build is writing {out}: wait for it, or use --out") from None
        finally:
            os.close(lock)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _refuse_overwrite(out: Path, inputs: dict[str, Any], force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise PodError(f"{out} is a file: name a folder with --out")
    if not (out / MANIFEST).is_file():
        raise PodError(f"{out} holds something that is no dataset: name another folder with --out")
    if force:
        return
    try:
        same = read_manifest(out)["inputs"] == json.loads(json.dumps(inputs))
    except (PodError, KeyError):
        same = False
    if not same:
        raise PodError(f"{out} holds another dataset: --force replaces it, --out goes elsewhere")


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, sealed with its own SHA-256; the last file of a dataset."""
    sealed = {**manifest, SEAL: manifest_sha256(manifest)}
    (folder / MANIFEST).write_text(_manifest_text(sealed), encoding="utf-8")


def manifest_sha256(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest's text without the seal."""
    rest = {key: value for key, value in manifest.items() if key != SEAL}
    return hashlib.sha256(_manifest_text(rest).encode()).hexdigest()


def _manifest_text(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a dataset.

    Errors: `PodError` if there is none, it cannot be read, or it is of another version.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["schema_version"]
    except OSError:
        raise PodError(
            f"{folder} is no dataset (it has no {MANIFEST}): make one with podprep build"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise PodError(f"{path} is damaged: podprep build --force makes it again") from None
    if version != SCHEMA_VERSION:
        raise PodError(
            f"{path} has schema version {version}, this podprep reads {SCHEMA_VERSION}: "
            "build it again, or install the podprep that made it"
        )
    return dict(manifest)


def open_file(folder: Path, manifest: dict[str, Any], name: str) -> pq.ParquetFile:
    """Open one file of a dataset after checking its bytes against the manifest.

    Errors: `PodError` for a file that the manifest does not have, a missing or a changed one.
    """
    path, entry = folder / name, manifest["files"].get(name)
    mend = "podprep build --force makes the dataset again"
    if entry is None:
        raise PodError(f"{folder} has no {name}: it was built without it")
    if not path.is_file():
        raise PodError(f"{path} is missing: {mend}")
    if path.stat().st_size != entry["bytes"] or file_sha256(path) != entry["sha256"]:
        raise PodError(f"{path} was changed after the build: {mend}")
    return pq.ParquetFile(path)


def first_samples(
    folder: Path, manifest: dict[str, Any], task: str, split: str, n: int
) -> list[dict[str, Any]]:
    """Return the first `n` samples of a task and split. Errors: as `open_file`."""
    if n < 1:
        raise PodError(f"-n {n}: give at least 1")
    file = open_file(folder, manifest, sample_path(task, split, 0, 0))
    for batch in file.iter_batches(batch_size=n):
        return list(batch.to_pylist())
    return []
