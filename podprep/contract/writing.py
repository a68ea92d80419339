"""Files and folders that appear whole or not at all."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from podprep.contract.errors import PodError
from podprep.contract.hashing import file_sha256
from podprep.contract.schema import GROUP_ROWS

# columns with repeated values, written as a dictionary and indices
_DICTIONARY = ["template_id", "split", "feature", "reason", "brand", "rating", "tied"]


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a path beside `path` that takes its place if the body succeeds.

    durable: the bytes are on the disk before the name is. Errors: `PodError` if `path` is a folder
    or cannot be written.
    """
    path = path.resolve()  # a link stays one
    if path.exists() and not path.is_file():
        raise PodError(f"{path} is not a file: name another")
    work = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield work
        if durable:
            with work.open("rb") as file:
                os.fsync(file.fileno())
        work.replace(path)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise PodError(f"{path} could not be written: {error.strerror or error}") from None
    finally:
        if work.is_file():
            work.unlink()


def refuse_inside(path: Path | None, *folders: Path | None) -> None:
    """Refuse to write within folders that are only read. Errors: `PodError`."""
    for folder in folders:
        if path and folder and path.resolve().is_relative_to(folder.resolve()):
            raise PodError(f"{path} lies in {folder}, which is only read: write somewhere else")


def write_text(path: Path, text: str) -> None:
    """Write a text file. Errors: as `replacing`."""
    with replacing(path) as work:
        work.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """Return JSON as every file of ours has it."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file. Errors: as `replacing`."""
    write_text(path, json_text(value))


@dataclass(frozen=True, slots=True)
class ShardFile:
    """What the manifest says of one file."""

    path: str
    rows: int
    bytes: int
    sha256: str


def write_parquet(
    folder: Path,
    name: str,
    schema: pa.Schema,
    tables: Iterable[pa.Table],
    group_rows: int = GROUP_ROWS,
) -> ShardFile:
    """Write tables one after the other; each is cut into its own row groups.

    The bytes depend on the rows, the order and cut of the tables and the pyarrow version only.
    """
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    dictionary = [column for column in schema.names if column in _DICTIONARY]
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


@contextmanager
def replacing_folder(out: Path, check: Callable[[Path], None]) -> Iterator[Path]:
    """Yield an empty folder beside `out` that becomes `out` if the body succeeds.

    A body that fails or is killed leaves `out` as it was; the next call clears what it left.
    check: called with `out` before anything is written; raises where it must not be replaced.
    Errors: those of `check`, or `PodError` if another process is writing there.
    """
    out = out.resolve()  # a link stays one
    work, old = out.with_name(f".{out.name}.building"), out.with_name(f".{out.name}.replaced")
    out.parent.mkdir(parents=True, exist_ok=True)
    with _locked_folder(work, out):
        try:
            _restore(old, out)
            check(out)
            for leftover in (*work.iterdir(), old):
                _remove(leftover)
            yield work
            if out.exists():
                out.rename(old)
            work.rename(out)
        finally:
            _restore(old, out)  # nothing is removed before the new folder is in place
            _remove(work)
            if out.exists():
                _remove(old)


def _restore(old: Path, out: Path) -> None:
    """Undo the first rename where the second did not happen."""
    if old.exists() and not out.exists():
        old.rename(out)


@contextmanager
def _locked_folder(folder: Path, out: Path) -> Iterator[None]:
    """Hold the only lock on a folder; it goes with the process, however that ends."""
    while True:
        folder.mkdir(exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # its holder may have renamed the folder since it was opened
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
