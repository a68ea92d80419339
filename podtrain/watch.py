"""What people see of long work: progress on a terminal, nothing in a pipe."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from podtrain.train.loop import Report, Watch

T = TypeVar("T")


def _bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


@contextmanager
def fit_progress(shown: bool, name: str) -> Iterator[Watch]:
    """Yield a function that shows a training run's losses, speed and time left."""
    with _bar() as bar:
        task = bar.add_task(name, total=None, words="", visible=shown)
        start: list[tuple[float, int]] = []

        def watch(report: Report) -> None:
            start.append((time.monotonic(), report.step))
            seconds, first = start[0]
            pace = (report.step - first) / max(time.monotonic() - seconds, 1e-9)
            left = f" · {_span((report.steps - report.step) / pace)} left" if pace else ""
            losses = [
                f"{of} {v:.3f}" for (event, of), v in report.losses.items() if event == "train"
            ]
            losses += [
                f"valid {v:.3f}" for key, v in report.losses.items() if key == ("valid", "all")
            ]
            speed = f"{report.samples_per_second:,.0f}/s"
            words = f"epoch {report.epoch:.2f} · {', '.join(losses)} · {speed}{left}"
            bar.update(task, total=report.steps, completed=report.step, words=words)

        yield watch


def counted(items: Iterable[T], total: int, name: str, weight: int = 1) -> Iterator[T]:
    """Yield items and show how many of `total` are done; `weight` is what one counts for."""
    with _bar() as bar:
        task = bar.add_task(name, total=total, words="")
        for n, item in enumerate(items, 1):
            yield item
            done = min(n * weight, total)
            bar.update(task, completed=done, words=f"{done:,} of {total:,}")


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
