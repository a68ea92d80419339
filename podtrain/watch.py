"""What people see of training: losses, speed and time left."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from podprep.ui.progress import counted, progress, span_words
from podtrain.train.loop import Report, Watch

__all__ = ["counted", "fit_progress"]


@contextmanager
def fit_progress(shown: bool, name: str) -> Iterator[Watch]:
    """Yield a function that shows a training run's losses, speed and time left."""
    with progress(shown) as board:
        start: list[tuple[float, int]] = []
        validated: list[float] = []

        def watch(report: Report) -> None:
            start.append((time.monotonic(), report.step))
            seconds, first = start[0]
            pace = (report.step - first) / max(time.monotonic() - seconds, 1e-9)
            left = f", {span_words((report.steps - report.step) / pace)} left" if pace else ""
            words = f"epoch {report.epoch:.2f}, {report.samples_per_second:,.0f}/s{left}"
            found = [
                f"{of} {v:.3f}" for (event, of), v in report.losses.items() if event == "train"
            ]
            valid = report.losses.get(("valid", "all"))
            if valid is not None:
                found.append(f"validation {valid:.3f}")
            news = valid is not None and validated[-1:] != [valid]
            validated.extend([valid] if valid is not None and news else [])
            board.show(
                name, report.step, report.steps, words, f"loss: {', '.join(found)}", milestone=news
            )

        yield watch
