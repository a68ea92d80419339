"""Which task is trained when: in equal turns, in proportion to their batches, or all at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from podprep.contract.errors import PodError
from podtrain.data.stream import Batch, SampleTokenizer, TaskStream


@dataclass(frozen=True)
class Schedule:
    """The training batches of several tasks.

    kind: alternate, tasks take equal turns (paper 3.4); proportional, each has as many as it has
    batches; mixed, a part of each task in every batch.
    """

    kind: str
    streams: tuple[TaskStream, ...]

    @classmethod
    def of(
        cls, kind: str, reader: SampleTokenizer, tasks: tuple[str, ...], batch_size: int, seed: int
    ) -> "Schedule":
        """Open the streams of tasks. Errors: `PodError` for a batch too small for all of them."""
        n = len(tasks)
        sizes = [batch_size] * n
        if kind == "mixed":
            if batch_size < n:
                raise PodError(f"batch_size {batch_size} cannot hold {n} tasks")
            sizes = [batch_size // n + (i >= n - batch_size % n) for i in range(n)]
        streams = (
            TaskStream(reader, task, size, seed) for task, size in zip(tasks, sizes, strict=True)
        )
        return cls(kind, tuple(streams))

    @cached_property
    def turns(self) -> list[int]:
        """Which stream has each step of a cycle, each spread evenly."""
        times = [1] * len(self.streams)
        if self.kind == "proportional":
            times = [stream.batches_in_epoch(0) for stream in self.streams]
        places = [((k + 0.5) / n, i) for i, n in enumerate(times) for k in range(n)]
        return [i for _, i in sorted(places)]

    @property
    def epoch_steps(self) -> int:
        """As many steps as the first rounds of all tasks have batches.

        Where tasks take equal turns, one with few samples is trained on them more than once in
        these: see `rounds_per_epoch`. In proportion, an epoch is a round of every task.
        """
        rounds = [stream.batches_in_epoch(0) for stream in self.streams]
        return max(rounds) if self.kind == "mixed" else sum(rounds)

    @property
    def rounds_per_epoch(self) -> dict[str, float]:
        """How many times an epoch passes over each task's round of samples."""
        shares = [1.0] * len(self.streams)
        if self.kind != "mixed":
            shares = [self.turns.count(i) / len(self.turns) for i in range(len(self.streams))]
        return {
            stream.task: self.epoch_steps * share / stream.batches_in_epoch(0)
            for stream, share in zip(self.streams, shares, strict=True)
        }

    def batches(self, step: int, rank: int, world_size: int) -> Iterator[list[Batch]]:
        """Yield what each step from `step` on trains on, one process's part of it."""
        cycles, within = divmod(step, len(self.turns))
        mixed = self.kind == "mixed"
        endless = [
            stream.batches(
                step if mixed else cycles * self.turns.count(i) + self.turns[:within].count(i),
                rank=rank,
                world_size=world_size,
            )
            for i, stream in enumerate(self.streams)
        ]
        while True:
            turn = self.turns[step % len(self.turns)]
            yield [next(each) for each in endless] if mixed else [next(endless[turn])]
            step += 1
