"""What people see of training: losses, speed and time left."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from podprep.ui.progress import counted, progress, span_words
from podtrain.train.loop import Report, Watch


def counting(name: str) -> Callable[[Iterable[Any], int, int], Iterable[Any]]:
    """Return what shows how many of all are done while batches are gone through."""
    return lambda items, total, size: counted(items, total, name, size)


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
                f"{task} {value:.3f}"
                for (event, task, name), value in report.values.items()
                if (event, name) == ("train", "loss")
            ]
            found += [
                f"validation NDCG@10 {task} {value:.4f}"
                for (event, task, name), value in report.values.items()
                if (event, name) == ("valid", "ndcg@10")
            ]
            valid = report.values.get(("valid", "all", "score"))
            news = valid is not None and validated[-1:] != [valid]
            validated.extend([valid] if valid is not None and news else [])
            board.show(
                name, report.step, report.steps, words, f"loss: {', '.join(found)}", milestone=news
            )

        yield watch
