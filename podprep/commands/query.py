"""The commands that query a dataset: `query` and `shell-setup`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import podprep
from podprep.commands.options import Run, SetMemory, ShardsFolder
from podprep.contract.errors import PodError
from podprep.ui.cli import Json


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"

    @classmethod
    def of(cls, out: Path | None) -> "Format":
        """Return the format that a file is named after; a table without one."""
        suffix = out.suffix.removeprefix(".") if out else ""
        return cls(suffix) if suffix in set(cls) else cls.TABLE


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(query)
    app.command("shell-setup")(shell_setup)


def query(
    shards: Annotated[Path | None, typer.Argument(help="A folder made by podprep build.")] = None,
    sql: Annotated[str | None, typer.Argument(help="One SELECT. Default: a prompt.")] = None,
    run: Run = None,
    file: Annotated[Path | None, typer.Option(help="A file with the SQL.")] = None,
    name: Annotated[str | None, typer.Option(help="A ready question: see --list.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the ready questions.")] = False,
    param: Annotated[
        list[str] | None, typer.Option(help="Sets getvariable('user') with user=12; repeatable.")
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="Default: by the name of --out, else table.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the answer goes; else stdout.")] = None,
    rows: Annotated[int, typer.Option(help="How many rows a table shows.")] = 40,
    as_json: Json = False,
    memory: SetMemory = "1GB",
) -> None:
    """Query a dataset in SQL; nothing else can be read, and only --out is written.

    Views: users, items, interactions, splits, negatives, explanations, samples,
    templates, rejects, stages; with --run predictions, metrics, losses.

    Example: podprep query shards/ "SELECT split, count(*) FROM interactions GROUP BY split"
    """
    from podprep.ask.answers import print_questions, write_answer
    from podprep.ask.query import answer, chosen_sql, parse_params, ready_questions, set_variables
    from podprep.ask.repl import run_repl
    from podprep.ask.warehouse import closed_warehouse
    from podprep.contract.writing import refuse_inside
    from podprep.engine import Machine

    if as_json:
        if form not in (None, Format.JSON) or out:
            raise PodError("--json prints to standard output: leave --format and --out out")
        form = Format.JSON
    if listed:
        print_questions(ready_questions(), as_json=form is Format.JSON)
        return
    if shards is None:
        raise PodError("name a dataset: podprep query shards/, or podprep query --list")
    chosen = chosen_sql(sql, file, name, run)
    if out and chosen is None:
        raise PodError("--out keeps one answer: give the SQL, --file or --name too")
    refuse_inside(out, shards, run)
    with closed_warehouse(podprep.open(shards), Machine.of(None, memory), run) as con:

        def ask(statement: str) -> None:
            write_answer(answer(con, statement), form or Format.of(out), out, rows)

        set_variables(con, chosen, parse_params(param or []))
        if chosen is None:
            run_repl(con, ask)
        else:
            ask(chosen)


def shell_setup(
    shards: ShardsFolder,
    run: Run = None,
    to: Annotated[Path | None, typer.Option(help="A file to write; else stdout.")] = None,
) -> None:
    """Print the views as SQL for the plain duckdb client (duckdb -init FILE) or a notebook.

    Example: podprep shell-setup shards/ --to views.sql
    """
    from podprep.ask.warehouse import shell_sql
    from podprep.contract.writing import refuse_inside, write_text

    refuse_inside(to, shards, run)
    text = shell_sql(podprep.open(shards), run)
    if to is None:
        typer.echo(text, nl=False)
    else:
        write_text(to, text)
