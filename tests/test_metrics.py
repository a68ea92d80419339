"""Metrics: equal to other people's code, to plain Python, and to values worked out by hand."""

import math
from collections.abc import Iterator
from itertools import combinations, permutations, product
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.tokenize import tokenize
from sklearn.metrics import ndcg_score, top_k_accuracy_score

from podprep.contract.errors import PodError
from podtrain.metrics import text
from podtrain.metrics.ranking import (
    TargetRanks,
    per_user,
    pod_ranking_metrics,
    rank_lists,
    ranking_metrics,
    ranks_of,
)
from podtrain.metrics.words import words_of

Scores = npt.NDArray[np.float64]
Columns = npt.NDArray[np.int64]


def random_scores(values: int, users: int = 300, items: int = 13) -> tuple[Scores, Columns]:
    """Scores that take so many values: the fewer, the more ties."""
    rng = np.random.default_rng([7, values])
    return rng.integers(0, values, (users, items)) / 8, rng.integers(0, items, users)


@pytest.mark.parametrize("values", [1, 2, 4, 20, 10**9])
@pytest.mark.parametrize("k", [1, 2, 5, 13, 20])
def test_ndcg_equals_scikit_learn_with_ties(values: int, k: int) -> None:
    scores, target = random_scores(values)
    relevant = np.zeros(scores.shape)
    relevant[np.arange(len(target)), target] = 1
    ours = ranking_metrics(ranks_of(scores, target), (k,))[f"ndcg@{k}"]
    assert ours == pytest.approx(ndcg_score(relevant, scores, k=k), abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 5, 12])
def test_hits_equal_scikit_learn_without_ties(k: int) -> None:
    scores, target = random_scores(10**9)
    assert (ranks_of(scores, target).equal == 1).all()
    expected = top_k_accuracy_score(target, scores, k=k, labels=range(13))
    assert ranking_metrics(ranks_of(scores, target), (k,))[f"hit@{k}"] == pytest.approx(expected)


def in_every_order(scores: list[int], target: int, k: int) -> tuple[float, float]:
    """Hit and NDCG, averaged over all ways to break the ties."""
    hits, gains = [], []
    for order in permutations(range(len(scores))):
        rank = 1 + sorted(order, key=lambda item: -scores[item]).index(target)
        hits.append(float(rank <= k))
        gains.append((rank <= k) / math.log2(rank + 1))
    return math.fsum(hits) / len(hits), math.fsum(gains) / len(gains)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=6), st.data())
def test_a_tie_counts_as_the_mean_over_its_orders(scores: list[int], data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    k = data.draw(st.integers(1, 7))
    ranks = ranks_of(np.array([scores], float), np.array([target]))
    [hit], [ndcg] = per_user(ranks, k)
    assert (hit, ndcg) == pytest.approx(in_every_order(scores, target, k))


def test_a_model_that_says_nothing_scores_as_chance() -> None:
    ranks = ranks_of(np.zeros((5, 100), np.float32), np.arange(5))
    assert ranking_metrics(ranks, (1, 10))["hit@10"] == pytest.approx(10 / 100)
    assert ranking_metrics(ranks, (1, 10))["hit@1"] == pytest.approx(1 / 100)


def test_what_is_not_ranked_is_a_miss() -> None:
    scores = np.array([[-np.inf, 2.0, -np.inf], [3.0, 2.0, -np.inf]])
    ranks = ranks_of(scores, np.array([0, 0]))
    assert ranks.equal.tolist() == [0, 1]
    assert ranking_metrics(ranks, (1, 3)) == {
        "hit@1": 0.5,
        "ndcg@1": 0.5,
        "hit@3": 0.5,
        "ndcg@3": 0.5,
    }


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(AssertionError, match="no order"):
        ranks_of(np.array([[0.0, np.nan]]), np.array([0]))


def test_names_are_those_that_the_views_ask_for() -> None:
    names = list(ranking_metrics(TargetRanks(np.array([0]), np.array([1]))))
    assert names == ["hit@1", "ndcg@1", "hit@5", "ndcg@5", "hit@10", "ndcg@10"]


@st.composite
def beams(draw: st.DrawFn) -> tuple[list[list[int]], list[int]]:
    """Lists of few items with repetitions and gaps, and targets that are often among them."""
    n = draw(st.integers(1, 6))
    items = st.lists(st.integers(0, 4), min_size=n, max_size=n)
    lists = draw(st.lists(items, min_size=1, max_size=8))
    return lists, [draw(st.integers(1, 5)) for _ in lists]


@settings(deadline=None)
@given(beams())
def test_a_list_counts_the_first_occurrence_only(case: tuple[list[list[int]], list[int]]) -> None:
    lists, targets = case
    ranks = rank_lists(np.array(lists), np.array(targets))
    for user, (items, target) in enumerate(zip(lists, targets, strict=True)):
        assert ranks.equal[user] == (target in items)
        for k in (1, 3, 10):
            hit, ndcg = (values[user] for values in per_user(ranks, k))
            assert hit == (target in items[:k])
            rank = items.index(target) + 1 if hit else math.inf
            assert ndcg == pytest.approx(1 / math.log2(rank + 1))


@settings(deadline=None)
@given(beams(), st.integers(1, 8))
def test_the_published_count_equals_plain_python(
    case: tuple[list[list[int]], list[int]], k: int
) -> None:
    lists, targets = case
    hits, ndcg = 0, 0.0
    for items, target in zip(lists, targets, strict=True):
        ranks = [i + 1 for i in range(min(k, len(items))) if items[i] == target]
        hits += len(ranks)
        if ranks:
            best = sum(1 / math.log2(r + 2) for r in range(len(ranks)))
            ndcg += sum(1 / math.log2(r + 1) for r in ranks) / best
    found = pod_ranking_metrics(lists, targets, (k, 9))
    assert found[f"hit_pod@{k}"] == pytest.approx(hits / len(lists))
    assert found[f"ndcg_pod@{k}"] == pytest.approx(ndcg / len(lists))


def test_the_published_count_differs_only_where_a_hit_is_repeated() -> None:
    lists, targets = [[3, 8, 3], [5], [6, 7], []], [3, 5, 9, 1]
    padded = np.array([[3, 8, 3], [5, 0, 0], [6, 7, 0], [0, 0, 0]])
    pod = pod_ranking_metrics(lists, targets, (1, 3))
    ours = ranking_metrics(rank_lists(padded, np.array(targets)), (1, 3))
    assert pod["hit_pod@1"] == ours["hit@1"] == pod["ndcg_pod@1"] == 2 / 4
    assert (pod["hit_pod@3"], ours["hit@3"]) == (3 / 4, 2 / 4)
    # user 1 has hits at ranks 1 and 3, at best 1 and 2: (1 + 1/2) / (1 + 1/log2(3)) = 0.919721
    assert pod["ndcg_pod@3"] == pytest.approx((0.919721 + 1) / 4, abs=1e-6)
    assert ours["ndcg@3"] == pytest.approx(2 / 4)


def test_nobody_to_evaluate_is_an_error() -> None:
    nobody = np.zeros(0, np.int64)
    with pytest.raises(PodError, match="no user"):
        ranking_metrics(TargetRanks(nobody, nobody))
    with pytest.raises(PodError, match="no user"):
        pod_ranking_metrics([], [])


def test_bleu_by_hand() -> None:
    """Two sentences of 5 and 2 words, of 5 and 4 in the reference.

    Matches of 1 word: 4 of 5 and, since case counts, 1 of 2: 5/7 together. Of 2 words: 3 of 4
    and 0 of 1: 3/5. Of 3: 2/3. Of 4: 1/2. 7 words for 9: brevity exp(1 - 9/7) = exp(-2/7).
    BLEU-1 = 100 exp(-2/7) 5/7; BLEU-4 = 100 exp(-2/7) (1/7)^(1/4), for 5/7 3/5 2/3 1/2 is 1/7.
    """
    ours = ["the lid fits very well", "It smells"]
    theirs = ["the lid fits very tight", "it smells so good"]
    assert text.bleu(ours, theirs, 1) == pytest.approx(53.677, abs=1e-3)
    assert text.bleu(ours, theirs, 4) == pytest.approx(46.199, abs=1e-3)
    # a comma is part of its word: 1 of 2 words
    assert text.bleu(["it smells,"], ["it smells"], 1) == pytest.approx(50)
    # longer than the reference: no bonus, 4 of 6 words; no match of 4 words: 0, not smoothed
    assert text.bleu(["the lid fits well for me"], ["the lid fits me"], 1) == pytest.approx(400 / 6)
    assert text.bleu(["the lid fits well for me"], ["the lid fits me"], 4) == 0


def plain_bleu(ours: list[list[str]], theirs: list[list[str]], order: int) -> float:
    value = 1.0
    for n in range(1, order + 1):
        matches, total = 0, 0
        for words, wanted in zip(ours, theirs, strict=True):
            grams = [words[i : i + n] for i in range(len(words) - n + 1)]
            theirs_n = [wanted[i : i + n] for i in range(len(wanted) - n + 1)]
            total += len(grams)
            for gram in grams:
                if gram in theirs_n:
                    theirs_n.remove(gram)
                    matches += 1
        if not matches:
            return 0.0
        value *= matches / total
    length, wanted_length = sum(map(len, ours)), sum(map(len, theirs))
    brevity = min(1.0, math.exp(1 - wanted_length / length))
    return float(100 * value ** (1 / order) * brevity)


def random_corpora(number: int, words: int) -> Iterator[tuple[list[str], list[str]]]:
    """Corpora of few sentences of few words out of four, two of which differ in case only."""
    random = Random(7)
    for _ in range(number):
        size = random.randint(1, 5)
        ours, theirs = (
            [" ".join(random.choices("abcC", k=random.randint(0, words))) for _ in range(size)]
            for _ in range(2)
        )
        yield ours, theirs


def test_bleu_equals_plain_python() -> None:
    values = []
    for ours, theirs in random_corpora(300, words=12):
        for order in (1, 4):
            split = [line.split() for line in ours], [line.split() for line in theirs]
            values.append(text.bleu(ours, theirs, order))
            assert values[-1] == pytest.approx(plain_bleu(*split, order))
    assert sum(value > 0 for value in values) > len(values) / 2


def test_rouge_by_hand() -> None:
    """Our 5 words, in lower case and without punctuation, for 7.

    1: it, smells, very (once), good: 4 of 5 and 4 of 7, F = 8/12. 2: it smells: 1 of 4 and 1 of 6,
    F = 2/10. L: it smells good (or very): 3 of 5 and 3 of 7, F = 6/12. The second pair has nothing
    in common and halves the means.
    """
    ours = ["It smells, very very good.", ""]
    theirs = ["it smells so good and very strong", "the lid fits"]
    expected = {"rouge1": 100 / 3, "rouge2": 10, "rougeL": 25}
    assert text.rouge(ours, theirs) == pytest.approx(expected)
    # no stemmer: an inflected word is another one
    assert text.rouge(["smelling"], ["smells"])["rouge1"] == 0


def test_the_papers_rouge_by_hand() -> None:
    """Our 4 different words of 5, for 7.

    1: all 4 of 4, and 4 of 7: F = 2 (4/7) / (11/7) = 8/11. 2: 1 of 4 and 1 of 6, F = 1/5.
    L: P = 3/5, R = 3/7, beta = P/R = 7/5, so (1 + 49/25) 3/7 3/5 / (3/7 + 49/25 3/5) = 37/78.
    The second pair differs in case and comma and halves the means.
    """
    ours = ["it smells very very good", "The lid, fitted"]
    theirs = ["it smells so good and very strong", "the lid fits"]
    expected = {"rouge1_pod": 400 / 11, "rouge2_pod": 10, "rougeL_pod": 50 * 37 / 78}
    assert text.rouge_pod(ours, theirs) == pytest.approx(expected, abs=1e-5)


def plain_pod_f(ours: str, theirs: str, n: int) -> float:
    """Every n-gram of the alphabet is looked for in both; a letter is a word."""
    grams = ["".join(gram) for gram in product("abcC", repeat=n)]
    in_ours, in_theirs = [g in ours for g in grams], [g in theirs for g in grams]
    p, r = (
        sum(a and b for a, b in zip(in_ours, in_theirs, strict=True)) / max(sum(one), 1)
        for one in (in_ours, in_theirs)
    )
    return 2 * p * r / (p + r + 1e-8)


def plain_pod_l(ours: str, theirs: str) -> float:
    def parts(line: str) -> set[Any]:
        return {part for size in range(len(line) + 1) for part in combinations(line, size)}

    longest = max(map(len, parts(ours) & parts(theirs)))
    p, r = longest / max(len(ours), 1), longest / max(len(theirs), 1)
    beta = p / (r + 1e-12)
    return (1 + beta**2) * r * p / (r + beta**2 * p + 1e-12)


def test_the_papers_rouge_equals_plain_python() -> None:
    for ours, theirs in random_corpora(100, words=7):
        letters = [
            (a.replace(" ", ""), b.replace(" ", "")) for a, b in zip(ours, theirs, strict=True)
        ]
        expected = {
            "rouge1_pod": sum(plain_pod_f(a, b, 1) for a, b in letters),
            "rouge2_pod": sum(plain_pod_f(a, b, 2) for a, b in letters),
            "rougeL_pod": sum(plain_pod_l(a, b) for a, b in letters),
        }
        expected = {name: 100 * total / len(ours) for name, total in expected.items()}
        assert text.rouge_pod(ours, theirs) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("sentence", "feature", "mentioned"),
    [
        ("The cap is tight.", "cap", True),
        ("THE CAP, it leaks", "Cap", True),
        ("a recap", "cap", False),
        ("a cape", "cap", False),
        ("two boxes, three glasses", "box", True),
        ("two boxes, three glasses", "glass", True),
        ("spray bottles", "spray bottle", True),
        ("sprays bottle", "spray bottle", False),
        ("bottle spray", "spray bottle", False),
        ("the spray", "spray bottle", False),
        ("这个手机的屏幕很好", "屏幕", True),
        ("这个手机的幕屏很好", "屏幕", False),
        ("Очень хороший ЗАПАХ!", "запах", True),
        ("กลิ่นหอมมาก", "กลิ่น", True),
        ("two caps", "cap", True),
        ("The battery  life is short", "battery life", True),
        ("The life of the battery", "battery life", False),
        ("battery lifetime", "battery life", False),
        ("I like c++.", "c++", True),
        ("a car", "c.r", False),
        ("", "cap", False),
        ("The cap.", "", False),
    ],
)
def test_a_feature_is_mentioned_in_whole_words(
    sentence: str, feature: str, mentioned: bool
) -> None:
    assert text.fmr([sentence], [feature]) == mentioned
    assert text.fcr([sentence], [feature]) == mentioned


def test_measures_of_features_by_hand() -> None:
    """Sentences mention {lid, scent}, {lid}, {scent, spray bottle}, {} and {lid}.

    Of 10 pairs 3 share the lid and 1 the scent: 4 / 10. Of 4 features 3 are mentioned. Sentence 1
    and 2 name their own. Two of five sentences are the same.
    """
    sentences = ["The lid keeps the scent in", "Lids!", "A spray bottle with scents", "", "Lids!"]
    features = ["lid", "Lid", "pump", "scent", "scent"]
    all_features = ["lid", "LID", "scent", "pump", "spray bottle", ""]
    assert text.usr(sentences) == 4 / 5
    assert text.fmr(sentences, features) == 2 / 5
    assert text.fcr(sentences, all_features) == 3 / 4
    assert text.div(sentences, all_features) == 4 / 10
    assert text.div(["lid"], ["lid"]) == 0
    assert text.fcr(["lid"], []) == 0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=5), min_size=2, max_size=8))
def test_diversity_equals_all_pairs(sentences: list[list[str]]) -> None:
    """As PETER's code takes it: the mean size of the intersection over all pairs."""
    mentioned = [set(words) & set("abc") for words in sentences]
    pairs = [len(one & other) for one, other in combinations(mentioned, 2)]
    found = text.div([" ".join(words) for words in sentences], "abc")
    assert found == pytest.approx(sum(pairs) / len(pairs))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(st.characters(codec="ascii")))
def test_words_of_ascii_are_those_of_rouge_score(said: str) -> None:
    assert words_of(said) == tokenize(said, None)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Très bon, l'été!", ["très", "bon", "l", "été"]),
        ("tre\u0300s", ["très"]),
        ("ОЧЕНЬ хорошо_2", ["очень", "хорошо", "2"]),
        ("屏幕很好 iPhone14。", ["屏", "幕", "很", "好", "iphone14"]),
        ("カメラは良い", list("カメラは良い")),
        ("กลิ่นดี", ["ก", "ลิ่", "น", "ดี"]),
        ("बहुत अच्छी है", ["बहुत", "अच्छी", "है"]),
        ("화면이 좋다", ["화면이", "좋다"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("❤ !", []),
        ("good ❤\ufe0f", ["good"]),
    ],
)
def test_words_of_other_scripts(said: str, words: list[str]) -> None:
    assert words_of(said) == words
    if words:
        assert text.rouge([said], [said])["rouge1"] == pytest.approx(100)


def test_text_metrics_by_name() -> None:
    sentences = ["The lid fits very well", "The lid fits very well ", "Great scent"]
    scores = text.text_metrics(sentences, sentences, ["lid", "lid", "bottle"])
    names = ["bleu1", "bleu4", "rouge1", "rouge2", "rougeL", "rouge1_pod", "rouge2_pod"]
    assert list(scores) == [*names, "rougeL_pod", "usr", "fmr", "fcr", "div"]
    assert [scores.pop(name) for name in ("usr", "fmr", "fcr", "div")] == [
        2 / 3,
        2 / 3,
        1 / 2,
        1 / 3,
    ]
    assert list(scores.values()) == pytest.approx([100] * 8, abs=1e-5)


def test_empty_sentences_score_nothing() -> None:
    scores = text.text_metrics(["", " "], ["The lid fits", ""], ["lid", "lid"])
    assert scores.pop("usr") == 1 / 2
    assert set(scores.values()) == {0.0}


def test_no_sentences_are_an_error() -> None:
    with pytest.raises(PodError, match="no explanation"):
        text.text_metrics([], [], [])
