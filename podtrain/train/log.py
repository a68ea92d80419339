"""The losses of a run: summed between two lines of the log, written to metrics.jsonl."""

import json
import time
from pathlib import Path

import torch
from torch import Tensor

from podtrain.data.stream import Batch
from podtrain.run import METRICS
from podtrain.train.world import World


class Window:
    """Losses and samples since the last line of the log."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.tokens: dict[str, int] = {}
        self.samples, self.start = 0, time.monotonic()

    def add(self, losses: list[Tensor], parts: list[Batch]) -> None:
        """Add a step; nothing waits for the device."""
        for loss, part in zip(losses, parts, strict=True):
            self.sums[part.task] = self.sums.get(part.task, torch.zeros_like(loss)) + loss
            self.tokens[part.task] = self.tokens.get(part.task, 0) + part.target_tokens
            self.samples += len(part.user_id)

    def means(self, world: World) -> dict[str, float]:
        """Return the mean loss over target tokens by task."""
        tasks = sorted(self.sums)
        totals = world.sum(torch.stack([self.sums[task] for task in tasks])).tolist()
        return {t: total / self.tokens[t] for t, total in zip(tasks, totals, strict=True)}

    def speed(self) -> float:
        """Return samples a second on this rank."""
        return self.samples / max(time.monotonic() - self.start, 1e-9)


def write_loss(folder: Path, event: str, step: int, task: str, value: float) -> None:
    """Add a line to metrics.jsonl."""
    line = {"event": event, "step": step, "task": task, "name": "loss", "value": value}
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def forget_later_losses(folder: Path, step: int) -> None:
    """Drop the lines of steps that a killed run took after its last checkpoint."""
    path = folder / METRICS
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    half = path.with_name(f".{path.name}.writing")
    half.write_text("".join(kept), encoding="utf-8")
    half.replace(path)
