"""The log of a run: losses summed between two lines, and metrics.jsonl."""

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from podprep.contract.writing import write_text
from podtrain.recommenders.base import BatchLike
from podtrain.run import METRICS
from podtrain.train.world import World


class Window:
    """Losses and samples since the last line of the log."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.targets: dict[str, int] = {}
        self.samples, self.start = 0, time.monotonic()

    def add(self, losses: list[Tensor], batches: Sequence[BatchLike]) -> None:
        """Add a step; nothing waits for the device."""
        for loss, batch in zip(losses, batches, strict=True):
            self.sums[batch.task] = self.sums.get(batch.task, torch.zeros_like(loss)) + loss
            self.targets[batch.task] = self.targets.get(batch.task, 0) + batch.n_targets
            self.samples += len(batch)

    def means(self, world: World) -> dict[str, float]:
        """Return the mean loss over targets by task."""
        tasks = sorted(self.sums)
        totals = world.sum(torch.stack([self.sums[task] for task in tasks])).tolist()
        return {t: total / self.targets[t] for t, total in zip(tasks, totals, strict=True)}

    def speed(self) -> float:
        """Return samples a second in this process."""
        return self.samples / max(time.monotonic() - self.start, 1e-9)


def write_metric(folder: Path, event: str, step: int, task: str, name: str, value: float) -> None:
    """Add a line to metrics.jsonl."""
    line = {"event": event, "step": step, "task": task, "name": name, "value": value}
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl; the one that a killed run did not finish is left out."""
    path = folder / METRICS
    found = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError):
            found.append(json.loads(text))
    return found


def rewrite(folder: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Put lines in the place of those of metrics.jsonl."""
    write_text(folder / METRICS, "".join(f"{json.dumps(line)}\n" for line in lines))


def forget_later_lines(folder: Path, step: int) -> None:
    """Drop the lines of steps that a killed run took after its last checkpoint."""
    if (folder / METRICS).exists():
        rewrite(folder, (line for line in read_lines(folder) if line["step"] <= step))
