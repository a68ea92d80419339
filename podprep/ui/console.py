"""Tables, lines and JSON for a terminal or a pipe.

Whatever is shown passes through `visible` here: no title, id, path or name is read as markup, and
none reaches the terminal as a command. A figure is never cut: texts fold, and a table that has no
room for its figures turns into rows of name and value.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from podprep.ui.text import visible, visible_json

PIPE_WIDTH = 120  # of a table in a pipe, as long as its words have room
ENDLESS = 1 << 16  # columns of a pipe
NARROW, BROAD = 16, 80  # a word longer than this may fold, on a terminal and in a pipe


@dataclass(frozen=True, slots=True)
class Styled:
    """A text in a style of the terminal: bold, dim, red, green."""

    text: str
    style: str


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column; numbers stand right and never fold."""

    name: str
    number: bool = False


Cell = str | Styled


@dataclass(slots=True)
class Table:
    """A table in plain values. rules: after which rows a line is drawn."""

    title: str
    columns: Sequence[Column]
    header: bool = True
    note: str = ""
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    rules: set[int] = field(default_factory=set)

    def add(self, *cells: Cell) -> None:
        """Add a row."""
        assert len(cells) == len(self.columns), "a row has a cell for each column"
        self.rows.append(cells)

    def rule(self) -> None:
        """Draw a line after the last row."""
        self.rules.add(len(self.rows) - 1)


def texts(*names: str) -> list[Column]:
    """Return columns of texts."""
    return [Column(name) for name in names]


def numbers(*names: str) -> list[Column]:
    """Return columns of numbers."""
    return [Column(name, number=True) for name in names]


def names_and_values(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """Return a table of two columns without a head."""
    table = Table(title, texts("", ""), header=False)
    for row in rows:
        table.add(*row)
    return table


def print_tables(*tables: Table, file: IO[str] | None = None, width: int | None = None) -> None:
    """Print tables to a file, by default stdout.

    width: columns of the terminal; None where it is asked itself, or the file is a pipe.
    """
    file = file or sys.stdout
    piped = width is None and not file.isatty()
    console = _Console(file=file, width=ENDLESS if piped else width, highlight=False)
    room = PIPE_WIDTH if piped else console.width
    for table in tables:
        if table.title:
            console.print(_text(Styled(table.title, "bold")), overflow="fold")
        widths = _widths(table, room, piped)
        drawn = _stacked(table, room) if widths is None else _grid(table, widths)
        console.print(drawn, overflow="fold")
        if table.note:
            console.print(_text(Styled(table.note, "dim")), overflow="fold")


def print_lines(*lines: str) -> None:
    """Print lines to stdout; nothing in them begins a line of its own."""
    sys.stdout.writelines(f"{visible(line)}\n" for line in lines)


def print_json(value: Any) -> None:
    """Print a value as JSON to stdout; what JSON has no type for as text."""
    narrow = (sys.stdout.encoding or "utf-8").lower().replace("-", "") != "utf8"
    text = json.dumps(value, indent=1, ensure_ascii=narrow, default=str)
    sys.stdout.write(f"{visible_json(text)}\n")


class _Console(Console):
    """A console that leaves a broken pipe to `podprep.ui.cli.main`."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _text(cell: Cell) -> Text:
    """Return a cell as rich has it: a `Text` is never read as markup."""
    if isinstance(cell, Styled):
        return Text(visible(cell.text), cell.style)
    return Text(visible(cell))


def _plain(cell: Cell) -> str:
    return visible(cell.text if isinstance(cell, Styled) else cell)


def _widths(table: Table, room: int, piped: bool) -> list[int] | None:
    """Return the width of each column, or None where the figures have no room beside another.

    The widest texts give way first. In a pipe the table is wider instead.
    """
    widths, least = [], []
    for n, column in enumerate(table.columns):
        cells = [_plain(row[n]) for row in table.rows]
        head = column.name if table.header else ""
        words = [word for cell in cells for word in cell.split()] or [""]
        longest = max(map(cell_len, words))
        longest = min(longest, BROAD if piped else NARROW)
        figures = max(map(cell_len, cells), default=0) if column.number else longest
        least.append(max(figures, *map(cell_len, head.split() or [""]), 1))
        widths.append(max(cell_len(head), *map(cell_len, cells), least[-1]))
    space = room - 3 * len(widths) - 1
    if sum(least) > space:
        return least if piped else None
    while (excess := sum(widths) - space) > 0:
        n = max(range(len(widths)), key=lambda i: (widths[i] > least[i], widths[i]))
        others = [w for i, w in enumerate(widths) if i != n and w < widths[n]]
        step = widths[n] - max(others, default=0)
        widths[n] -= max(1, min(excess, step, widths[n] - least[n]))
    return widths


def _grid(table: Table, widths: list[int]) -> Grid:
    grid = Grid(show_header=table.header)
    for column, width in zip(table.columns, widths, strict=True):
        grid.add_column(
            _text(column.name),
            justify="right" if column.number else "left",
            width=width,
            overflow="fold",
        )
    for n, row in enumerate(table.rows):
        grid.add_row(*map(_text, row), end_section=n in table.rules)
    return grid


def _stacked(table: Table, room: int) -> Text:
    """Return the rows one under the other, each as lines of name and value."""
    lines = [Text("─" * room, "dim")]
    for row in table.rows:
        for column, cell in zip(table.columns, row, strict=True):
            if _plain(cell):
                name = f"{column.name}: " if column.name else ""
                lines.append(Text.assemble((visible(name), "dim"), _text(cell)))
        lines.append(lines[0])
    return Text("\n").join(lines)
