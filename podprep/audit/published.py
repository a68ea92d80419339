"""Folders that others published, as the views of sql/views.sql: what they lack stays empty."""

import gzip
import json
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa

from podprep.contract.errors import PodError
from podprep.contract.schema import SCHEMAS

SEQUENCES, MAPS = "sequential.txt", "datamaps.json"
NEGATIVES, EXPLANATIONS = "negative.txt", "explanation.json"
SPLITS = {"train": "train", "val": "valid", "test": "test"}
HIGHEST = 2**31 - 1
SAMPLES = pa.schema(
    [
        *SCHEMAS["sequential"],
        SCHEMAS["topn"].field("candidates"),
        *(("task", pa.string()), ("split", pa.string()), ("round", pa.int32())),
    ]
)
Numbers: TypeAlias = "array[int]"


@dataclass(slots=True)
class Published:
    """What a folder holds, ids as numbers; a code that is no number gets one by appearance."""

    layout: str
    users: dict[int, str] = field(default_factory=dict)
    items: dict[int, str] = field(default_factory=dict)
    users_numbered: bool = True  # the numbers are the data's own
    items_numbered: bool = True
    named: bool = False  # product codes are known
    user_ids: Numbers = field(default_factory=lambda: array("i"))  # a purchase each, in order
    item_ids: Numbers = field(default_factory=lambda: array("i"))
    negatives: list[tuple[int, list[int]]] = field(default_factory=list)
    explanations: list[dict[str, Any]] = field(default_factory=list)


def read_published(path: Path) -> Published:
    """Read sequential.txt with its companions, or the one `user item item ...` file, plain or gz.

    Errors: `PodError` naming file and line where the layout is another.
    """
    if path.is_file():
        return _read_lines(path)
    if not path.is_dir():
        raise PodError(f"{path} does not exist: name a dataset, or a folder that was published")
    if sequences := _find(path, SEQUENCES):
        return _read_pod(path, sequences)
    files = [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
    if len(files) != 1:
        raise PodError(
            f"{path} is neither a dataset (no manifest.json) nor published sequences (no "
            f"{SEQUENCES}, and {len(files)} files instead of one): name one file of "
            "`user item item ...` lines"
        )
    return _read_lines(files[0])


def _find(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


# ------------------------------------------------------------------ reading


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the words of each line that is not empty, after where it stands."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as lines:
            for n, line in enumerate(lines, 1):
                if words := line.decode("utf-8").split():
                    yield f"{path}, line {n:,}", words
    except UnicodeDecodeError:
        raise PodError(f"{path} is no text: name a file of `user item item ...` lines") from None
    except (OSError, EOFError, zlib.error) as error:
        raise PodError(f"{path} cannot be read: {error}") from None


def _json(path: Path) -> Any:
    try:
        data = path.read_bytes()
        return json.loads(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data)
    except (OSError, EOFError, zlib.error) as error:
        raise PodError(f"{path} cannot be read: {error}") from None
    except ValueError as error:
        raise PodError(f"{path} is no JSON: {error}") from None


def _number(where: str, word: object, what: str) -> int:
    """Return an id as a number from 1."""
    text = str(word)
    if isinstance(word, bool) or not (text.isascii() and text.isdigit()):
        raise PodError(f"{where}: {what} {text[:40]!r} is no number from 1")
    number = int(text) if len(text) < 11 else HIGHEST + 1
    if not 1 <= number <= HIGHEST:
        raise PodError(f"{where}: {what} {text[:40]} is no number from 1 to {HIGHEST:,}")
    return number


def _read_pod(folder: Path, sequences: Path) -> Published:
    found = Published("sequential.txt with companions")
    for where, words in _lines(sequences):
        user = _number(where, words[0], "user")
        if user in found.users:
            raise PodError(f"{where}: user {user} has a line already")
        if len(words) == 1:
            raise PodError(f"{where}: user {user} has no items")
        found.users[user] = words[0]
        items = [_number(where, word, "item") for word in words[1:]]
        found.item_ids.extend(items)
        found.user_ids.extend([user] * len(items))
    if not found.users:
        raise PodError(f"{sequences} is empty")
    found.items = {item: str(item) for item in sorted(set(found.item_ids))}
    if maps := _find(folder, MAPS):
        found.items, found.named = _names(maps, found.items, "id2item"), True
        found.users = _names(maps, found.users, "id2user")
    if path := _find(folder, NEGATIVES):
        for where, words in _lines(path):
            user = _known(where, words[0], "user", found.users)
            found.negatives.append(
                (user, [_known(where, w, "item", found.items) for w in words[1:]])
            )
    if path := _find(folder, EXPLANATIONS):
        found.explanations = list(_explanations(path, found))
    return found


def _known(where: str, word: object, what: str, known: dict[int, str]) -> int:
    number = _number(where, word, what)
    if number not in known:
        raise PodError(f"{where}: {what} {number} is not in {SEQUENCES} or {MAPS}")
    return number


def _names(path: Path, used: dict[int, str], key: str) -> dict[int, str]:
    """Return the codes by number; every number that is used must have one."""
    maps = _json(path)
    names = maps.get(key) if isinstance(maps, dict) else None
    if not isinstance(names, dict):
        raise PodError(f"{path} has no {key}, an object of number and code")
    numbered = {_number(f"{path}, {key}", n, "id"): str(name) for n, name in names.items()}
    if missing := used.keys() - numbered:
        raise PodError(f"{path}, {key}: no code for {min(missing)}, which {SEQUENCES} has")
    return numbered


def _explanations(path: Path, found: Published) -> Iterator[dict[str, Any]]:
    splits = _json(path)
    for theirs, ours in SPLITS.items():
        records = splits.get(theirs) if isinstance(splits, dict) else None
        if not isinstance(records, list):
            raise PodError(f"{path} has no {theirs!r}, a list of explanations")
        for n, record in enumerate(records, 1):
            where = f"{path}, {theirs} {n:,}"
            if not isinstance(record, dict) or not {"user", "item"} <= record.keys():
                raise PodError(f"{where}: no object with user and item")
            yield {
                "user_id": _known(where, record["user"], "user", found.users),
                "item_id": _known(where, record["item"], "item", found.items),
                "split": ours,
                "feature": str(record.get("feature", "")),
                "sentence": str(record.get("explanation", "")),
            }


def _read_lines(path: Path) -> Published:
    """Read `user item item ...` lines of any codes; where all are numbers they stay themselves."""
    users: list[str] = []
    seen: set[str] = set()
    items: dict[str, int] = {}
    found = Published("one file of user item item ...")
    for where, words in _lines(path):
        user, *bought = words
        if not bought:
            raise PodError(f"{where}: user {user[:40]} has no items")
        if user in seen:
            raise PodError(f"{where}: user {user[:40]} has a line already")
        seen.add(user)
        users.append(user)
        found.user_ids.extend([len(users)] * len(bought))
        found.item_ids.extend(items.setdefault(item, len(items) + 1) for item in bought)
    if not users:
        raise PodError(f"{path} is empty")
    user_numbers, item_numbers = _own_numbers(users), _own_numbers(list(items))
    found.users_numbered = user_numbers is not None
    found.items_numbered = item_numbers is not None
    found.named = item_numbers is None
    for place, (codes, numbers) in enumerate(((users, user_numbers), (list(items), item_numbers))):
        named = dict(zip(numbers or range(1, len(codes) + 1), codes, strict=True))
        if place == 0:
            found.users = named
        else:
            found.items = named
    if user_numbers:
        found.user_ids = _renumbered(found.user_ids, user_numbers)
    if item_numbers:
        found.item_ids = _renumbered(found.item_ids, item_numbers)
    return found


def _own_numbers(codes: list[str]) -> list[int] | None:
    """Return the codes as distinct numbers, or None where they are not."""
    if not all(c.isascii() and c.isdigit() and len(c) < 10 for c in codes):
        return None
    numbers = [int(c) for c in codes]
    return numbers if len(set(numbers)) == len(numbers) else None


def _renumbered(places: Numbers, numbers: list[int]) -> Numbers:
    return array("i", np.array(numbers, np.int32)[np.array(places) - 1].tolist())


# ------------------------------------------------------------------ as views


def open_published(con: duckdb.DuckDBPyConnection, found: Published) -> None:
    """Create the views over a folder that was read; samples, times and ratings are empty."""
    bought = pa.table({"user_id": pa.array(found.user_ids), "item_id": pa.array(found.item_ids)})
    tables = {
        "users": pa.table([list(found.users), list(found.users.values())], schema=SCHEMAS["users"]),
        "items": pa.table([list(found.items), list(found.items.values())], schema=SCHEMAS["items"]),
        "negatives": pa.Table.from_pylist(
            [{"user_id": u, "split": "test", "item_ids": n} for u, n in found.negatives],
            schema=SCHEMAS["negatives"],
        ),
        "explanations": pa.Table.from_pylist(found.explanations, schema=SCHEMAS["explanations"]),
        "samples": SAMPLES.empty_table(),
    }
    for name, table in tables.items():
        con.register("given", table)
        con.execute(f"CREATE TABLE {name} AS FROM given")
    con.register("given", bought.append_column("line", pa.array(range(len(bought)))))
    con.execute("""
        CREATE TABLE interactions AS
        SELECT user_id, CAST(position AS INTEGER) AS position, item_id,
            CAST(NULL AS TIMESTAMP) AS timestamp, CAST(NULL AS FLOAT) AS rating,
            CAST(NULL AS BOOLEAN) AS tied,
            CASE WHEN length >= 3 AND position = length THEN 'test'
                 WHEN length >= 3 AND position = length - 1 THEN 'valid'
                 ELSE 'train' END AS split
        FROM (SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY line) AS position,
                  count(*) OVER (PARTITION BY user_id) AS length
              FROM given)
        ORDER BY user_id, position
    """)
    con.unregister("given")
