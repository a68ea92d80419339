"""What a build was asked to do: all of it, and nothing about the machine that does it."""

from dataclasses import dataclass
from enum import StrEnum

from podprep.contract.errors import PodError


class Task(StrEnum):
    """The three tasks of the paper, in the order in which samples are written."""

    SEQUENTIAL = "sequential"
    TOPN = "topn"
    EXPLANATION = "explanation"


def parse_tasks(text: str) -> tuple[Task, ...]:
    """Return the tasks of a text such as `sequential,topn`. Errors: `PodError`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in set(Task):
            raise PodError(f"--tasks {name}: choose from {', '.join(Task)}")
    return tuple(Task(name) for name in names)


class Compat(StrEnum):
    """Recipes to be compatible with."""

    POD = "pod"


class Protocol(StrEnum):
    """How the published recipe is read: without its leaks, or as its data and code did."""

    CLEAN = "clean"
    POD = "pod"


class NegativeSampling(StrEnum):
    """What negatives are drawn from."""

    UNIFORM = "uniform"
    POPULARITY = "popularity"
    TIME = "time"


class Duplicates(StrEnum):
    """Which reviews of the same product by the same user count."""

    FIRST = "first"
    LAST = "last"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Every option that decides the bytes of a dataset. Errors: `PodError` naming the option."""

    protocol: Protocol = Protocol.CLEAN
    tasks: tuple[Task, ...] = tuple(Task)
    seed: int = 0
    core: int = 5  # fewest purchases of a user, and of a product
    negatives: int = 99  # candidates beside the positive
    negative_sampling: NegativeSampling = NegativeSampling.UNIFORM
    history: int = 20  # longest history of a sequential sample
    rounds: int = 4  # fresh draws of training samples
    duplicates: Duplicates | None = None  # None: first when clean, all as pod
    max_bad: float = 0.01  # largest share of malformed lines

    def __post_init__(self) -> None:
        if self.duplicates is None:
            kept = Duplicates.FIRST if self.protocol is Protocol.CLEAN else Duplicates.ALL
            object.__setattr__(self, "duplicates", kept)
        ordered = tuple(task for task in Task if task in self.tasks)
        object.__setattr__(self, "tasks", ordered)
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
