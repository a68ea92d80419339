"""How well the held-out item is ranked: hits (the paper's HR) and NDCG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from podprep.contract.errors import PodError

KS = (1, 5, 10)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
AnyIntegers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class TargetRanks:
    """Where every user's target stands among what was ranked for that user.

    above: (users,) how many ranked items score strictly higher than the target;
    equal: (users,) how many have exactly its score, itself included; 0 where the target was not
    ranked at all, which is a miss at any k.
    """

    above: Integers
    equal: Integers


def ranks_of(scores: npt.NDArray[np.floating[Any]], target_column: AnyIntegers) -> TargetRanks:
    """Rank by score, the larger the better.

    scores: (users, items), -inf where an item is not ranked; target_column: (users,).
    """
    assert not np.isnan(scores).any(), "scores that are no numbers have no order"
    target = np.take_along_axis(scores, target_column[:, None], axis=1)
    equal = np.count_nonzero(scores == target, axis=1)
    return TargetRanks(
        above=np.count_nonzero(scores > target, axis=1).astype(np.int64),
        equal=np.where(target[:, 0] > -np.inf, equal, 0).astype(np.int64),
    )


def rank_lists(lists: AnyIntegers, targets: AnyIntegers) -> TargetRanks:
    """Take the ranks from lists of items, the best first.

    lists: (users, n) item ids, 0 where there is none; targets: (users,). The first occurrence
    counts, later ones do not: two spellings of an item are two beams.
    """
    assert (targets > 0).all(), "0 is no item"
    hits = lists == targets[:, None]
    found = hits.any(axis=1)
    return TargetRanks(
        above=np.where(found, hits.argmax(axis=1), lists.shape[1]).astype(np.int64),
        equal=found.astype(np.int64),
    )


def per_user(ranks: TargetRanks, k: int) -> tuple[Floats, Floats]:
    """Return every user's hit and NDCG at k, each (users,) and in [0, 1].

    Both are expectations over the order within a tie, all orders being equally likely: logits in
    half precision tie often, and a tie counted as won would let a constant model hit always.
    The target is the only relevant item, so the ideal DCG is 1.
    """
    tied = np.maximum(ranks.equal, 1)
    hit = np.clip(k - ranks.above, 0, ranks.equal) / tied
    gained = _gains_up_to(k)
    last = np.minimum(ranks.above + ranks.equal, k)
    return hit, (gained[last] - gained[np.minimum(ranks.above, k)]) / tied


def ranking_metrics(ranks: TargetRanks, ks: Sequence[int] = KS) -> dict[str, float]:
    """Return the means over users, named hit@k and ndcg@k. Errors: `PodError` for no users."""
    _refuse_none(len(ranks.above))
    metrics: dict[str, float] = {}
    for k in ks:
        hit, ndcg = per_user(ranks, k)
        metrics |= {f"hit@{k}": float(hit.mean()), f"ndcg@{k}": float(ndcg.mean())}
    return metrics


def pod_ranking_metrics(
    lists: Sequence[Sequence[int]], targets: Sequence[int] | AnyIntegers, ks: Sequence[int] = KS
) -> dict[str, float]:
    """Return the means over users as the published code takes them: hit_pod@k and ndcg_pod@k.

    A target that a list repeats is so many hits, so that hit_pod@k can exceed 1; NDCG divides by
    the DCG of as many hits at the top (evaluate_hr and evaluate_ndcg of POD's utils.py).
    lists: item ids, the best first, of any length. Errors: `PodError` for no users.
    """
    _refuse_none(len(lists))
    n = max(ks)
    hits = np.zeros((len(lists), n), bool)
    for row, items, target in zip(hits, lists, targets, strict=True):
        row[: len(items)] = [item == target for item in items[:n]]
    gained = _gains_up_to(n)
    metrics: dict[str, float] = {}
    for k in ks:
        count = hits[:, :k].sum(axis=1)
        ndcg = hits[:, :k] @ np.diff(gained)[:k] / gained[np.maximum(count, 1)]
        metrics |= {f"hit_pod@{k}": float(count.mean()), f"ndcg_pod@{k}": float(ndcg.mean())}
    return metrics


def _gains_up_to(k: int) -> Floats:
    """Return (k + 1,): the sum of 1 / log2(rank + 1) over the first 0, 1, ... k ranks."""
    return np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])


def _refuse_none(users: int) -> None:
    if not users:
        raise PodError("no user to evaluate: the dataset has no samples of this task and split")
