"""Rules that need no model: plain counting in Python, and the published figures."""

import gzip
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podprep.contract.tasks import SPLITS
from podtrain.data.interactions import Interactions
from podtrain.metrics.ranking import TargetRanks, per_user, ranks_of
from podtrain.recommenders import baselines as rules
from podtrain.recommenders.baselines import RULES, Rules
from tests.conftest import Build, arithmetic_rows, needs_shared
from tests.test_published import BEAUTY

ITEMS = 7
Histories = list[list[int]]


def interactions_of(histories: Histories, items: int = ITEMS) -> Interactions:
    """Split as a dataset is: the last purchase for the test, the one before for validation."""
    split = [[0] * (n - 2) + [1, 2] if n > 2 else [0] * n for n in map(len, histories)]
    return Interactions(
        items=np.concatenate([np.array(h, np.int32) for h in histories]),
        split=np.concatenate([np.array(s, np.int8) for s in split]),
        starts=np.cumsum([0, *map(len, histories)]),
        n_items=items,
    )


histories_of_users = st.lists(
    st.lists(st.integers(1, ITEMS), min_size=1, max_size=14), min_size=1, max_size=6
)


def trained(history: list[int]) -> list[int]:
    return history[:-2] if len(history) > 2 else history


def known(history: list[int], split: str) -> list[int]:
    if len(history) < 3:
        return history
    return history[:-2] if split == "valid" else history[:-1]


def plain_scores(rule: str, histories: Histories, history: list[int]) -> dict[int, float]:
    """One user's scores from dictionaries, loops and the words of the rules."""
    bought = Counter(item for h in histories for item in trained(h))
    if rule == "popularity":
        return {item: float(n) for item, n in bought.items()}
    if rule in ("max+1", "last+1"):
        named = [max(history) + 1, history[-1] + 1][: 1 if rule == "max+1" else 2]
        return {item: 2.0 - named.index(item) for item in named if item <= ITEMS}
    scores: dict[int, float] = defaultdict(float)
    for h in map(trained, histories):
        for i, earlier in enumerate(h):
            for j in range(i + 1, len(h)):
                later, lag = h[j], j - i
                if rule == "markov":
                    scores[later] += lag == 1 and earlier == history[-1]
                elif lag <= rules.SPAN:
                    weight = lag**-rules.LAG_POWER / (bought[earlier] * bought[later]) ** (
                        rules.DAMPING
                    )
                    for back, item in enumerate(history[::-1][: rules.SPAN]):
                        scores[later] += (item == earlier) * weight * rules.DECAY**back
                        scores[earlier] += (
                            (item == later) * weight * rules.DECAY**back * rules.BACKWARD
                        )
    return scores


@settings(max_examples=150, deadline=None, derandomize=True)
@given(histories_of_users, st.sampled_from(RULES), st.sampled_from(["valid", "test"]))
def test_scores_equal_plain_counting(histories: Histories, rule: str, split: str) -> None:
    counted = Rules.count(interactions_of(histories))
    users = np.arange(len(histories), 0, -1)  # any users in any order
    got = counted.scores(rule, users, split)
    assert got.shape == (len(users), ITEMS)
    assert got.dtype == np.float32
    for row, user in zip(got, users, strict=True):
        plain = plain_scores(rule, histories, known(histories[user - 1], split))
        want = np.array([plain.get(item, 0.0) for item in range(1, ITEMS + 1)])
        if rule in ("max+1", "last+1"):  # only their order means something
            row, want = (np.unique(x, return_inverse=True)[1] for x in (row, want))  # noqa: PLW2901
        np.testing.assert_allclose(row, want, rtol=1e-6)
        for a in range(ITEMS):  # what ties on paper ties here, whatever the order of adding
            assert (np.abs(want - want[a]) < 1e-12).tolist() == (row == row[a]).tolist()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(histories_of_users, st.sampled_from(RULES), st.sampled_from(["valid", "test"]), st.data())
def test_ranks_and_lists_follow_from_the_scores(
    histories: Histories, rule: str, split: str, data: st.DataObject
) -> None:
    counted = Rules.count(interactions_of(histories))
    users, targets = counted.held_out(split)
    back = {"valid": -2, "test": -1}[split]
    assert users.tolist() == [u for u, h in enumerate(histories, 1) if len(h) > 2]
    assert targets.tolist() == [histories[u - 1][back] for u in users]
    scores = counted.scores(rule, users, split)
    given_to = np.zeros((len(users), ITEMS), np.int32)
    for row in given_to:
        drawn = data.draw(st.lists(st.integers(1, ITEMS), unique=True))
        row[: len(drawn)] = drawn
    whole, among = counted.rank(rule, split), counted.rank(rule, split, given_to)
    for n, target in enumerate(targets):
        every, mine = scores[n], scores[n, target - 1]
        assert whole.above[n] == sum(every > mine)
        assert whole.equal[n] == sum(every == mine) > 0
        these = [int(i) for i in given_to[n] if i]
        assert among.equal[n] == (target in these) * sum(every[i - 1] == mine for i in these)
        if target in these:
            assert among.above[n] == sum(every[i - 1] > mine for i in these)
    best, of = counted.top(rule, users, split, 3)
    for n in range(len(users)):
        order = sorted(range(1, ITEMS + 1), key=lambda item: (-scores[n, item - 1], item))
        assert best[n].tolist() == order[:3]
        assert of[n].tolist() == [scores[n, item - 1] for item in order[:3]]


@pytest.mark.parametrize("rule", RULES)
def test_parts_do_not_show(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    histories = [draw.integers(1, ITEMS + 1, draw.integers(3, 9)).tolist() for _ in range(20)]
    counted = Rules.count(interactions_of(histories))
    users, _ = counted.held_out("test")
    given_to = draw.integers(0, ITEMS + 1, (20, 4)).astype(np.int32)

    def all_of_it() -> list[npt.NDArray[Any]]:
        whole, among = counted.rank(rule, "test"), counted.rank(rule, "test", given_to)
        lists = counted.top(rule, users, "test", ITEMS + 5)  # more than there are
        return [whole.above, whole.equal, among.above, among.equal, *lists]

    at_once = all_of_it()
    monkeypatch.setattr(rules, "CELLS", 3 * ITEMS)
    for parts, whole in zip(all_of_it(), at_once, strict=True):
        assert parts.tolist() == whole.tolist()
    assert at_once[-1].shape == (20, ITEMS)


@pytest.mark.parametrize("rule", RULES)
def test_no_count_sees_a_held_out_purchase(rule: str) -> None:
    """Another user's test and validation items change nothing."""
    mine = [1, 2, 3, 1, 2]
    scores = [
        Rules.count(interactions_of([mine, [2, 3, 4, *held_out]])).scores(
            rule, np.array([1]), "test"
        )
        for held_out in ([5, 6], [1, 2], [3, 3])
    ]
    assert (scores[0] == scores[1]).all()
    assert (scores[0] == scores[2]).all()
    assert scores[0].any()


def test_a_large_catalogue_is_never_squared() -> None:
    histories = [[1, 10**6, 5, 7, 2], [3, 10**6, 5, 10**6 - 1, 9]]
    counted = Rules.count(interactions_of(histories, 10**6))
    assert counted.top("item-knn", np.array([2]), "valid", 2)[0].tolist() == [[5, 10**6]]
    assert counted.rank("last+1", "test").equal.tolist() == [10**6 - 1, 10**6 - 1]


def test_an_unknown_rule_is_refused_by_name() -> None:
    with pytest.raises(PodError, match="no rule is named max: choose from popularity, max"):
        Rules.count(interactions_of([[1, 2, 3]])).scores("max", np.array([1]), "test")


def test_a_dataset_is_ranked_whole_and_by_its_candidates(build_rows: Build) -> None:
    shards = Shards.open(build_rows(arithmetic_rows(), negatives=6))
    interactions = Interactions.read(shards)
    counted = Rules.count(interactions)
    for split in ("valid", "test"):
        users, targets = counted.held_out(split)
        samples = shards.sample_table("topn", split)
        assert samples["user_id"].to_pylist() == users.tolist()
        assert samples["item_id"].to_pylist() == targets.tolist()
        given_to = np.array(samples["candidates"].to_pylist(), np.int32)
        assert given_to.shape == (30, 7)
        for rule in RULES:
            whole, among = counted.rank(rule, split), counted.rank(rule, split, given_to)
            assert (among.equal > 0).all()
            assert (among.above <= whole.above).all()
            assert (among.equal <= whole.equal).all()
            assert (whole.above + whole.equal <= interactions.n_items).all()
        for user in users:  # the history a rule sees is the one evaluation gives to a model
            history = interactions.history(int(user), before=split)
            at = SPLITS.index(split)
            assert counted.known[at, user - 1] == len(history)
            named = counted.top("max+1", np.array([user]), split, 1)
            if max(history) < interactions.n_items:
                assert named[0].tolist() == [[max(history) + 1]]


@needs_shared
def test_the_published_numbering_names_the_held_out_item() -> None:
    """What two lines reach on the published Beauty: HR@1 .0441, HR@5 .0501, NDCG@10 .0479.

    Those figures are of lists of one and two items. Ties by expectation add what chance gives
    to the items that a list leaves out, less than 10 / 12 101. HR@1 of the list of two is .0442:
    where max + 1 is no item, last + 1 comes first.
    """
    text = gzip.decompress((BEAUTY / "sequential.txt.gz").read_bytes()).decode()
    histories = [[int(item) for item in line.split()[1:]] for line in text.splitlines()]
    counted = Rules.count(interactions_of(histories, max(map(max, histories))))
    figures = {"max+1": (0.0441, 0.0441, 0.0441), "last+1": (0.0442, 0.0501, 0.0479)}
    for rule, (hr1, hr5, ndcg10) in figures.items():
        ranks = counted.rank(rule, "test")
        named = TargetRanks(ranks.above, np.where(ranks.equal == 1, 1, 0))
        got = [per_user(named, k)[which].mean() for k, which in ((1, 0), (5, 0), (10, 1))]
        assert got == pytest.approx([hr1, hr5, ndcg10], abs=5e-5)
        added = per_user(ranks, 10)[0].mean() - per_user(named, 10)[0].mean()
        assert 0 < added < 10 / 12_101
    ranks = counted.rank("item-knn", "test")
    assert per_user(ranks, 10)[1].mean() > 0.0466  # counting already published for this data


@settings(max_examples=80, deadline=None, derandomize=True)
@given(histories_of_users, st.sampled_from(RULES), st.sampled_from(["valid", "test"]))
def test_what_was_bought_before_can_be_left_out(
    histories: Histories, rule: str, split: str
) -> None:
    purchases = interactions_of(histories)
    counted = Rules.count(purchases)
    users, targets = counted.held_out(split)
    if not len(users):
        return
    seen = np.zeros((len(users), ITEMS), bool)
    for row, user in zip(seen, users, strict=True):
        row[np.array(known(histories[user - 1], split)) - 1] = True
    marked = np.zeros_like(seen)
    marked[purchases.seen(users, split)] = True
    assert np.array_equal(marked, seen)
    left = np.where(seen, -np.inf, counted.scores(rule, users, split))
    want, got = ranks_of(left, targets - 1), counted.rank(rule, split, unseen=True)
    assert np.array_equal(got.above, want.above)
    assert np.array_equal(got.equal, want.equal)
    # a product that was bought before cannot be found
    assert (got.equal[seen[np.arange(len(users)), targets - 1]] == 0).all()
