"""The commands that ask a dataset: `query` and `shell-setup`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from podprep.contract.errors import PodError

Run = Annotated[
    Path | None, typer.Option("--run", help="A folder made by podtrain fit: asks about it too.")
]


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
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
    memory: Annotated[str, typer.Option(help="For the whole process, as 2GB.")] = "1GB",
) -> None:
    """Ask a dataset in SQL; nothing else can be read, and nothing but --out is written.

    Views: users, items, interactions, splits, negatives, explanations, samples,
    templates, rejects, stages; with --run predictions, metrics, losses.

    Example: podprep query shards/ "SELECT split, count(*) FROM interactions GROUP BY split"
    """
    from podprep.ask.answers import print_questions, write_answer
    from podprep.ask.query import answer, chosen_sql, ready_questions, set_variables
    from podprep.ask.repl import run_repl
    from podprep.ask.warehouse import closed_warehouse
    from podprep.contract.shards import Shards
    from podprep.engine import Machine

    form = form or _format_of(out)
    if listed:
        print_questions(ready_questions(), as_json=form is Format.JSON)
        return
    if shards is None:
        raise PodError("name a dataset: podprep query shards/, or podprep query --list")
    chosen = chosen_sql(sql, file, name, run)
    _check_out(out, shards, run, asked=chosen is not None)
    with closed_warehouse(Shards.open(shards), Machine.of(None, memory), run) as con:

        def ask(statement: str) -> None:
            write_answer(answer(con, statement), form, out, rows)

        if chosen is None:
            run_repl(con, ask)
        else:
            set_variables(con, chosen, param or [])
            ask(chosen)


def shell_setup(
    shards: Annotated[Path, typer.Argument(help="A folder made by podprep build.")],
    run: Run = None,
    to: Annotated[Path | None, typer.Option(help="A file to write; else stdout.")] = None,
) -> None:
    """Print the views as SQL for the plain duckdb client (duckdb -init FILE) or a notebook.

    Example: podprep shell-setup shards/ --to views.sql
    """
    from podprep.ask.answers import replacing
    from podprep.ask.warehouse import shell_sql
    from podprep.contract.shards import Shards

    text = shell_sql(Shards.open(shards), run)
    if to is None:
        typer.echo(text, nl=False)
        return
    _check_out(to, shards, run, asked=True)
    with replacing(to) as path:
        path.write_text(text, encoding="utf-8")


def _format_of(out: Path | None) -> Format:
    suffix = out.suffix.removeprefix(".") if out else ""
    return Format(suffix) if suffix in set(Format) else Format.TABLE


def _check_out(out: Path | None, shards: Path, run: Path | None, *, asked: bool) -> None:
    """Refuse to write where it would change what is asked. Errors: `PodError`."""
    if out is None:
        return
    if not asked:
        raise PodError("--out keeps one answer: give the SQL, --file or --name too")
    for folder in filter(None, (shards, run)):
        if out.resolve().is_relative_to(folder.resolve()):
            raise PodError(f"{out} lies in {folder}, which is only read: write somewhere else")
