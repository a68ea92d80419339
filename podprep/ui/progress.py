"""Long work as people see it: a bar on a terminal, a line a minute in a pipe."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rich.console import Console, RenderableType
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from podprep.ui.text import visible

EVERY = 60.0  # seconds between two lines of a pipe

T = TypeVar("T")


class Progress(Protocol):
    """Shows one piece of work after another; each is known by its name."""

    def show(
        self,
        name: str,
        done: float,
        total: float | None,
        words: str = "",
        note: str = "",
        *,
        milestone: bool = False,
    ) -> None:
        """Say how much of a piece of work is done.

        words: on its line; note: on one of its own; milestone: a log has it in any case.
        """


@contextmanager
def progress(shown: bool = True) -> Iterator[Progress]:
    """Yield what shows progress on stderr; a piece of work is done when the next one begins."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal or not shown:
        yield _Lines(shown)
        return
    with _Bars(console) as bars:
        yield bars
        bars.finish()


@contextmanager
def stage_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function of stage, rows done and rows in all (0: not known)."""
    with progress() as board:
        yield lambda stage, done, total: board.show(stage, done, total, count_words(done, total))


@contextmanager
def download_progress(file: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function of bytes received and bytes in all (None: not known)."""
    with progress() as board:
        start: list[tuple[float, int]] = []

        def show(done: int, total: int | None) -> None:
            now = time.monotonic()
            if not start or done < start[-1][1]:  # it begins again
                start[:] = [(now, done)]
            words = (
                f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB" if total else f"{done / 1e6:,.1f} MB"
            )
            pace = (done - start[0][1]) / max(now - start[0][0], 1e-9)
            if pace and now - start[0][0] > 1:
                words += f", {pace / 1e6:,.1f} MB/s"
                words += f", {span_words((total - done) / pace)} left" if total else ""
            board.show(file, done, total, words)

        yield show


def counted(items: Iterable[T], total: int, name: str, weight: int = 1) -> Iterator[T]:
    """Yield items and show how many of `total` are done; `weight` is what one counts for."""
    with progress() as board:
        board.show(name, 0, total)
        for n, item in enumerate(items, 1):
            yield item
            done = min(n * weight, total)
            board.show(name, done, total, count_words(done, total))


def count_words(done: int, total: int) -> str:
    """Return how much is done in words, as far as it is known."""
    return f"{done:,} of {total:,}" if total else f"{done:,}" if done else ""


def span_words(seconds: float) -> str:
    """Return a time in hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


class _Lines:
    """A line now and then, for logs: none of short work."""

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self.start = self.last = time.monotonic()

    def show(
        self,
        name: str,
        done: float,
        total: float | None,
        words: str = "",
        note: str = "",
        *,
        milestone: bool = False,
    ) -> None:
        now = time.monotonic()
        if not self.shown or not (milestone or now - self.last >= EVERY):
            return
        self.last = now
        share = f"{done / total:.0%}" if total else ""
        said = [part for part in (share, words, note, span_words(now - self.start)) if part]
        sys.stderr.write(f"{visible(name)}: {visible(', '.join(said))}\n")
        sys.stderr.flush()


class _Bars(RichProgress):
    """Bars, and under the last one its note."""

    def __init__(self, console: Console) -> None:
        self.by_name: dict[str, Any] = {}
        self.note = ""
        cut = Column(no_wrap=True, overflow="ellipsis")
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False, table_column=cut),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[words]}", markup=False, table_column=cut.copy()),
            TimeElapsedColumn(),
            console=console,
        )

    def show(
        self,
        name: str,
        done: float,
        total: float | None,
        words: str = "",
        note: str = "",
        *,
        milestone: bool = False,  # noqa: ARG002
    ) -> None:
        if name not in self.by_name:
            self.finish()
            self.by_name[name] = self.add_task(visible(name), total=None, words="")
        self.note = note
        words = visible(words)
        self.update(self.by_name[name], total=total or None, completed=done, words=words)

    def finish(self) -> None:
        """Fill the bars of all that has begun."""
        for task in self.by_name.values():
            self.update(task, total=1, completed=1)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.note:
            yield Text(f"  {visible(self.note)}", "dim", no_wrap=True, overflow="ellipsis")
