"""Co-occurrence counts against loops, to the last bit: the baselines' ties hang on them."""

from collections import defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from podtrain.data.interactions import Interactions
from podtrain.recommenders.cooccurrence import Cooccurrence

ITEMS = 7
Histories = list[list[int]]
histories_of_users = st.lists(
    st.lists(st.integers(1, ITEMS), min_size=1, max_size=12), min_size=1, max_size=6
)


def purchases(histories: Histories) -> Interactions:
    """Users whose last two purchases are held out, if they have more."""
    split = [[0] * (n - 2) + [1, 2] if n > 2 else [0] * n for n in map(len, histories)]
    return Interactions(
        items=np.concatenate([np.array(h, np.int32) for h in histories]),
        split=np.concatenate([np.array(s, np.int8) for s in split]),
        starts=np.cumsum([0, *map(len, histories)]),
        n_items=ITEMS,
    )


def plainly(
    histories: Histories, span: int, lag_power: float, backward: float
) -> dict[tuple[int, int], float]:
    """Add up pairs by lag, then by user, those in order of purchase before the others."""
    counts: dict[tuple[int, int], float] = defaultdict(float)
    train = [h[:-2] if len(h) > 2 else h for h in histories]
    for both_ways in (False, True) if backward else (False,):
        for lag in range(1, span + 1):
            weight = float(np.float64(lag) ** -lag_power)
            for history in train:
                for one, other in zip(history, history[lag:], strict=False):
                    key = (other, one) if both_ways else (one, other)
                    counts[key] += backward * weight if both_ways else weight
    return dict(counts)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    histories_of_users,
    st.sampled_from([1, 2, 10]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 0.3]),
    st.none() | st.integers(0, 3),
)
def test_counts_equal_plain_adding_bit_by_bit(
    histories: Histories, span: int, lag_power: float, backward: float, fold: int | None
) -> None:
    users, others = None, histories
    if fold is not None:
        users = np.arange(len(histories)) % 4 != fold
        others = [h for h, kept in zip(histories, users, strict=True) if kept]
    found = Cooccurrence.count(
        purchases(histories), span=span, lag_power=lag_power, backward=backward, users=users
    )
    want = plainly(others, span, lag_power, backward)
    entries = zip(found.rows + 1, found.columns + 1, found.weights, strict=True)
    listed = [(int(row), int(column), float(weight)) for row, column, weight in entries]
    assert listed == [(*key, weight) for key, weight in sorted(want.items())]
    assert found.starts.tolist() == [
        sum(row <= item for row, _ in want) for item in range(ITEMS + 1)
    ]
