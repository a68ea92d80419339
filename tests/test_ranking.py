"""The best items in one order, the ranks of any recommender, and what it is asked: by sorting."""

import functools
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from podtrain.data.interactions import Interactions
from podtrain.recommenders.base import ScoresItems
from podtrain.recommenders.queries import Floats, Pairs, Queries, held_out
from podtrain.recommenders.ranking import best, rank

INF = float("inf")
# many ties: -0.0 is 0.0, and two neighbours of 1 differ in the last bit
VALUES = np.array(
    [-INF, -3.5, -1e-38, -1e-45, -0.0, 0.0, 1e-45, 1.0, np.nextafter(np.float32(1), 2), 3e38],
    np.float32,
)


def plainly(scores: list[float], ids: list[int], n: int) -> tuple[list[int], list[float]]:
    """The n best by score, then by id; nothing at -inf."""
    pairs = sorted(zip(scores, ids, strict=True), key=lambda pair: (-pair[0], pair[1]))
    kept = [(score, item) for score, item in pairs if score > -INF][:n]
    short = n - len(kept)
    return [i for _, i in kept] + [0] * short, [s for s, _ in kept] + [-INF] * short


def test_the_best_are_ordered_by_score_then_id() -> None:
    for seed in range(300):
        check_best(seed)


def check_best(seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows, columns = draw.integers(1, 6), draw.integers(1, 40)
    n = int(draw.integers(1, 2 * columns + 2))
    scores = draw.choice(VALUES, (rows, columns))
    if seed % 3 == 0:
        scores[0] = -INF
    if seed % 4 == 0:
        noise = draw.normal(size=scores.shape).round(1).astype(np.float32)
        scores = np.where(scores == 0, noise, scores)
    ids = np.stack([1 + draw.permutation(columns) for _ in range(rows)])
    if seed % 2:  # one order for all, and ids as large as they get
        ids = np.tile(np.sort(draw.choice(2**31 - 1, columns, replace=False)) + 1, (rows, 1))
    given_ids = ids[0] if seed % 2 else ids
    before = scores.copy()
    items, found = best(scores, given_ids, n)
    assert items.shape == found.shape == (rows, n)
    for row in range(rows):
        want = plainly(scores[row].tolist(), ids[row].tolist(), n)
        assert (items[row].tolist(), found[row].tolist()) == want
    assert (scores.view(np.int32) == before.view(np.int32)).all()  # not even a sign is changed


class Table(ScoresItems):
    """Scores by a function of the history."""

    name = "table"

    def __init__(self, n_items: int, score: Any) -> None:
        self.n_items, self.score = n_items, score

    def scores(self, queries: Queries) -> Floats:
        rows = [
            [self.score(queries.history(q).tolist(), item) for item in range(1, self.n_items + 1)]
            for q in range(len(queries))
        ]
        return np.array(rows, np.float32).reshape(len(queries), self.n_items)


histories = st.lists(st.lists(st.integers(1, 9), max_size=8), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(histories, st.randoms(use_true_random=False), st.integers(0, 4))
def test_any_recommender_is_ranked_as_sorting_ranks_it(
    asked: list[list[int]], random: Any, top: int
) -> None:
    """With what was bought and without; candidates may lack the target, and have pads."""
    score = functools.cache(lambda *_: random.choice([0.0, 0.5, 1.0, -1.0]))
    model = Table(9, lambda history, item: score(tuple(history), item))
    queries = Queries.of(asked)
    targets = np.array([random.randint(1, 9) for _ in asked])
    among = np.array([random.sample(range(1, 10), 5) for _ in asked])
    among[:, 4] *= random.choice([0, 1])
    every = np.tile(np.arange(1, 10), (len(asked), 1))
    whole = rank(model, queries, targets, top=top)
    some = rank(model, queries, targets, top=top, candidates=among)
    assert (set(whole), set(some)) == ({False, True}, {False})
    for found, ids, left_out in (
        (whole[False], every, False),
        (whole[True], every, True),
        (some[False], among, False),
    ):
        for q, history in enumerate(asked):
            own = {
                int(i): score(tuple(history), int(i))
                for i in ids[q]
                if i and not (left_out and i in history)
            }
            target = int(targets[q])
            mine = own.get(target)
            assert found.ranks.equal[q] == (0 if mine is None else list(own.values()).count(mine))
            if mine is not None:
                assert found.ranks.above[q] == sum(s > mine for s in own.values())
            want = plainly(list(own.values()), list(own), top)
            assert (found.items[q].tolist(), found.scores[q].tolist()) == want


@settings(max_examples=100, deadline=None, derandomize=True)
@given(histories, st.integers(1, 10), st.data())
def test_queries_are_lists_of_lists(asked: list[list[int]], n: int, data: st.DataObject) -> None:
    users = list(range(5, 5 + len(asked)))
    queries = Queries.of(asked, users)

    def lists(of: Queries) -> list[tuple[int, list[int]]]:
        histories = [of.history(q).tolist() for q in range(len(of))]
        return list(zip(of.user_id.tolist(), histories, strict=True))

    assert lists(queries) == list(zip(users, asked, strict=True))
    assert Queries.of(asked).user_id.tolist() == [0] * len(asked)
    assert queries.lengths.tolist() == [len(h) for h in asked]
    assert lists(queries.cut(n)) == [(u, h[-n:]) for u, h in zip(users, asked, strict=True)]
    assert queries.latest(n).tolist() == [(h[::-1] + [0] * n)[:n] for h in asked]
    rows = data.draw(st.lists(st.integers(0, len(asked) - 1), max_size=9))
    taken = queries.take(np.array(rows, np.int64))
    assert lists(taken) == [(users[r], asked[r]) for r in rows]
    marked = np.zeros((len(asked), 9), bool)
    marked[queries.seen()] = True
    assert [set(np.flatnonzero(row) + 1) for row in marked] == [set(h) for h in asked]
    batches = list(queries.batches(n))
    assert sorted(int(r) for rows, _ in batches for r in rows) == list(range(len(asked)))
    assert all(lists(some) == [(users[r], asked[r]) for r in rows] for rows, some in batches)
    lengths = [len(asked[r]) for rows, _ in batches for r in rows]
    assert lengths == sorted(lengths, reverse=True)
    assert all(len(some) <= n for _, some in batches)


bought = st.lists(
    st.tuples(
        st.lists(st.integers(1, 9), min_size=1, max_size=6), st.sampled_from(["", "t", "vt", "v"])
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(bought)
def test_histories_and_targets_are_those_of_the_splits(users: list[tuple[list[int], str]]) -> None:
    """Users may lack a validation or a test purchase."""
    codes = {"v": 1, "t": 2}
    rows = [
        (item, code)
        for items, ends in users
        for item, code in [*((i, 0) for i in items), *((9, codes[end]) for end in ends)]
    ]
    purchases = Interactions(
        items=np.array([item for item, _ in rows], np.int32),
        split=np.array([code for _, code in rows], np.int8),
        starts=np.cumsum([0, *(len(items) + len(ends) for items, ends in users)]),
        n_items=9,
    )
    for split, letter in (("valid", "v"), ("test", "t")):
        queries, targets = held_out(purchases, split)
        with_one = [n for n, (_, ends) in enumerate(users, 1) if letter in ends]
        assert queries.user_id.tolist() == with_one
        assert targets.tolist() == [9] * len(with_one)
        for q, user in enumerate(with_one):
            items, ends = users[user - 1]
            known = [*items, *([9] if split == "test" and "v" in ends else [])]
            assert queries.history(q).tolist() == purchases.history(user, split) == known
    everybody = Queries.before(purchases, np.arange(len(users), 0, -1), None)
    for q, (items, ends) in enumerate(reversed(users)):
        assert everybody.history(q).tolist() == [*items, *([9] * len(ends))]


def test_pairs_are_tuples() -> None:
    pairs = Pairs.of([(3, 4), (1, 2)], "strap")
    assert (pairs.user_id.tolist(), pairs.item_id.tolist(), pairs.about) == (
        [3, 1],
        [4, 2],
        "strap",
    )
    assert len(Pairs.of([])) == 0
