"""Held-out items ranked by a recommender, and the best items of each user."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from podprep.contract.shards import Shards
from podprep.contract.tasks import SPLITS
from podtrain.metrics.ranking import TargetRanks, ranks_of
from podtrain.recommenders.queries import Floats, Ints, Queries

if TYPE_CHECKING:
    from podtrain.recommenders.base import Recommender

BATCH = 256
CELLS = 1 << 22  # scores held at a time: with what they are made from, up to 115 MB

T = TypeVar("T")
Watch = Callable[[Iterable[Any], int, int], Iterable[Any]]  # batches, queries, queries a batch


@dataclass(frozen=True, slots=True)
class Ranked:
    """What a recommender makes of queries. items, scores: (queries, top), the best first, 0 and
    -inf where there are fewer; ranks: of the held-out items, where there are any."""

    items: Ints
    scores: npt.NDArray[np.float64]
    ranks: TargetRanks


def batch_size(n_items: int) -> int:
    """Return how many users are scored at a time."""
    return max(1, min(BATCH, CELLS // n_items))


def rank(
    recommender: "Recommender",
    queries: Queries,
    targets: Ints,
    *,
    candidates: Ints | None = None,
    top: int = 0,
    watch: Watch | None = None,
) -> dict[bool, Ranked]:
    """Rank targets among all items, or among candidates: {exclude_seen: Ranked}.

    targets: (queries,); candidates: (queries, C), 0 where there is none: a target that is not
    among them is a miss, and nothing is left out. Among all items both ways are ranked, with what
    the history has (False) and without (True).
    """
    ways = (False,) if candidates is not None else (False, True)
    n = len(queries)
    found = {
        way: Ranked(
            np.zeros((n, top), np.int64),
            np.full((n, top), -np.inf),
            TargetRanks(np.zeros(n, np.int64), np.zeros(n, np.int64)),
        )
        for way in ways
    }
    n_items = recommender.n_items
    size = batch_size(n_items)
    batches: Iterable[tuple[Ints, Queries]] = queries.batches(size)
    for rows, some in watch(batches, n, size) if watch else batches:
        ids: Ints = np.arange(1, n_items + 1)
        if candidates is not None:
            ids = candidates[rows]
            scores = recommender.candidate_scores(some, ids)
            held = ids == targets[rows, None]
            column, among = held.argmax(1), held.any(1)
        else:
            scores, column = recommender.scores(some), targets[rows] - 1
            among = np.ones(len(rows), bool)
        for way in ways:
            if way:
                scores[some.seen()] = -np.inf
            ranks = ranks_of(scores, column)
            found[way].ranks.above[rows] = ranks.above
            found[way].ranks.equal[rows] = np.where(among, ranks.equal, 0)
            if top:
                found[way].items[rows], found[way].scores[rows] = best(scores, ids, top)
    return found


def best(scores: Floats, ids: Ints, n: int) -> tuple[Ints, Floats]:
    """Return the n best ids of each row and their scores; equal scores in the order of ids.

    scores: (rows, columns); ids: the same shape, or (columns,). 0 and -inf where there are fewer.
    """
    ids = np.broadcast_to(ids, scores.shape)
    width = min(n, scores.shape[1])
    # one whole number orders by score, then by id: the bits of a float, those of negative ones
    # turned round, are in the order of the floats
    bits = (scores + np.float32(0)).astype(np.float32).view(np.int32).astype(np.int64)
    keys = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits) << 32 | (0xFFFFFFFF - ids)
    first = np.argpartition(-keys, width - 1, axis=1)[:, :width]
    order = np.argsort(-np.take_along_axis(keys, first, 1), axis=1)
    first = np.take_along_axis(first, order, 1)
    out = np.zeros((len(scores), n), np.int64)
    out_scores = np.full((len(scores), n), -np.inf, np.float32)
    out[:, :width] = np.take_along_axis(ids, first, 1)
    out_scores[:, :width] = np.take_along_axis(scores, first, 1)
    out[out_scores == -np.inf] = 0
    return out, out_scores


def gathered(scores: Floats, candidates: Ints) -> Floats:
    """Return the scores of candidates (queries, C), padded with 0: -inf there."""
    found = np.take_along_axis(scores, np.maximum(candidates, 1) - 1, axis=1)
    return np.where(candidates > 0, found, np.float32(-np.inf))


def candidates_of(shards: Shards, split: str, user_id: Ints) -> Ints:
    """Return the frozen candidates of users in a split, (users, C), padded with 0."""
    assert split in SPLITS
    table = shards.sample_table("topn", split, columns=["user_id", "candidates"])
    lists = table["candidates"].combine_chunks()
    flat, offsets = lists.flatten().to_numpy(), lists.offsets.to_numpy()
    lengths = np.diff(offsets)
    padded = np.zeros((len(lengths), int(lengths.max(initial=0))), np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
    users = table["user_id"].to_numpy()
    order = np.argsort(users)
    place = np.searchsorted(users[order], user_id)
    assert (users[order][place] == user_id).all(), "every user with a held-out item has candidates"
    return padded[order[place]]
