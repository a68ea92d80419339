"""A run: the folder that training fills, and the trained recommender in it.

run.json             config, dataset, model, versions; written once
last.safetensors     weights, optimizer and progress, to go on from
best.safetensors     the weights that are used
metrics.jsonl        losses and metrics, as training goes on; read by sql/views_run.sql
predictions/, ranks/, results.json    what podtrain evaluate found
and what the model needs beside its weights, such as tokenizer/
"""

import json
import shlex
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podprep.contract.writing import write_json
from podtrain import __version__
from podtrain.recommenders.base import TrainableRecommender
from podtrain.recommenders.registry import entry
from podtrain.train.checkpoint import (
    load_weights,
    read_checkpoint,
    read_header,
    weights,
    write_checkpoint,
)
from podtrain.train.config import RunConfig, make_config

if TYPE_CHECKING:
    import polars as pl

    from podtrain.catalogue import Id

RUN, LAST, BEST = "run.json", "last.safetensors", "best.safetensors"
METRICS = "metrics.jsonl"
RUN_VERSION = 2
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")


class Run:
    """A run that was begun. description: run.json; weights are loaded once, when first needed."""

    def __init__(
        self, folder: Path, description: dict[str, Any], dataset: Path | None, device: str
    ) -> None:
        self.folder, self.description = folder, description
        self._dataset, self._device = dataset, device

    @classmethod
    def open(
        cls, folder: Path | str, *, shards: Path | str | None = None, device: str = "auto"
    ) -> "Run":
        """Open a run; `shards` says where its dataset lies now, if it was moved.

        Errors: `PodError` for no run, or one of another version.
        """
        folder = Path(folder)
        path = folder / RUN
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
            found = description["run_version"]
            if found == RUN_VERSION:
                make_config(description["config"])
        except OSError:
            raise PodError(
                f"{folder} is not a run (it has no {RUN}): make one with podtrain fit"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise PodError(f"{path} is damaged: train again with podtrain fit") from None
        if found != RUN_VERSION:
            raise PodError(
                f"{path} has version {found}, this podtrain reads {RUN_VERSION}: train again"
            )
        return cls(folder, description, None if shards is None else Path(shards), device)

    @classmethod
    def begin(cls, folder: Path, config: RunConfig, shards: Shards, state: dict[str, Any]) -> "Run":
        """Make the model, write it with a state to go on from; run.json comes last.

        `config` names its tasks.
        """
        torch.manual_seed(config.shared.seed)
        model = entry(config.shared.model).load().create(config.shared, config.model, shards)
        folder.mkdir(parents=True, exist_ok=True)
        model.save_assets(folder)
        write_checkpoint(folder / LAST, weights(model), state)
        write_json(
            folder / RUN,
            {
                "run_version": RUN_VERSION,
                "config": make_config(config.flat() | model.resolved_options()).flat(),
                "shards": str(shards.folder.resolve()),
                "dataset": shards.name,
                "protocol": shards.protocol,
                "manifest_sha256": shards.sha256,
                "parameters": sum(p.numel() for p in model.parameters()),
                "model": model.describe(),
                "versions": {"podtrain": __version__} | {name: version(name) for name in LIBRARIES},
            },
        )
        return cls(folder, json.loads((folder / RUN).read_text(encoding="utf-8")), None, "auto")

    @cached_property
    def config(self) -> RunConfig:
        """The resolved config."""
        return make_config(self.description["config"])

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that it is trained on."""
        return self.config.shared.tasks

    @property
    def progress(self) -> dict[str, Any]:
        """Where training stands: see `podtrain.train.loop.Progress`."""
        return read_header(self.folder / LAST)[0]

    @property
    def status(self) -> str:
        """finished, or unfinished while training goes on or was stopped before its end."""
        return "finished" if self.progress["finished"] else "unfinished"

    @cached_property
    def shards(self) -> Shards:
        """The dataset of the run. Errors: `PodError` if it is not there, or another one."""
        where = self._dataset or Path(self.description["shards"])
        if self._dataset is None and not where.is_dir():
            raise PodError(f"the dataset of this run is no longer at {where}: say where, --shards")
        shards = Shards.open(where)
        if shards.sha256 != self.description["manifest_sha256"]:
            raise PodError(
                f"{where} is not the dataset that {self.folder} was trained on: name that one "
                "with --shards, or train on this one with podtrain fit"
            )
        return shards

    @property
    def weights_sha256(self) -> str:
        """The hash of the weights in use: the identity of what was evaluated."""
        return read_header(self.folder / BEST)[1]

    @property
    def best_step(self) -> int:
        """The step of the weights in use."""
        return int(read_header(self.folder / BEST)[0]["step"])

    def model(self, which: str = BEST) -> TrainableRecommender:
        """Make the model with the weights of a checkpoint. Errors: `PodError` if damaged."""
        tensors, _ = read_checkpoint(self.folder / which)
        config = self.config
        model: TrainableRecommender = (
            entry(config.shared.model)
            .load()
            .restore(
                config.shared, config.model, self.shards, self.folder, self.description["model"]
            )
        )
        load_weights(model, tensors, self.folder / which)
        return model

    @cached_property
    def recommender(self) -> TrainableRecommender:
        """The trained model, ready to be asked."""
        from podtrain.train.device import choose_device

        return self.model().to(choose_device(self._device)).eval()

    def recommend(self, users: Any = None, n: int = 10, **filters: Any) -> "pl.DataFrame":
        """Recommend items: see `podtrain.recommend.recommend`."""
        from podtrain.recommend import recommend

        return recommend(self, users, n, **filters)

    def explain(
        self, pairs: "Sequence[tuple[Id | None, Id]]", about: str | None = None
    ) -> "pl.DataFrame":
        """Explain pairs (user_id, item_id): see `podtrain.recommend.explain`."""
        from podtrain.recommend import explain

        return explain(self, pairs, about=about)

    def evaluate(self, split: str = "test", **how: Any) -> dict[str, Any]:
        """Evaluate beside the baselines: see `podtrain.evaluate.evaluate.evaluate`."""
        from podtrain.evaluate.evaluate import evaluate

        return evaluate(self, split=split, **how)

    def report(self, to: Path | str | None = None) -> Path:
        """Write the page of the run, report.html in its folder by default; return its path."""
        from podtrain.report.page import write_report

        path = self.folder / "report.html" if to is None else Path(to)
        write_report(self, path)
        return path

    def summary(self) -> str:
        """Say in one line how training stands."""
        p = self.progress
        ended = p["reason"] or "unfinished: podtrain fit --resume goes on"
        return (
            f"{self.folder}: {p['step']:,} steps ({ended}), best at step {p['best_step']:,}; "
            f"podtrain evaluate {shlex.quote(str(self.folder))}"
        )
