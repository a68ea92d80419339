"""What a run is made with: a test flips every field and sees that it matters."""

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podprep.contract.errors import PodError
from podprep.contract.schema import TASKS
from podprep.contract.shards import Shards

SCHEDULES = ("alternate", "mixed")
PRECISIONS = ("auto", "fp32", "bf16")
INITS = ("auto", "spectral", "random")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """The options of `podtrain fit`; a TOML file takes the same names."""

    base: str = "compact"  # tiny, compact, small, or a T5 by folder or hub name
    tasks: tuple[str, ...] = ()  # none named: all that the shards have
    prompts: int = 3  # trained vectors before a prompt (paper: 3; its published logs: 10)
    whole_words: bool = True  # a vector for the place of each id in a prompt (paper 3.3)
    id_digits: int | None = None  # digits a piece of an id has, 0 for whole ids; None: by size
    init: str = "auto"  # spectral or random; auto: spectral where each item is one piece
    schedule: str = "alternate"  # one task a batch, tasks in turn; or all tasks in each batch
    batch_size: int = 64
    lr: float = 5e-4  # at its highest
    warmup: float = 0.02  # share of all steps until it is reached; then it falls to 0 in a line
    weight_decay: float = 0.01
    dropout: float = 0.1
    user_dropout: float = 0.0  # share of the sequential task's prompts that hide their user
    epochs: int = 100  # a round of every task's samples, at most so many times
    patience: int = 5  # validations in a row without a better mean loss
    precision: str = "auto"  # bf16 where the processor has it
    compile: bool = False
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.tasks, str):
            object.__setattr__(self, "tasks", tuple(t for t in self.tasks.split(",") if t))
        object.__setattr__(self, "tasks", tuple(self.tasks))
        for name in self.tasks:
            _one_of("tasks", name, TASKS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("init", self.init, INITS)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("device", self.device, DEVICES)
        for name, least in {"prompts": 0, "batch_size": 1, "epochs": 1, "patience": 1}.items():
            _within(name, getattr(self, name), least, 10**6)
        _within("lr", self.lr, 1e-9, 10)
        _within("warmup", self.warmup, 0, 1)
        _within("weight_decay", self.weight_decay, 0, 10)
        _within("dropout", self.dropout, 0, 0.9)
        _within("user_dropout", self.user_dropout, 0, 1)
        _within("seed", self.seed, 0, 2**31)
        _within("id_digits", self.id_digits or 0, 0, 6)
        if self.schedule == "mixed" and 0 < self.batch_size < len(self.tasks):
            raise PodError(f"batch_size {self.batch_size} cannot hold {len(self.tasks)} tasks")

    def for_shards(self, shards: Shards) -> "FitConfig":
        """Return the config with the tasks named. Errors: `PodError` for one without samples."""
        for task in self.tasks:
            if task not in shards.tasks:
                raise PodError(
                    f"{shards.folder} has no {task} samples, only {', '.join(shards.tasks)}: "
                    "name others with --tasks, or build them"
                )
        tasks = tuple(t for t in shards.tasks if t in self.tasks or not self.tasks)
        return dataclasses.replace(self, tasks=tasks)


def load_config(file: Path | None, given: dict[str, Any]) -> FitConfig:
    """Return the defaults, overruled by a TOML file, overruled by what was given.

    Errors: `PodError` for an unreadable file, an unknown name or a value out of range.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise PodError(f"{file} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PodError(f"{file} is no TOML: {error}") from None
    fields = {f.name: f for f in dataclasses.fields(FitConfig)}
    for name, value in values.items():
        if name not in fields:
            raise PodError(f"{file}: unknown name {name!r}; known: {', '.join(fields)}")
        default = fields[name].default
        wanted = (list, str) if name == "tasks" else (int,) if default is None else type(default)
        if not isinstance(value, (int, float) if wanted is float else wanted) or (
            isinstance(value, bool) and wanted is not bool
        ):
            raise PodError(f"{file}: {name} = {value!r} is of the wrong kind")
    return FitConfig(**{**values, **{k: v for k, v in given.items() if v is not None}})


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise PodError(f"{name}: {value!r} is none of {', '.join(known)}")


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise PodError(f"{name}: {value} is not between {least} and {most}")
