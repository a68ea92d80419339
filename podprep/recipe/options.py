"""The options of a build, each once: its name, default, meaning and limits.

The command line and `podprep.build` take their names, defaults and help from here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeVar, get_type_hints

from podprep.contract.errors import PodError

E = TypeVar("E", bound=StrEnum)


class Task(StrEnum):
    """The three tasks of the paper, in the order in which samples are written."""

    SEQUENTIAL = "sequential"
    TOPN = "topn"
    EXPLANATION = "explanation"


class Split(StrEnum):
    """The parts of a user's history, in order of time."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


class Compat(StrEnum):
    """Recipes to be compatible with."""

    POD = "pod"


class Protocol(StrEnum):
    """How data are prepared and measured: without leaks, or as the published code did."""

    CLEAN = "clean"
    POD = "pod"

    @classmethod
    def of(cls, compat: str | None) -> "Protocol":
        """Return the protocol that `--compat` names."""
        return cls.CLEAN if compat is None else cls(member(Compat, "compat", compat))


class NegativeSampling(StrEnum):
    """What negatives are drawn from."""

    UNIFORM = "uniform"
    POPULARITY = "popularity"
    TIME = "time"


class Segments(StrEnum):
    """Which part of a user's training purchases a sequential sample is made of."""

    RANDOM = "random"
    PREFIX = "prefix"


class Duplicates(StrEnum):
    """Which reviews of the same product by the same user count."""

    FIRST = "first"
    LAST = "last"
    ALL = "all"


def parse_tasks(tasks: str | Iterable[str]) -> tuple[Task, ...]:
    """Return the tasks of a text with commas, or of a list of names, in our order.

    >>> parse_tasks("topn, sequential")
    (<Task.SEQUENTIAL: 'sequential'>, <Task.TOPN: 'topn'>)
    """
    names = tasks.split(",") if isinstance(tasks, str) else tasks
    found = {member(Task, "tasks", name.strip()) for name in names if name.strip()}
    return tuple(task for task in Task if task in found)


def member(choices: type[E], option: str, value: str) -> E:
    """Return the member of an enumeration by its value. Errors: `PodError` naming the option."""
    try:
        return choices(value)
    except ValueError:
        listed = ", ".join(choices)
        raise PodError(f"{flag(option)} {value}: choose from {listed}") from None


def flag(option: str) -> str:
    """Return an option as the command line has it."""
    return f"--{option.replace('_', '-')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Every option that decides the bytes of a dataset. Errors: `PodError` naming the option."""

    protocol: Annotated[Protocol, "Clean, or pod: see --compat."] = Protocol.CLEAN
    tasks: Annotated[tuple[Task, ...], "Which tasks, with commas."] = tuple(Task)
    seed: Annotated[int, "What every draw is keyed with."] = 0
    core: Annotated[int, "Fewest purchases of a user and of a product."] = 5
    negatives: Annotated[int, "Candidates beside the positive."] = 99
    negative_sampling: Annotated[
        NegativeSampling,
        "Draw negatives from all products, by popularity, or from those that existed by then.",
    ] = NegativeSampling.UNIFORM
    history: Annotated[int, "Longest history of a sequential sample."] = 20
    segments: Annotated[
        Segments,
        "What a sequential training sample is: a random stretch of the purchases, as published; "
        "or all that came before a purchase, for each purchase but the first.",
    ] = Segments.RANDOM
    rounds: Annotated[int, "Fresh draws of training samples."] = 4
    duplicates: Annotated[
        Duplicates | None,
        "Which review of the same product by the same user counts. "
        "Default: the first; with --compat pod all.",
    ] = None
    max_bad: Annotated[float, "Largest share of malformed lines."] = 0.01

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("protocol", member(Protocol, "protocol", self.protocol))
        put("tasks", parse_tasks(self.tasks))
        put(
            "negative_sampling",
            member(NegativeSampling, "negative_sampling", self.negative_sampling),
        )
        put("segments", member(Segments, "segments", self.segments))
        default = Duplicates.FIRST if self.protocol is Protocol.CLEAN else Duplicates.ALL
        put("duplicates", member(Duplicates, "duplicates", self.duplicates or default))
        lowest = {"core": 1, "negatives": 1, "history": 1, "rounds": 1, "seed": 0}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise PodError(f"--{name} {getattr(self, name)}: give at least {least}")
        if self.rounds > 999:
            raise PodError(f"--rounds {self.rounds}: give at most 999")
        if not self.tasks:
            raise PodError(f"--tasks names no task: choose from {', '.join(Task)}")
        if not 0 <= self.max_bad <= 1:
            raise PodError(f"--max-bad {self.max_bad}: give a share from 0 to 1")


DEFAULTS = BuildOptions()
HELP: dict[str, str] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(BuildOptions, include_extras=True).items()
}
