"""The memory of co-purchases: its formula, its fit, and that it knows nothing held out."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from podtrain.data.interactions import Interactions
from podtrain.recommenders.memory import (
    BACK,
    FEW,
    GAPS,
    Counts,
    Memory,
    _Examples,
    log_softmax,
)
from podtrain.recommenders.queries import Queries

ITEMS = 7
Histories = list[list[int]]


def purchases(histories: Histories, items: int = ITEMS) -> Interactions:
    """All purchases are for training, but for the last two of users with three or more."""
    split = [
        0 if len(h) < 3 or i < len(h) - 2 else i - len(h) + 3
        for h in histories
        for i in range(len(h))
    ]
    return Interactions(
        items=np.array([i for h in histories for i in h], np.int32),
        split=np.array(split, np.int8),
        starts=np.cumsum([0, *map(len, histories)]),
        n_items=items,
    )


def trained(history: list[int]) -> list[int]:
    return history[:-2] if len(history) > 2 else history


def plain_log_m(
    memory: Memory, histories: Histories, history: Sequence[int], without: int | None = None
) -> list[float]:
    """The formula of the module in plain Python; `without` is a user whose pairs do not count."""
    known = [trained(h) for u, h in enumerate(histories) if u != without]
    popularity = Counter(i for h in histories for i in trained(h))
    target_popularity = Counter(i for h in known for i in h)
    count: Counter[tuple[int, int, int]] = Counter()
    for h in known:
        for a in range(len(h)):
            for b in range(len(h)):
                gap = abs(b - a)
                if 0 < gap <= GAPS[-1]:
                    group = next(g for g, most in enumerate(GAPS) if gap <= most)
                    count[h[a], h[b], 2 * group + (b < a)] += 1
    gap_weights, back = memory.gap.tolist(), memory.back.tolist()
    (source, target), sharp = memory.damping.tolist(), float(memory.sharpness.exp())
    scores = []
    for item in range(1, ITEMS + 1):
        own = max(target_popularity[item], FEW)
        x = 0.0
        for k, bought in enumerate(reversed(history[-BACK:])):
            for group in range(2 * len(GAPS)):
                if (n := count[bought, item, group]) and item not in history:
                    x += (
                        math.exp(back[k] + gap_weights[group])
                        * n
                        / (max(popularity[bought], FEW) ** source * own**target)
                    )
        rest = math.exp(float(memory.floor) + float(memory.slope) * math.log(own))
        scores.append(sharp * math.log(x + rest))
    total = math.log(sum(map(math.exp, scores)))
    return [s - total for s in scores]


some_histories = st.lists(
    st.lists(st.integers(1, ITEMS), min_size=1, max_size=8, unique=True), min_size=1, max_size=6
)


@settings(deadline=None, max_examples=40)
@given(some_histories, st.lists(st.integers(1, ITEMS), max_size=6, unique=True))
def test_scores_are_the_formula(histories: Histories, history: list[int]) -> None:
    memory = Memory(purchases(histories))
    found = memory.scores(Queries.of([history]))[0]
    np.testing.assert_allclose(found, plain_log_m(memory, histories, history), atol=1e-4)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(some_histories)
def test_the_fit_leaves_the_user_out_of_the_counts(histories: Histories) -> None:
    made = purchases(histories)
    memory = Memory(made)
    place = np.arange(len(made.items)) - np.repeat(made.starts[:-1], np.diff(made.starts))
    at = np.flatnonzero((made.split == 0) & (place > 0))
    if not len(at):
        return
    losses = []
    for n in at:
        user = int(np.searchsorted(made.starts, n, side="right")) - 1
        history, target = trained(histories[user])[: place[n]], int(made.items[n])
        scores = plain_log_m(memory, histories, history, without=user)
        among = [s for i, s in enumerate(scores, 1) if i not in history]
        losses.append(math.log(sum(map(math.exp, among))) - scores[target - 1])
    found = memory._loss(_Examples.of(Counts.of(made), made, at))
    assert float(found) == pytest.approx(float(np.mean(losses)), abs=1e-4)


def test_nothing_held_out_is_remembered() -> None:
    """A pair is planted in validation and test: nothing changes."""
    rng = np.random.default_rng(3)
    histories = [rng.permutation(ITEMS)[:5].tolist() for _ in range(12)]
    histories = [[i + 1 for i in h] for h in histories]
    planted = [[*h[:-2], 6, 7] if n % 2 else [*h[:-2], 7, 6] for n, h in enumerate(histories)]
    found = []
    for each in (histories, planted):
        memory = Memory(purchases(each))
        memory.fit(purchases(each))
        found.append((memory.scores(Queries.of([[1, 2], [3]])), memory.state_dict()))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    for name, value in found[0][1].items():
        assert torch.equal(value, found[1][1][name]), name


def test_a_fit_makes_training_purchases_likelier() -> None:
    rng = np.random.default_rng(0)
    # who buys an item buys the next number after it
    histories = [
        [(start + k) % ITEMS + 1 for k in range(5)] for start in rng.integers(0, ITEMS, 60)
    ]
    made = purchases(histories)
    memory = Memory(made)
    place = np.arange(len(made.items)) - np.repeat(made.starts[:-1], np.diff(made.starts))
    at = np.flatnonzero((made.split == 0) & (place > 0))
    examples = _Examples.of(memory.counts, made, at)
    before = float(memory._loss(examples))
    memory.fit(made)
    assert float(memory._loss(examples)) < before - 0.1
    assert not any(p.requires_grad for p in memory.parameters())
    assert memory.scores(Queries.of([[3]]))[0].argmax() == 4 - 1


def test_log_softmax_keeps_what_is_left_out() -> None:
    scores = np.array([[0.0, -np.inf, 1.0], [2.0, 2.0, 2.0]], np.float32)
    found = log_softmax(scores)
    np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-6)
    assert found[0, 1] == -np.inf
