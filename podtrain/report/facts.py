"""What the page of a run tells, read from the run and its dataset: the page's one way in."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podprep.contract.shards import Shards
from podprep.ui.svg import Point
from podtrain.evaluate.files import read_results
from podtrain.report.gallery import Gallery, read_gallery
from podtrain.report.results import Found
from podtrain.run import Run
from podtrain.train.log import read_lines

Losses = dict[tuple[str, str], list[Point]]  # by event (train or valid) and task


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the page of a run tells.

    folder: of the run, quoted for a shell. results: {split: {task: `Results` as JSON}}. best: the
    step of the weights in use, None where there are none yet.
    made_with: options, model and versions as names and values. gallery: none without predictions.
    """

    folder: str
    dataset: str
    protocol: str
    model: str
    status: str
    seed: int
    parameters: int
    tasks: tuple[str, ...]
    losses: Losses
    scores: list[Point]
    best: int | None
    results: Mapping[str, Mapping[str, Found]]
    made_with: tuple[tuple[str, str], ...]
    version: str
    manifest_sha256: str
    gallery: Gallery | None


def read_facts(run: Run) -> Facts:
    """Read a run as far as it has got. Errors: `PodError` for what is damaged."""
    described, config, shards = run.description, run.config.shared, run.shards
    lines = read_lines(run.folder)
    model = described["config"].get("base")
    return Facts(
        folder=shlex.quote(str(run.folder)),
        dataset=described["dataset"],
        protocol=described["protocol"],
        model=f"{config.model}, {model}" if model else config.model,
        status=run.status,
        seed=config.seed,
        parameters=described["parameters"],
        tasks=config.tasks,
        losses=read_values(lines, "loss"),
        scores=read_values(lines, "score").get(("valid", "all"), []),
        best=run.progress["best_step"] or None,
        results=read_results(run.folder),
        made_with=_made_with(described, shards),
        version=described["versions"]["podtrain"],
        manifest_sha256=described["manifest_sha256"],
        gallery=read_gallery(run),
    )


def read_values(lines: list[dict[str, Any]], name: str) -> Losses:
    """Return {(event, task): [(step, value), ...]} of the lines of metrics.jsonl of one name."""
    found: Losses = {}
    for line in lines:
        if line["name"] == name and math.isfinite(line["value"]):
            point = (float(line["step"]), float(line["value"]))
            found.setdefault((line["event"], line["task"]), []).append(point)
    return found


def _made_with(described: dict[str, Any], shards: Shards) -> tuple[tuple[str, str], ...]:
    """All options of the run, and what they met."""
    inputs, t5 = shards.manifest["inputs"], described["model"].get("t5")
    size = {}
    if t5:
        size["T5"] = (
            f"{t5['num_layers']} + {t5['num_decoder_layers']} layers of {t5['d_model']}, "
            f"{t5['num_heads']} heads, {t5['vocab_size']:,} tokens"
        )
    values = {
        **described["config"],
        **size,
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
