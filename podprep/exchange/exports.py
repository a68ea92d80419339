"""Datasets in the layouts that others read; every file appears complete, under its final name."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa

from podprep.ask.warehouse import open_warehouse
from podprep.contract.errors import PodError
from podprep.contract.manifest import MANIFEST
from podprep.contract.schema import SCHEMAS
from podprep.contract.shards import Shards
from podprep.contract.tasks import SPLITS
from podprep.contract.writing import replacing, write_parquet
from podprep.engine import Machine
from podprep.exchange.card import card
from podprep.exchange.files import ROWS, Contents, Write, text_file

# A field of a tab-separated file, quoted only where it must be, as pandas and RecBole read it.
_FIELD = """
CREATE MACRO on_one_line(s) AS regexp_replace(s, '[\\t\\r\\n]+', ' ', 'g');
CREATE MACRO field(s) AS
    CASE WHEN contains(s, '"') THEN '"' || replace(on_one_line(s), '"', '""') || '"'
         ELSE coalesce(on_one_line(s), '') END
"""


def export_dataset(
    shards: Shards, to: Path, layout: str, machine: Machine, *, force: bool = False
) -> list[Path]:
    """Write a dataset to the folder `to` as pod, recbole, jsonl or hf; return the files.

    Files of other names in the folder are left alone; files of the same names only give way
    with `force`. Errors: `PodError` as `Shards.check`, if a file is in the way,
    or if `to` cannot be written.
    """
    if layout not in LAYOUTS:
        raise PodError(f"--format {layout}: choose from {', '.join(LAYOUTS)}")
    if (to / MANIFEST).is_file() or to.resolve().is_relative_to(shards.folder.resolve()):
        raise PodError(f"{to} is a dataset, or lies in one: name another folder with --to")
    con = open_warehouse(shards, machine)
    try:
        con.execute(_FIELD)
        contents = Contents(shards, con)
        contents.check("catalog/")
        plan = LAYOUTS[layout](contents)
        if not force and (there := [name for name in plan if (to / name).exists()]):
            raise PodError(f"{to} already has {there[0]}: --force replaces it, --to goes elsewhere")
        for name, write in plan.items():
            with replacing(to / name) as path:
                write(path)
    except OSError as error:
        raise PodError(
            f"cannot write {error.filename or to}: {error.strerror or error}; name another folder"
        ) from None
    except duckdb.OutOfMemoryException:
        raise PodError(f"the export does not fit in {machine.memory >> 20} MB") from None
    finally:
        con.close()
    return [to / name for name in plan]


# ------------------------------------------------------------------ pod


def _pod(contents: Contents) -> dict[str, Write]:
    """sequential.txt, negative.txt, explanation.json and datamaps.json, as POD reads them."""
    sequences = """
        SELECT user_id || ' ' || string_agg(item_id, ' ' ORDER BY position)
        FROM interactions GROUP BY user_id ORDER BY user_id"""
    negatives = """
        SELECT concat_ws(' ', user_id, nullif(array_to_string(item_ids, ' '), ''))
        FROM negatives WHERE split = 'test' ORDER BY user_id"""

    def maps() -> Iterator[str]:
        # each number is a key, so the object can be written as a stream
        for start, kind, table in (("{", "user", "users"), (",", "item", "items")):
            yield f'{start}\n    "id2{kind}": {{'
            name = {"user": "reviewer_id", "item": "asin"}[kind]
            rows = contents.rows(f"SELECT {kind}_id, {name} FROM {table} ORDER BY {kind}_id")
            for n, (number, text) in enumerate(rows):
                yield f'{"," if n else ""}\n        "{number}": {json.dumps(text)}'
            yield "\n    }"
        yield "\n}"

    def explanations() -> Iterator[str]:
        columns = ("user", "item", "explanation", "feature")
        for start, theirs, ours in (
            ("{", "train", "train"),
            (", ", "val", "valid"),
            (", ", "test", "test"),
        ):
            yield f'{start}"{theirs}": ['
            rows = contents.rows(
                "SELECT user_id, item_id, sentence, feature FROM explanations "
                f"WHERE split = '{ours}'"
            )
            for n, row in enumerate(rows):
                yield f"{', ' if n else ''}{json.dumps(dict(zip(columns, row, strict=True)))}"
            yield "]"
        yield "}"

    return {
        "sequential.txt": text_file(partial(contents.lines, sequences)),
        "negative.txt": text_file(partial(contents.lines, negatives)),
        "explanation.json": text_file(explanations),
        "datamaps.json": text_file(maps),
    }


# ------------------------------------------------------------------ recbole

# Seconds, with milliseconds only where there are some. Without a time the place in the
# sequence is written, because RecBole orders by this column.
_SECONDS = """
CASE WHEN timestamp IS NULL THEN CAST(position AS VARCHAR)
     WHEN epoch_ms(timestamp) % 1000 = 0 THEN CAST(epoch_ms(timestamp) // 1000 AS VARCHAR)
     ELSE CAST(CAST(epoch_ms(timestamp) / 1000 AS DECIMAL(18, 3)) AS VARCHAR) END
"""
_RECBOLE_YAML = """\
# RecBole: dataset={name}, config_file_list=[this file], data_path=the folder above this one.
# Rows stand in the order of purchase, which decides among equal times: RecBole sorts stably.
USER_ID_FIELD: user_id
ITEM_ID_FIELD: item_id
RATING_FIELD: rating
TIME_FIELD: timestamp
load_col:
    inter: [{inter}]
# General models: the same split as the shards. Sequential models augment {name}.inter themselves:
# for them take the next line away, and split by eval_args.
benchmark_filename: [train, valid, test]
eval_args:
    split: {{LS: valid_and_test}}
    order: TO
    group_by: user
    mode: full
"""


def _recbole(contents: Contents) -> dict[str, Write]:
    """Atomic files: NAME/NAME.inter, .item, .user, one file per split, and a configuration."""
    name = contents.name
    [(rated,)] = contents.con.execute("SELECT count(rating) > 0 FROM interactions").fetchall()
    columns = {"user_id": "field(reviewer_id)", "item_id": "field(asin)"}
    kinds = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
    if rated:
        columns["rating"] = "coalesce(CAST(rating AS VARCHAR), '')"
    columns["timestamp"] = _SECONDS
    head = "\t".join(f"{column}:{kinds[column]}" for column in columns)
    row = " || chr(9) || ".join(columns.values())

    def purchases(where: str) -> Iterator[str]:
        yield f"{head}\n"
        yield from contents.lines(
            f"SELECT {row} FROM interactions JOIN users USING (user_id) JOIN items USING (item_id) "
            f"WHERE {where} ORDER BY user_id, position"
        )

    described = contents.con.sql("FROM items").columns
    item_head, item_row = "item_id:token", "field(asin)"
    if "title" in described:
        item_head += "\ttitle:token\tbrand:token\tcategories:token_seq"
        # a category keeps its words together by no-break spaces: a space parts categories
        item_row += """ || chr(9) || field(title) || chr(9) || field(brand) || chr(9) || field(
            array_to_string(list_transform(categories, lambda c: replace(c, ' ', chr(160))), ' '))
        """

    def items() -> Iterator[str]:
        yield f"{item_head}\n"
        yield from contents.lines(f"SELECT {item_row} FROM items ORDER BY item_id")

    def users() -> Iterator[str]:
        yield "user_id:token\n"
        yield from contents.lines("SELECT field(reviewer_id) FROM users ORDER BY user_id")

    yaml = _RECBOLE_YAML.format(name=name, inter=", ".join(columns))
    return {
        f"{name}/{name}.inter": text_file(partial(purchases, "true")),
        **{
            f"{name}/{name}.{split}.inter": text_file(partial(purchases, f"split = '{split}'"))
            for split in SPLITS
        },
        f"{name}/{name}.item": text_file(items),
        f"{name}/{name}.user": text_file(users),
        f"{name}/{name}.yaml": text_file(lambda: [yaml]),
    }


# ------------------------------------------------------------------ jsonl and hf


def _jsonl(contents: Contents) -> dict[str, Write]:
    """One file per task and split, one line per sample; training samples have their round."""
    contents.check("samples/")

    def samples(task: str, split: str, rounds: int) -> Iterator[str]:
        columns = SCHEMAS[task].names
        if split == "train":
            columns = [columns[0], "round", *columns[1:]]
        fields = ", ".join(f"{column}: {column}" for column in columns)
        for n in range(rounds):
            yield from contents.lines(
                f"SELECT to_json({{{fields}}}) FROM samples "
                f"WHERE task = '{task}' AND split = '{split}' AND round = {n}"
            )

    return {
        f"{task}-{split}.jsonl": text_file(partial(samples, task, split, rounds))
        for task, split, rounds in _parts(contents)
    }


def _hf(contents: Contents) -> dict[str, Write]:
    """Parquet, one file per task and split and per table of the catalogue, and a dataset card."""
    samples = contents.check("samples/")

    def tables(task: str, split: str, rounds: int) -> Iterator[pa.Table]:
        for n in range(rounds):
            for name in samples:
                if name.startswith(f"samples/task={task}/split={split}/round={n}/"):
                    file = contents.shards.open_file(name)
                    for batch in file.iter_batches(ROWS):
                        table = pa.Table.from_batches([batch])
                        yield table.add_column(1, "round", pa.array([n] * len(table), pa.int32()))

    def write_samples(task: str, split: str, rounds: int, path: Path) -> None:
        fields = list(SCHEMAS[task])
        schema = pa.schema([fields[0], pa.field("round", pa.int32()), *fields[1:]])
        write_parquet(path.parent, path.name, schema, tables(task, split, rounds))

    def copy(name: str, path: Path) -> None:
        path.write_bytes((contents.shards.folder / name).read_bytes())

    rows = {name: entry["rows"] for name, entry in contents.shards.manifest["files"].items()}
    plan: dict[str, Write] = {}  # only splits with rows: the library refuses an empty one
    for task, split, rounds in _parts(contents):
        theirs = "validation" if split == "valid" else split
        if any(rows[name] for name in samples if f"/task={task}/split={split}/" in name):
            plan[f"{task}/{theirs}.parquet"] = partial(write_samples, task, split, rounds)
    for name in contents.check("catalog/"):
        if rows[name]:
            plan[name] = partial(copy, name)
    readme = card(contents.shards.manifest, [Path(name) for name in plan])
    return {**plan, "README.md": text_file(lambda: [readme])}


def _parts(contents: Contents) -> list[tuple[str, str, int]]:
    """Return task, split and number of rounds of each set of samples."""
    options = contents.shards.manifest["inputs"]["options"]
    return [
        (task, split, options["rounds"] if split == "train" else 1)
        for task in options["tasks"]
        for split in SPLITS
    ]


LAYOUTS: dict[str, Callable[[Contents], dict[str, Write]]] = {
    "pod": _pod,
    "recbole": _recbole,
    "jsonl": _jsonl,
    "hf": _hf,
}
