"""Folders in the layouts of others: which files there are, and those that are not plain lines."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import pyarrow as pa

from podprep.contract.errors import PodError
from podprep.contract.tasks import SPLITS
from podprep.raw.dumps import LONGEST_LINE

POD_FILES = {
    "sequences": "sequential.txt",
    "names": "datamaps.json",
    "negatives": "negative.txt",
    "explanations": "explanation.json",
}
ROWS = 16_384  # explanations held at a time
NAMES = pa.schema([("kind", pa.string()), ("number", pa.int64()), ("name", pa.string())])
ENTRIES = pa.schema(
    [
        ("entry", pa.int64()),
        ("split", pa.string()),
        ("user", pa.int64()),
        ("item", pa.int64()),
        ("feature", pa.string()),
        ("sentence", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Folder:
    """A dataset in another layout: its name, and its files by role."""

    layout: str
    name: str
    files: dict[str, Path]


def find_folder(path: Path, layout: str) -> Folder:
    """Return the files of a folder in the pod or recbole layout, plain or gzipped.

    Errors: `PodError` where there is no such folder, or it has no purchases.
    """
    if layout not in ("pod", "recbole"):
        raise PodError(f"--format {layout}: choose from pod, recbole")
    if not path.is_dir():
        raise PodError(f"{path} is not a folder: name the one that holds the files")
    return _pod(path) if layout == "pod" else _recbole(path)


def _pod(path: Path) -> Folder:
    found = {role: find_file(path / name) for role, name in POD_FILES.items()}
    files = {role: file for role, file in found.items() if file}
    if "sequences" not in files:
        raise PodError(f"{path} has no {POD_FILES['sequences']}: is it of another --format?")
    return Folder("pod", path.resolve().name, files)


def _recbole(path: Path) -> Folder:
    stems = {m[1]: m[2] for p in path.glob("*.inter*") if (m := _INTER.fullmatch(p.name))}
    if not stems:
        inside = [p for p in sorted(path.iterdir()) if p.is_dir() and any(p.glob("*.inter*"))]
        if len(inside) == 1:
            return _recbole(inside[0])
        raise PodError(f"{path} has no .inter file: name the folder with NAME.inter in it")
    names = sorted({m[1] for p in path.glob("*.inter*") if (m := _INTER.fullmatch(p.name))})
    if len(names) > 1:
        raise PodError(f"{path} has the .inter files of {len(names)} datasets: {', '.join(names)}")
    name = names[0]
    parts = {part: find_file(path / f"{name}.{part}.inter") for part in SPLITS}
    files = {part: file for part, file in parts.items() if file}
    if len(files) != len(SPLITS):  # all three, or none: a split is not completed
        whole = find_file(path / f"{name}.inter")
        if whole is None:
            missing = next(part for part in SPLITS if part not in files)
            raise PodError(f"{path} has neither {name}.inter nor {name}.{missing}.inter")
        files = {"purchases": whole}
    if described := find_file(path / f"{name}.item"):
        files["items"] = described
    return Folder("recbole", name, files)


_INTER = re.compile(r"(.+?)(?:\.(train|valid|test))?\.inter(?:\.gz)?")


def find_file(path: Path) -> Path | None:
    """Return a file that is there plain or gzipped."""
    zipped = path.with_name(f"{path.name}.gz")
    return next((p for p in (path, zipped) if p.is_file()), None)


def read_columns(path: Path, wanted: tuple[str, ...]) -> dict[str, int | None]:
    """Return the places, from 1, of the wanted columns of an atomic file, and its `width`.

    Errors: `PodError` if the first line names no columns as `name:type`.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            line = file.readline(1 << 20).decode("utf-8-sig").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PodError(f"{path}, line 1 cannot be read: {error}") from None
    fields = [field.partition(":")[0] for field in line.split("\t")]
    if ":" not in line:
        raise PodError(f"{path}, line 1 names no columns such as user_id:token, separated by tabs")
    places = {name: fields.index(name) + 1 if name in fields else None for name in wanted}
    return {**places, "width": len(fields)}


def read_maps(path: Path | None) -> pa.Table:
    """Return the names of users and items by number, as datamaps.json has them.

    Errors: `PodError` unless they are two objects, numbers from 1 without a gap, distinct names.
    """
    if path is None:
        return NAMES.empty_table()
    rows: list[tuple[str, int, str]] = []
    maps = _object(path)
    for kind in ("user", "item"):
        names = maps.get(f"id2{kind}")
        if not isinstance(names, dict) or not names:
            raise PodError(f"{path} has no object 'id2{kind}' of number and name")
        for number in range(1, len(names) + 1):
            if not isinstance(names.get(str(number)), str):
                raise PodError(f"{path}: id2{kind} has {len(names):,} names, none for {number:,}")
        rows += ((kind, n, names[str(n)]) for n in range(1, len(names) + 1))
        if len(set(names.values())) < len(names):
            twice = Counter(names.values()).most_common(1)[0][0]
            raise PodError(f"{path}: id2{kind} has the name {twice!r} twice")
    return pa.table(dict(zip(NAMES.names, zip(*rows, strict=True), strict=True)), NAMES)


def read_explanations(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the entries of explanation.json in order; what an entry lacks is null.

    Errors: `PodError` unless it is an object of lists of objects.
    """
    rows: list[dict[str, Any]] = []
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as file:
            for n, (split, entry) in enumerate(_entries(_JsonStream(cast(TextIO, file), path)), 1):
                if not isinstance(entry, dict):
                    raise PodError(f"{path}: entry {n:,}, of {split!r}, is not an object")
                row = {"entry": n, "split": "valid" if split == "val" else split}
                row |= {kind: _number(entry.get(kind)) for kind in ("user", "item")}
                row["feature"] = _words(entry.get("feature"))
                row["sentence"] = _words(entry.get("explanation"))
                rows.append(row)
                if len(rows) == ROWS:
                    yield pa.RecordBatch.from_pylist(rows, ENTRIES)
                    rows = []
    except (OSError, EOFError, UnicodeDecodeError, RecursionError) as error:
        raise PodError(f"{path} cannot be read: {error}") from None
    yield pa.RecordBatch.from_pylist(rows, ENTRIES)


def _entries(text: "_JsonStream") -> Iterator[tuple[str, object]]:
    """Yield the parts of explanation.json entry by entry."""
    text.take("{")
    while True:
        part = text.value()
        text.take(":")
        if part not in ("train", "val", "test"):
            text.value()
        elif text.peek() != "[":
            raise PodError(f"{text.path}: {part!r} is not a list")
        else:
            text.take("[")
            while text.peek() != "]":
                yield str(part), text.value()
                if text.peek() != "]":
                    text.take(",")
            text.take("]")
        if text.take(",}") == "}":
            return


class _JsonStream:
    """A JSON text of any size, a megabyte at a time."""

    decoder = json.JSONDecoder()

    def __init__(self, file: TextIO, path: Path) -> None:
        self.file, self.path = file, path
        self.text, self.at, self.line = "", 0, 1

    def peek(self) -> str:
        """Return the next character that is not a space, or an empty text at the end."""
        while True:
            while self.at < len(self.text):
                if not self.text[self.at].isspace():
                    return self.text[self.at]
                self.at += 1
            if not self._more():
                return ""

    def take(self, marks: str) -> str:
        """Return the next character, which must be one of these. Errors: `PodError`."""
        mark = self.peek()
        if not mark or mark not in marks:
            raise self._broken(f"expecting {' or '.join(marks)}")
        self.at += 1
        return mark

    def value(self) -> object:
        """Return the next value. Errors: `PodError`."""
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                # cut short by the end of the piece, or not JSON at all
                if len(self.text) - self.at > LONGEST_LINE or not self._more():
                    raise self._broken(error.msg) from None
                continue
            self.at = end
            return value

    def _more(self) -> bool:
        piece = self.file.read(1 << 20)
        self.line += self.text.count("\n", 0, self.at)
        self.text, self.at = self.text[self.at :] + piece, 0
        return bool(piece)

    def _broken(self, what: str) -> PodError:
        line = self.line + self.text.count("\n", 0, self.at)
        return PodError(f"{self.path}, line {line:,} is not JSON: {what}")


def _number(value: object) -> int | None:
    """Return a number below 2^31 given as a number or as digits."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        return int(value)
    sound = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31
    return value if sound else None  # type: ignore[return-value]


def _words(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _object(path: Path) -> dict[str, Any]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            value = json.load(file)
    except json.JSONDecodeError as error:
        raise PodError(f"{path}, line {error.lineno} is not JSON: {error.msg}") from None
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise PodError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise PodError(f"{path} holds no JSON object")
    return value
