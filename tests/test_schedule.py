"""Turns of tasks: the same from wherever a run goes on, fair in every stretch, rounds counted."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podtrain.data.schedule import Schedule
from podtrain.recommenders.pod.options import SCHEDULES

sizes_of = st.lists(st.integers(1, 9), min_size=1, max_size=3)


@dataclass(frozen=True)
class Numbers:
    """A stream whose batches are its task, their number and whose part they are."""

    task: str
    size: int

    def batches_in_epoch(self, epoch: int) -> int:
        """As many in the first epoch, more in the others."""
        return self.size + epoch

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[Any]:
        """Yield the batches from `start` on."""
        return ((self.task, k, rank, world_size) for k in count(start))


def schedule(kind: str, sizes: list[int]) -> Schedule:
    streams: Any = tuple(Numbers(task, n) for task, n in zip("abc", sizes, strict=False))
    return Schedule(kind, streams)


@pytest.mark.parametrize("kind", SCHEDULES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(sizes_of, st.integers(0, 40), st.integers(0, 2))
def test_a_schedule_is_the_same_from_wherever_it_goes_on(
    kind: str, sizes: list[int], start: int, rank: int
) -> None:
    made = schedule(kind, sizes)
    whole = list(islice(made.batches(0, rank, 3), start + 20))
    assert list(islice(made.batches(start, rank, 3), 20)) == whole[start:]
    # each stream's batches come in their order, none is left out
    numbers: dict[str, list[int]] = {}
    for step in whole:
        for task, k, *part in step:
            numbers.setdefault(task, []).append(k)
            assert part == [rank, 3]
    assert all(found == list(range(len(found))) for found in numbers.values())


@pytest.mark.parametrize("kind", SCHEDULES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(sizes_of)
def test_rounds_of_an_epoch_are_counted(kind: str, sizes: list[int]) -> None:
    made = schedule(kind, sizes)
    cycles = 1 if kind != "alternate" else len(sizes)  # an epoch may end within a cycle
    steps = made.epoch_steps * cycles
    assert made.epoch_steps == (max(sizes) if kind == "mixed" else sum(sizes))
    counted = Counter(task for step in islice(made.batches(0, 0, 1), steps) for task, *_ in step)
    for task, size in zip("abc", sizes, strict=False):
        rounds = counted[task] / cycles / size
        assert made.rounds_per_epoch[task] == pytest.approx(rounds)
        if kind == "proportional":
            assert rounds == 1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sizes_of, st.sampled_from(["alternate", "proportional"]))
def test_every_stretch_is_fair(sizes: list[int], kind: str) -> None:
    made = schedule(kind, sizes)
    turns = [made.turns[k % len(made.turns)] for k in range(3 * len(made.turns))]
    shares = [n / sum(sizes) if kind == "proportional" else 1 / len(sizes) for n in sizes]
    for length in range(len(turns) + 1):
        for i, share in enumerate(shares):
            assert abs(turns[:length].count(i) - share * length) <= 1.5


def test_a_mixed_batch_has_a_part_of_each() -> None:
    first, second = islice(schedule("mixed", [2, 5, 3]).batches(0, 0, 1), 2)
    assert [batch[:2] for batch in first] == [("a", 0), ("b", 0), ("c", 0)]
    assert [batch[:2] for batch in second] == [("a", 1), ("b", 1), ("c", 1)]
