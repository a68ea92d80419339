"""Training sentences: counted by loops, nothing held out is read, and baselines repeat them."""

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podprep.contract.errors import PodError
from podprep.contract.schema import EXPLANATIONS
from podprep.contract.shards import Shards
from podtrain.data.interactions import Interactions
from podtrain.recommenders import sentences
from podtrain.recommenders.queries import Pairs
from podtrain.recommenders.registry import entries, entry
from podtrain.recommenders.sentences import TrainingSentences, Words, common, near
from tests.conftest import Build, arithmetic_rows
from tests.tamper import rewrite

words = st.lists(st.sampled_from("abcd"), max_size=70)


def plain_common(one: list[str], other: list[str]) -> int:
    """The longest common subsequence, by the table of all beginnings."""
    longest = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            best = longest[i][j] + 1 if a == b else max(longest[i][j + 1], longest[i + 1][j])
            longest[i + 1][j + 1] = best
    return longest[-1][-1]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(words, words)
def test_what_sentences_have_in_common_equals_the_table(one: list[str], other: list[str]) -> None:
    assert common(one, other) == plain_common(one, other)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(words, words)
def test_near_is_symmetric_and_one_only_for_the_same(one: list[str], other: list[str]) -> None:
    a, b = (Words.of(" ".join(text)) for text in (one, other))
    found = near(a, b)
    assert found == near(b, a)
    assert 0 <= found <= 1
    if len(one) > 1:
        assert near(a, a) == 1
        assert (found == 1) == (one == other)


@pytest.fixture
def folder(build_rows: Build) -> Path:
    return build_rows(arithmetic_rows(16, 9, 6), negatives=3, rounds=1)


def rows_of(shards: Shards) -> list[dict[str, Any]]:
    return [row for row in shards.table(EXPLANATIONS).to_pylist() if row["split"] == "train"]


def test_a_plan_is_a_probability_counted_from_training_sentences(folder: Path) -> None:
    shards = Shards.open(folder)
    known, rows = TrainingSentences(shards), rows_of(shards)
    assert known.features == sorted({row["feature"] for row in rows})
    overall = {f: Fraction(sum(r["feature"] == f for r in rows), len(rows)) for f in known.features}
    users, items = np.array([0, 1, 5, 16]), np.array([1, 9, 3, 3])
    plan = known.plan(users, items)
    for n, (user, item) in enumerate(zip(users, items, strict=True)):
        weights = []
        for feature in known.features:
            parts = []
            for name, key, prior in (("item_id", item, 2), ("user_id", user, 5)):
                own = [row for row in rows if row[name] == key]
                named = sum(row["feature"] == feature for row in own)
                parts.append((named + prior * overall[feature]) / (len(own) + prior))
            power = sentences.USER_POWER
            weights.append(float(parts[0]) * float(parts[1] / overall[feature]) ** power)
        np.testing.assert_allclose(plan[n], np.array(weights) / sum(weights))
    np.testing.assert_allclose(plan.sum(1), 1)


def test_evidence_is_nearness_to_the_item_and_to_the_user(folder: Path) -> None:
    shards = Shards.open(folder)
    known, rows = TrainingSentences(shards), rows_of(shards)
    stammers = ("The strap the strap is very sturdy.", "Handles of mithril.")
    for sentence in ("The strap is very sturdy.", "The handle is very sturdy.", *stammers):
        said = -float(sentence in stammers)
        for user, item in ((1, 1), (0, 3), (4, 10**6), (0, 10**6)):
            want = said
            for own in (
                [row["sentence"] for row in rows if row["item_id"] == item],
                [row["sentence"] for row in rows if row["user_id"] == user],
            ):
                alike = [near(Words.of(sentence), Words.of(other)) for other in own]
                want += sum(alike) / max(len(alike), 1)
            assert known.evidence(user, item, sentence) == pytest.approx(want)


@pytest.mark.parametrize("name", [e.name for e in entries() if e.name.endswith("-sentence")])
def test_baselines_repeat_training_sentences_and_see_nothing_held_out(
    name: str, folder: Path
) -> None:
    shards = Shards.open(folder)
    rows, purchases = rows_of(shards), Interactions.read(shards)
    pairs = Pairs.of([(user, item) for user in range(1, 17) for item in (1, 5, 9)])
    texts = entry(name).load()(shards).texts(pairs)
    written = {row["sentence"] for row in rows}
    assert len(texts) == len(pairs)
    assert set(texts) <= written
    if name == "frequent-sentence":
        counts = Counter(row["sentence"] for row in rows)
        assert set(texts) == {min(counts, key=lambda s: (-counts[s], s))}
    if name in ("item-sentence", "chosen-sentence"):
        for item, text in zip(pairs.item_id, texts, strict=True):
            assert text in {row["sentence"] for row in rows if row["item_id"] == item}
    if name == "neighbour-sentence":
        for user, item, text in zip(pairs.user_id, pairs.item_id, texts, strict=True):
            known = set(purchases.history(int(user), "valid")) - {int(item)}
            assert text in {row["sentence"] for row in rows if row["item_id"] in known}

    def spoil(held: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            row if row["split"] == "train" else {**row, "feature": "lie", "sentence": "A lie."}
            for row in held
        ]

    rewrite(folder, EXPLANATIONS, spoil)
    assert entry(name).load()(Shards.open(folder)).texts(pairs) == texts


def test_a_dataset_without_training_sentences_is_told(folder: Path) -> None:
    rewrite(folder, EXPLANATIONS, lambda rows: [{**row, "split": "test"} for row in rows])
    with pytest.raises(PodError, match="has no explanations to train on"):
        TrainingSentences(Shards.open(folder))
