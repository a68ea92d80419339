"""The REPL of `podprep query`: statements from a terminal, with history, or from a pipe."""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from podprep.contract.errors import PodError
from podprep.ui.text import visible

HELP = """\
Statements in SQL end with a semicolon and may go over several lines.
.tables  the views and their columns
.help    this text
.quit    leave, as Ctrl-D does; Ctrl-C drops what is typed or stops what runs
"""


def run_repl(con: duckdb.DuckDBPyConnection, ask: Callable[[str], None]) -> None:
    """Call `ask` with statement after statement; at a terminal an error does not end it.

    Errors: `PodError` of `ask`, where stdin is not a terminal.
    """
    if not sys.stdin.isatty():
        for statement in _statements(lambda _: next(sys.stdin, None)):
            _run(con, ask, statement)
        return
    sys.stdout.write(f"{_tables(con)}\nEnd with a semicolon; .help says more.\n")
    with _history():
        while True:
            try:
                for statement in _statements(_typed):
                    try:
                        _run(con, ask, statement)
                    except PodError as error:
                        sys.stderr.write(f"{visible(error)}\n")
                return
            except KeyboardInterrupt:
                sys.stdout.write("\n")


def _run(con: duckdb.DuckDBPyConnection, ask: Callable[[str], None], statement: str) -> None:
    if not statement.startswith("."):
        for sql in _split(con, statement):
            ask(sql)
    elif statement == ".tables":
        sys.stdout.write(f"{_tables(con)}\n")
    elif statement == ".help":
        sys.stdout.write(HELP)
    else:
        raise PodError(f"{statement} is unknown: .help lists what there is")


def _split(con: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    """Return the statements of a text, or a text that is not SQL as it is."""
    try:
        return [statement.query for statement in con.extract_statements(text)]
    except (duckdb.Error, ValueError):
        return [text]


def _statements(read: Callable[[bool], str | None]) -> Iterator[str]:
    """Yield what ends with a semicolon, a line that begins with a dot, and the rest.

    `read` returns a line, or None at the end; its argument: whether a statement has begun.
    """
    held = ""
    while (line := read(bool(held))) is not None:
        if not held and line.strip() in {".quit", ".exit"}:
            return
        if not held and line.startswith("."):
            yield line.strip()
        elif held or line.strip():
            held += line.rstrip("\n") + "\n"
            if sqlite3.complete_statement(held):  # knows quotes and comments
                yield held
                held = ""
    if held:
        yield held


def _typed(begun: bool) -> str | None:
    try:
        return input("    ...> " if begun else "podprep> ")
    except EOFError:  # Ctrl-D
        sys.stdout.write("\n")
        return None


def _tables(con: duckdb.DuckDBPyConnection) -> str:
    rows = con.execute("SELECT name, column_names FROM (SHOW ALL TABLES) ORDER BY name").fetchall()
    return "\n".join(f"{name}({', '.join(columns)})" for name, columns in rows)


@contextmanager
def _history() -> Iterator[None]:
    """Keep what is typed in the user's state folder, where there is one that can be written."""
    try:
        import readline  # noqa: PLC0415 - not on every system
    except ImportError:
        yield
        return
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = state / "podprep" / "history"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        readline.read_history_file(path)
    readline.set_history_length(1000)
    try:
        yield
    finally:
        with suppress(OSError):
            readline.write_history_file(path)
