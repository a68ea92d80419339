"""What a run is made with: the options that all models share, and those of its model."""

import dataclasses
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podprep.contract.errors import PodError
from podtrain.recommenders.registry import entries, entry
from podtrain.train.options import (
    Options,
    check_types,
    option,
    read_options_file,
    split_tasks,
)

if TYPE_CHECKING:
    from podprep.contract.shards import Shards

PRECISIONS = ("auto", "fp32", "bf16")
KEEPS = ("best", "last")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(Options):
    """The options of `podtrain fit` that every model has."""

    model: str = option("pod", "Which recommender to train: see podtrain models.")
    tasks: tuple[str, ...] = option((), "Which tasks, with commas. Default: all there are.")
    batch_size: int = option(64, "Samples in a step.", least=1, most=10**6)
    lr: float = option(5e-4, "The highest learning rate.", least=1e-9, most=10)
    warmup: float = option(
        0.02, "Share of the steps in which the learning rate rises; then it falls.", least=0, most=1
    )
    weight_decay: float = option(0.01, "AdamW's weight decay (matrices only).", least=0, most=10)
    epochs: int = option(100, "Maximum number of epochs.", least=1, most=10**6)
    patience: int = option(
        5, "Stop after so many validations in a row without a gain.", least=1, most=10**6
    )
    keep: str = option(
        "best", "Which weights are used: of the best validation, or the last.", choices=KEEPS
    )
    precision: str = option(
        "auto", "auto, fp32 or bf16; auto: bf16 where it is fast.", choices=PRECISIONS
    )
    compile: bool = option(False, "Compile the model with torch.compile.")
    device: str = option("auto", "auto, cpu or cuda.", choices=DEVICES)
    seed: int = option(0, "Seeds weights, order and dropout.", least=0, most=2**31)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", split_tasks(self.tasks))
        super(TrainConfig, self).__post_init__()
        known = entry(self.model)
        if not known.trained:
            raise PodError(f"--model {self.model} counts and needs no training: podtrain baselines")
        for task in self.tasks:
            if task not in known.tasks:
                raise PodError(f"--tasks {task}: {self.model} is for {', '.join(known.tasks)} only")

    def for_shards(self, shards: "Shards") -> "TrainConfig":
        """Return the config with its tasks named. Errors: `PodError` for one without samples."""
        for task in self.tasks:
            if task not in shards.tasks:
                raise PodError(
                    f"{shards.folder} has no {task} samples, only {', '.join(shards.tasks)}: "
                    "name others with --tasks, or build them"
                )
        wanted = self.tasks or entry(self.model).tasks
        tasks = tuple(task for task in shards.tasks if task in wanted)
        if not tasks:
            raise PodError(
                f"{shards.folder} has only {', '.join(shards.tasks) or 'no'} samples; "
                f"{self.model} is for {', '.join(wanted)}: build those"
            )
        return dataclasses.replace(self, tasks=tasks)


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a run is made with: `shared` by all models, and the model's own options."""

    shared: TrainConfig
    model: Any

    def flat(self) -> dict[str, Any]:
        """Return all options by name, as run.json has them."""
        return asdict(self.shared) | asdict(self.model)


def make_config(given: dict[str, Any], file: Path | None = None) -> RunConfig:
    """Return the defaults, overruled by a TOML file, overruled by what was given and is not None.

    Errors: `PodError` for an unreadable file, an unknown option or a value out of range.
    """
    read = read_options_file(file) if file else {}
    values = {**read, **{name: value for name, value in given.items() if value is not None}}
    shared = {f.name: f for f in dataclasses.fields(TrainConfig)}
    source = str(file) if file else "options"
    model = values.get("model", "pod")
    check_types(source, {"model": model}, shared)
    own = entry(model).load_options() if entry(model).trained else Options
    special = {f.name: f for f in dataclasses.fields(own)}
    for name in values:
        if name not in shared | special:
            where = f"{file}: " if name in read else ""
            raise PodError(
                f"{where}{model} has no option {name}; its own: {', '.join(special) or 'none'}; "
                f"of every model: {', '.join(shared)}"
            )
    check_types(source, values, shared | special)
    defaults = getattr(own, "SHARED_DEFAULTS", {})
    return RunConfig(
        shared=TrainConfig(**{**defaults, **{k: v for k, v in values.items() if k in shared}}),
        model=own(**{k: v for k, v in values.items() if k in special}),
    )


def all_fields() -> dict[str, "dataclasses.Field[Any]"]:
    """Return the options of every model by name: what the command line takes."""
    found = {f.name: f for f in dataclasses.fields(TrainConfig)}
    for known in entries():
        if known.trained:
            found |= {f.name: f for f in dataclasses.fields(known.load_options())}
    return found
