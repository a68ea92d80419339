"""Recommenders that count and need no training: what a model has to beat."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from podprep.contract.shards import Shards
from podtrain.data.interactions import Interactions
from podtrain.recommenders.base import ScoresItems
from podtrain.recommenders.cooccurrence import Cooccurrence
from podtrain.recommenders.queries import Floats, Ints, Queries

# The constants of item-knn, chosen on the validation split of Beauty, NDCG@10 there as pod and
# clean: .0640 .0515 as they stand; DECAY .4 .0641 .0505, .6 .0620 .0519; BACKWARD .2 .0646 .0512,
# .5 .0609 .0516; LAG_POWER 0 .0611 .0511, 1 .0626 .0495; DAMPING 0 .0624 .0516, .2 .0635 .0505,
# .5 (a cosine) .0555 .0419; SPAN 5 .0633 .0509, 20 .0643 .0516. A last-item Markov first and
# a cosine over whole histories after it: .0597 .0401.
SPAN = 10  # purchases of a history looked at, and how far apart two may be to count as together
DECAY = 0.5  # weight of a purchase beside that of the one after it
BACKWARD = 0.3  # weight of the pair (later, earlier) beside that of (earlier, later)
LAG_POWER = 0.5  # a pair `lag` purchases apart counts lag ** -LAG_POWER
DAMPING = 0.1  # weights are divided by (purchases of the one * of the other) ** DAMPING


@dataclass(frozen=True, slots=True)
class Counts:
    """What the baselines go by, counted on the training purchases only.

    popularity: (items,) training purchases; following: from an item to the one bought next;
    neighbours: from an item to those bought near it. Column i is item i + 1.
    """

    popularity: Ints
    following: Cooccurrence
    neighbours: Cooccurrence

    @classmethod
    def of(cls, purchases: Interactions) -> "Counts":
        """Count purchases, transitions and neighbours."""
        bought = purchases.items[purchases.split == 0].astype(np.int64) - 1
        popularity = np.bincount(bought, minlength=purchases.n_items)
        neighbours = Cooccurrence.count(
            purchases, span=SPAN, lag_power=LAG_POWER, backward=BACKWARD
        )
        both = popularity[neighbours.rows] * popularity[neighbours.columns]
        neighbours.weights[:] *= both**-DAMPING
        return cls(popularity, Cooccurrence.count(purchases, span=1), neighbours)


@lru_cache(maxsize=2)
def _counts(folder: Path, sha256: str) -> Counts:
    shards = Shards.open(folder)
    assert shards.sha256 == sha256, "the dataset was open a moment ago"
    return Counts.of(Interactions.read(shards))


class Baseline(ScoresItems):
    """A recommender that counts; scores are 0 where it does not rank an item."""

    def __init__(self, shards: Shards) -> None:
        self.n_items = shards.n_items
        self.counts = _counts(shards.folder.resolve(), shards.sha256)


class Popularity(Baseline):
    """What is bought most."""

    name: ClassVar[str] = "popularity"

    def scores(self, queries: Queries) -> Floats:
        """Score by training purchases."""
        return np.tile(self.counts.popularity.astype(np.float32), (len(queries), 1))


class MaxPlusOne(Baseline):
    """The number after the largest of the history: where it hits, the numbering leaks."""

    name: ClassVar[str] = "max+1"

    def scores(self, queries: Queries) -> Floats:
        """Score one item."""
        return _numbered([_largest(queries) + 1], self.n_items)


class LastPlusOne(Baseline):
    """The list [largest + 1, last + 1]."""

    name: ClassVar[str] = "last+1"

    def scores(self, queries: Queries) -> Floats:
        """Score two items."""
        return _numbered([_largest(queries) + 1, queries.latest(1)[:, 0] + 1], self.n_items)


class Markov(Baseline):
    """What is bought next after the last purchase."""

    name: ClassVar[str] = "markov"

    def scores(self, queries: Queries) -> Floats:
        """Score by how often an item followed."""
        return summed(self.counts.following, queries.latest(1))


class ItemKnn(Baseline):
    """What is bought near the latest purchases, each further back at `DECAY`."""

    name: ClassVar[str] = "item-knn"

    def scores(self, queries: Queries) -> Floats:
        """Score by the neighbours of the history."""
        return summed(self.counts.neighbours, queries.latest(SPAN))


def _largest(queries: Queries) -> Ints:
    """Return (queries,): the largest item id of the histories, 0 for none."""
    largest = np.zeros(len(queries), np.int64)
    np.maximum.at(largest, queries.seen()[0], queries.items)
    return largest


def _numbered(lists: list[Ints], n_items: int) -> Floats:
    """Score the items of a list for each query, the first highest; 1 follows no history."""
    scores = np.zeros((len(lists[0]), n_items), np.float32)
    for score, items in enumerate(reversed(lists), start=1):
        rows = np.flatnonzero((items > 1) & (items <= n_items))
        scores[rows, items[rows] - 1] = score
    return scores


def summed(pairs: Cooccurrence, latest: Ints) -> Floats:
    """Add up the rows of the latest items of the histories, each purchase further back at DECAY.

    latest: (queries, n) item ids, the very latest first, 0 for none; returns (queries, items).
    """
    rows, back = np.nonzero(latest)
    items = latest[rows, back] - 1
    start = pairs.starts[items]
    length = pairs.starts[items + 1] - start
    at = np.repeat(start - np.cumsum(length) + length, length) + np.arange(length.sum())
    n = len(pairs.starts) - 1
    # added in float64 and then rounded: sums that should tie do, whatever their order
    scores = np.bincount(
        np.repeat(rows * n, length) + pairs.columns[at],
        np.repeat(DECAY**back, length) * pairs.weights[at],
        minlength=len(latest) * n,
    )
    return scores.reshape(len(latest), n).astype(np.float32)
