"""Users' sequences of ids as batches: training purchases, each user once an epoch, ranks' parts."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podtrain.data import sequences
from podtrain.data.interactions import Interactions
from podtrain.data.sequences import SequenceBatch, SequenceStream

Histories = list[list[int]]
histories_of_users = st.lists(
    st.lists(st.integers(1, 9), min_size=1, max_size=9), min_size=1, max_size=9
).filter(lambda histories: any(len(h) > 3 for h in histories))


def purchases(histories: Histories) -> Interactions:
    """The last two purchases are held out, where there are more."""
    split = [[0] * (n - 2) + [1, 2] if n > 2 else [0] * n for n in map(len, histories)]
    return Interactions(
        items=np.concatenate([np.array(h, np.int32) for h in histories]),
        split=np.concatenate([np.array(s, np.int8) for s in split]),
        starts=np.cumsum([0, *map(len, histories)]),
        n_items=9,
    )


def rows(batch: SequenceBatch) -> dict[int, tuple[list[int], list[int]]]:
    """{user: (inputs, targets)} without the pads, which must stand at the left of both."""
    found = {}
    for user, inputs, targets in zip(
        batch.user_id.tolist(), batch.inputs.tolist(), batch.targets.tolist(), strict=True
    ):
        length = sum(item > 0 for item in inputs)
        assert not any(inputs[: len(inputs) - length])
        assert not any(targets[: len(inputs) - length])
        found[user] = inputs[len(inputs) - length :], targets[len(inputs) - length :]
    return found


@settings(max_examples=100, deadline=None, derandomize=True)
@given(histories_of_users, st.integers(1, 4), st.integers(0, 3), st.integers(2, 4))
def test_an_epoch_has_every_sequence_once(
    histories: Histories, size: int, seed: int, longest: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "LONGEST", longest)
        stream = SequenceStream(purchases(histories), size, seed)
        train = {u: h[:-2] if len(h) > 2 else h for u, h in enumerate(histories, 1)}
        wanted = {
            u: (h[-longest - 1 : -1], h[-longest:][: len(h)] if len(h) > longest else h[1:])
            for u, h in train.items()
            if len(h) > 1
        }
        n = stream.batches_in_epoch
        assert n == -(-len(wanted) // size)
        batches = list(islice(stream.batches(), 2 * n))
        for epoch in (batches[:n], batches[n:]):
            assert sum(len(batch) for batch in epoch) == len(wanted)
            assert {u: pair for batch in epoch for u, pair in rows(batch).items()} == wanted
        for start in range(2 * n):  # batch k is always the same, and a rank has its part of it
            again = next(stream.batches(start))
            assert rows(again) == rows(batches[start])
            parts = [next(stream.batches(start, rank, 3)) for rank in range(3)]
            assert {u: p for part in parts for u, p in rows(part).items()} == rows(again)
            targets = sum(len(t) for _, t in rows(again).values())
            assert {part.n_targets for part in (again, *parts)} == {targets}


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    histories = [[1, 2, 3, 4, 5]] * 40
    orders = {
        tuple(next(SequenceStream(purchases(histories), 40, seed).batches(epoch)).user_id.tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


@settings(max_examples=60, deadline=None, derandomize=True)
@given(histories_of_users, st.sampled_from(["valid", "test"]))
def test_a_held_out_purchase_is_the_one_target_after_its_history(
    histories: Histories, split: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "VALID_BATCH", 2)
        batches = list(SequenceStream(purchases(histories), 2, 0).held_out(split, "topn"))
    back = {"valid": -2, "test": -1}[split]
    wanted = {
        u: (h[:back], [0] * (len(h[:back]) - 1) + [h[back]])
        for u, h in enumerate(histories, 1)
        if len(h) > 2
    }
    assert {u: pair for batch in batches for u, pair in rows(batch).items()} == wanted
    assert all(batch.task == "topn" for batch in batches)
    assert all(batch.n_targets == len(batch) for batch in batches)


def test_many_held_out_users_are_an_even_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "VALID_USERS", 5)
    stream = SequenceStream(purchases([[1, 2, 3, 4]] * 21), 4, 0)
    [batch] = stream.held_out("valid")
    assert batch.user_id.tolist() == [1, 6, 11, 16, 21]
