"""What the page of a run tells, read from the run and its dataset: the page's one way in."""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podprep.contract.shards import Shards
from podprep.ui.svg import Point
from podtrain.evaluate.files import read_results
from podtrain.report.gallery import Gallery, read_gallery
from podtrain.run import METRICS, Run

Losses = dict[tuple[str, str], list[Point]]  # by event (train or valid) and task


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the page of a run tells.

    folder: of the run, quoted for a shell. results: {split: {task: {method or baseline: {...}}}}.
    made_with: options, model and versions as names and values. gallery: none without predictions.
    """

    folder: str
    dataset: str
    reading: str
    base: str
    seed: int
    parameters: int
    tasks: tuple[str, ...]
    losses: Losses
    results: Mapping[str, Mapping[str, Mapping[str, Any]]]
    made_with: tuple[tuple[str, str], ...]
    version: str
    manifest_sha256: str
    gallery: Gallery | None

    @property
    def best(self) -> Point | None:
        """Return the step of the weights that were kept, and its mean validation loss."""
        return best_step(self.losses)


def read_facts(run: Run, shards: Shards) -> Facts:
    """Read a run as far as it has got. Errors: `PodError` for what is damaged."""
    described, config = run.description, run.config
    return Facts(
        folder=shlex.quote(str(run.folder)),
        dataset=described["dataset"],
        reading=described["reading"],
        base=config.base,
        seed=config.seed,
        parameters=described["parameters"],
        tasks=config.tasks,
        losses=read_losses(run.folder / METRICS),
        results=read_results(run.folder),
        made_with=_made_with(described, shards),
        version=described["versions"]["podtrain"],
        manifest_sha256=described["manifest_sha256"],
        gallery=read_gallery(run, shards),
    )


def read_losses(path: Path) -> Losses:
    """Return {(event, task): [(step, loss), ...]} of metrics.jsonl; nothing if it is not there."""
    losses: Losses = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:  # the line that a run in progress is writing
            continue
        if line["name"] == "loss" and math.isfinite(line["value"]):
            point = (float(line["step"]), float(line["value"]))
            losses.setdefault((line["event"], line["task"]), []).append(point)
    return losses


def best_step(losses: Losses) -> Point | None:
    """Return the step of the lowest mean validation loss, the first of equal ones, and the loss."""
    return min(losses.get(("valid", "all"), []), key=lambda point: point[1], default=None)


def _made_with(described: dict[str, Any], shards: Shards) -> tuple[tuple[str, str], ...]:
    """All options of the run, and what they met."""
    inputs, t5 = shards.manifest["inputs"], described["model"]["t5"]
    values = {
        **described["config"],
        "model": f"{t5['num_layers']} + {t5['num_decoder_layers']} layers of {t5['d_model']}, "
        f"{t5['num_heads']} heads, {t5['vocab_size']:,} tokens",
        "dataset": f"{shards.n_users:,} users, {shards.n_items:,} items, seed {inputs['seed']}",
        "ids": inputs["id_scheme"],
        "ties": inputs["tie_policy"],
        "versions": ", ".join(f"{k} {v}" for k, v in described["versions"].items()),
    }
    return tuple((name.replace("_", " "), _words(value)) for name, value in values.items())


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "automatic" if value is None else str(value)
