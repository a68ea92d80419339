"""An answer written as a table, CSV, JSON or Parquet."""

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from podprep.ask.query import Answer, Question
from podprep.contract.errors import PodError
from podprep.contract.writing import evenly, replacing
from podprep.ui.console import Column, Table, print_json, print_tables, texts

GROUP_ROWS = 100_000  # in a row group of a Parquet answer
WIDEST = 60  # characters of a cell of a table


def write_answer(answer: Answer, form: str, out: Path | None, rows: int) -> None:
    """Write an answer to stdout or to a file, batch by batch, as table, csv, json or parquet.

    A table shows the first `rows` only. A file appears when all of it is written, or not at all.
    Errors: `PodError` if the file cannot be written, for Parquet without one, or for no rows.
    """
    if rows < 1:
        raise PodError(f"--rows {rows}: give at least 1")
    write: dict[str, Callable[[Answer, IO[str]], None]] = {
        "table": partial(_write_table, rows=rows),
        "csv": _write_csv,
        "json": _write_json,
    }
    if form == "parquet":
        if out is None:
            raise PodError("--format parquet needs --out: a terminal cannot show it")
        with replacing(out) as path:
            _write_parquet(answer, path)
    elif out is None:
        write[form](answer, sys.stdout)
    else:
        with replacing(out) as path, path.open("w", encoding="utf-8", newline="") as file:
            write[form](answer, file)


def print_questions(questions: dict[str, Question], *, as_json: bool) -> None:
    """Print the ready questions, one per row."""
    listed = [
        {"name": q.name, "asks": q.title, "needs_run": q.needs_run, "params": q.variables}
        for q in questions.values()
    ]
    if as_json:
        print_json(listed)
        return
    table = Table("", texts("name", "asks", "takes"))
    for q in questions.values():
        params = [f"--param {name}={value}" for name, value in q.variables.items()]
        table.add(
            q.name, q.title, "--run" if q.needs_run else f"({', '.join(params)})" if params else ""
        )
    print_tables(table)


def _write_parquet(answer: Answer, path: Path) -> None:
    with pq.ParquetWriter(path, answer.schema, compression="zstd") as writer:
        for table in evenly(answer.batches, GROUP_ROWS):
            writer.write_table(table)


def _write_csv(answer: Answer, file: IO[str]) -> None:
    """Write a header and one line per row; lists are JSON, NULL is empty, "" is an empty text."""
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(answer.schema.names)
    file.write(header.getvalue())
    options = pa_csv.WriteOptions(include_header=False)
    for batch in answer.batches:
        buffer = pa.BufferOutputStream()
        pa_csv.write_csv(pa.record_batch(_flat(batch), answer.schema.names), buffer, options)
        file.write(buffer.getvalue().to_pybytes().decode())


def _flat(batch: pa.RecordBatch) -> list[pa.Array]:
    """Return the columns, as text where Arrow writes no CSV of the type."""
    return [
        column
        if _is_number(column.type) or _is_csv(column.type)
        else pa.array([_field(value) for value in column.to_pylist()], pa.string())
        for column in batch.columns
    ]


def _write_json(answer: Answer, file: IO[str]) -> None:
    """Write an array with one object per row, each on its line."""
    names = answer.schema.names
    before = "\n"
    file.write("[")
    for batch in answer.batches:
        for row in _rows(batch):
            record = {name: _plain(value) for name, value in zip(names, row, strict=True)}
            file.write(f"{before} {_json(record)}")
            before = ",\n"
    file.write("\n]\n")


def _write_table(answer: Answer, file: IO[str], rows: int) -> None:
    """Write the first rows as a table, and how many there are in all."""
    shown: list[tuple[Any, ...]] = []
    count = 0
    for batch in answer.batches:
        count += batch.num_rows
        shown += _rows(batch.slice(0, rows - len(shown)))
    if answer.schema.names == ["explain_key", "explain_value"]:
        file.writelines(f"{plan}\n" for _, plan in shown)
        return
    columns = [Column(field.name, number=_is_number(field.type)) for field in answer.schema]
    table = Table("", columns)
    whole = not file.isatty()  # in a pipe and in a file nothing is cut
    for row in shown:
        table.add(*(_cell(value, whole=whole) for value in row))
    print_tables(table, file=file)
    if count > len(shown):
        file.write(f"{len(shown):,} of {count:,} rows: --rows shows more, --out keeps them all\n")
    else:
        file.write(f"{count:,} row{'' if count == 1 else 's'}\n")


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _is_csv(kind: pa.DataType) -> bool:
    types = pa.types
    clock = types.is_date(kind) or (types.is_timestamp(kind) and kind.tz is None)
    return bool(clock or types.is_string(kind) or types.is_boolean(kind))


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    """Yield the rows as tuples: two columns may have the same name."""
    columns = [column.to_pylist() for column in batch.columns]
    return zip(*columns, strict=True) if columns else iter(())


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, list | tuple):  # a MAP comes as pairs
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    plain = value is None or isinstance(value, bool | int | str)
    return value if plain else str(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _field(value: Any) -> str | None:
    """Return a value as a field of a CSV."""
    plain = _plain(value)
    return plain if plain is None or isinstance(plain, str) else _json(plain)


def _cell(value: Any, *, whole: bool) -> str:
    """Return a value for the eye; a long text is cut, unless all of it is wanted."""
    if value is None:
        return "NULL"
    if isinstance(value, float):
        small = value != 0 and abs(value) < 0.001
        return f"{value:.3g}" if small else f"{value:.4f}"
    if isinstance(value, Decimal):
        return str(value)
    plain = _plain(value)
    text = plain if isinstance(plain, str) else _json(plain)
    if whole or len(text) <= WIDEST:
        return text
    more = f" ({len(value)} in all)" if isinstance(value, list) else ""
    return f"{text[: WIDEST - len(more) - 2]} …{more}"
