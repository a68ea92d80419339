"""Explanations that another tool extracted: JSON lines, or pickles read without running them."""

import gzip
import io
import json
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from podprep.contract.errors import PodError

FIELDS = {  # the columns of given explanations, and the keys they go by
    "reviewer_id": ("user", "reviewerID", "user_id", "reviewer_id"),
    "asin": ("item", "asin", "item_id", "parent_asin"),
    "feature": ("feature",),
    "sentence": ("sentence",),
}
SENTIMENT = pa.schema([(name, pa.string()) for name in FIELDS])
GZIP = b"\x1f\x8b"
PICKLE = b"\x80"  # of protocol 2 and later; JSON is text and never starts so

Row = tuple[str, str, str, str]
Problem = tuple[int, str]  # record number from 1, reason


def read_sentiment(path: Path) -> tuple[pa.Table, list[Problem]]:
    """Return explanations that another tool extracted, and which records it could not use.

    Reads JSON lines with user, item, feature and sentence, or a pickle in the format of Sentires
    (a list of dicts with user, item and template or sentence), either also gzipped. A pickle may
    hold plain containers only: nothing in it is imported or called.
    Errors: `PodError` where the file cannot be read, or holds not one explanation.
    """
    try:
        data = path.read_bytes()
        if data.startswith(GZIP):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise PodError(f"{path}: {reason}: give a readable file to --sentiment") from error
    rows: list[Row] = []
    problems: list[Problem] = []
    pickled = data.startswith(PICKLE) or path.name.removesuffix(".gz").endswith((".pickle", ".pkl"))
    for number, record in _unpickled(path, data) if pickled else _parsed(data):
        try:
            rows += _explanations(record)
        except ValueError as error:
            problems.append((number, str(error)))
    if not rows:
        found = f"record {problems[0][0]:,}: {problems[0][1]}" if problems else "it is empty"
        raise PodError(
            f"{path}: no explanation, {found}: "
            "give records with user, item, feature and sentence to --sentiment"
        )
    columns = (pa.array(c, pa.string()) for c in zip(*rows, strict=True))
    return pa.Table.from_arrays(list(columns), schema=SENTIMENT), problems


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, dicts, tuples, strings and numbers; refuses whatever names code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, which is code")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"it refers to {pid!r} outside the file")


def _unpickled(path: Path, data: bytes) -> Iterator[tuple[int, Any]]:
    try:
        records = _PlainUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # a broken pickle raises nearly anything
        raise PodError(
            f"{path}: pickle refused, {error}: give one of plain lists and dicts, or JSON lines"
        ) from error
    if not isinstance(records, list):
        raise PodError(
            f"{path}: a pickled {type(records).__name__}, not a list of records: "
            "give a list of dicts, or JSON lines"
        )
    yield from enumerate(records, 1)


def _parsed(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the JSON lines; a line that is none comes as the error that says so."""
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            yield number, ValueError("not JSON")


def _explanations(record: Any) -> list[Row]:
    """Return what one record says, mostly one row. Errors: `ValueError` with the reason."""
    if isinstance(record, ValueError):
        raise record
    if not isinstance(record, dict):
        raise ValueError("no object")
    user, item = (_named(record, name) for name in ("reviewer_id", "asin"))
    template, sentence = record.get("template"), record.get("sentence")
    if isinstance(sentence, list | tuple):
        said = sentence
    elif template is not None:
        said = [template]
    else:
        return [(user, item, _named(record, "feature"), _named(record, "sentence"))]
    rows: list[Row] = []
    for one in said:
        if not isinstance(one, list | tuple) or len(one) < 3:
            raise ValueError("no (feature, adjective, sentence, score)")
        rows.append((user, item, _text(one[0], "feature"), _text(one[2], "sentence")))
    if not rows:
        raise ValueError("no sentence")
    return rows


def _named(record: dict[Any, Any], name: str) -> str:
    value = next((record[key] for key in FIELDS[name] if record.get(key) is not None), None)
    if isinstance(value, int) and not isinstance(value, bool) and name in ("reviewer_id", "asin"):
        value = str(value)
    return _text(value, FIELDS[name][0])


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"no {name}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"half a character in {name}") from None
    return value.strip()
