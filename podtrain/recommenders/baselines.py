"""Recommendations that need no model: what a trained model has to beat."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from podprep.contract.errors import PodError
from podprep.contract.schema import SPLITS
from podtrain.data.interactions import Interactions
from podtrain.metrics.ranking import TargetRanks, ranks_of
from podtrain.recommenders.cooccurrence import Cooccurrence

RULES = ("popularity", "max+1", "last+1", "markov", "item-knn")

# The constants of item-knn, chosen on the validation split of Beauty, NDCG@10 there as pod and
# clean: .0640 .0515 as they stand; DECAY .4 .0641 .0505, .6 .0620 .0519; BACKWARD .2 .0646 .0512,
# .5 .0609 .0516; LAG_POWER 0 .0611 .0511, 1 .0626 .0495; DAMPING 0 .0624 .0516, .2 .0635 .0505,
# .5 (a cosine) .0555 .0419; SPAN 5 .0633 .0509, 20 .0643 .0516. A last-item Markov rule first and
# a cosine over whole histories after it: .0597 .0401.
SPAN = 10  # purchases of a history looked at, and how far apart two may be to count as together
DECAY = 0.5  # weight of a purchase beside that of the one after it
BACKWARD = 0.3  # weight of the pair (later, earlier) beside that of (earlier, later)
LAG_POWER = 0.5  # a pair `lag` purchases apart counts lag ** -LAG_POWER
DAMPING = 0.1  # weights are divided by (purchases of the one * of the other) ** DAMPING

CELLS = 1 << 22  # scores held at a time: with what they are made from, up to 115 MB

Integers = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules, counted once on the training purchases only.

    popularity: (items,) training purchases; following: from an item to the one bought next;
    neighbours: from an item to those bought near it. Column i is item i + 1.
    known: (3, users) how many purchases come before each split: the history, as evaluation
    gives it to a model. What a user has bought stays in the ranking unless told; taken out,
    item-knn reaches NDCG@10 .0540 for .0501 on Beauty as pod, .0504 for .0458 clean (test
    split), the other rules .001 more at most.
    """

    interactions: Interactions
    known: Integers
    popularity: Integers
    following: Cooccurrence
    neighbours: Cooccurrence

    @classmethod
    def count(cls, interactions: Interactions) -> "Rules":
        """Count purchases, transitions and neighbours."""
        users = np.repeat(np.arange(interactions.n_users), np.diff(interactions.starts))
        known = [
            np.bincount(users[interactions.split < code], minlength=interactions.n_users)
            for code in range(len(SPLITS))
        ]
        bought = interactions.items[interactions.split == 0].astype(np.int64) - 1
        popularity = np.bincount(bought, minlength=interactions.n_items)
        neighbours = Cooccurrence.count(
            interactions, span=SPAN, lag_power=LAG_POWER, backward=BACKWARD
        )
        both = popularity[neighbours.rows] * popularity[neighbours.columns]
        neighbours.weights[:] *= both**-DAMPING
        return cls(
            interactions=interactions,
            known=np.stack(known),
            popularity=popularity,
            following=Cooccurrence.count(interactions, span=1),
            neighbours=neighbours,
        )

    def held_out(self, split: str) -> tuple[Integers, Integers]:
        """Return the users who have a held-out item of a split, in order, and those items."""
        at = np.flatnonzero(self.interactions.split == SPLITS.index(split))
        users = np.searchsorted(self.interactions.starts, at, side="right")
        assert len(np.unique(users)) == len(users), "a split holds out one purchase of a user"
        return users, self.interactions.items[at].astype(np.int64)

    def scores(self, rule: str, users: Integers, split: str) -> Scores:
        """Return (users, items): the larger the better, 0 where the rule does not rank an item.

        users: ids, few enough for the result to fit. Errors: `PodError` for an unknown rule.
        """
        match rule:
            case "popularity":
                return np.tile(self.popularity.astype(np.float32), (len(users), 1))
            case "max+1":
                return self._numbered(self._largest(users, split) + 1)
            case "last+1":  # the list is [max + 1, last + 1]
                return self._numbered(
                    self._largest(users, split) + 1, self._recent(users, split, 1)[:, 0] + 1
                )
            case "markov":
                return self._added(self.following, self._recent(users, split, 1))
            case "item-knn":
                return self._added(self.neighbours, self._recent(users, split, SPAN))
        raise PodError(f"no rule is named {rule}: choose from {', '.join(RULES)}")

    def rank(
        self,
        rule: str,
        split: str,
        candidates: npt.NDArray[np.int32] | None = None,
        *,
        unseen: bool = False,
    ) -> TargetRanks:
        """Rank the held-out items of a split, of the users of `held_out` and in their order.

        candidates: (users, any) item ids to rank instead of the whole catalogue, 0 where there is
        none; a target that is not among them is a miss. unseen: what a user has bought before is
        taken out. Errors: as `scores`.
        """
        users, targets = self.held_out(split)
        assert candidates is None or len(candidates) == len(users), "candidates of other users"
        above, equal = np.zeros_like(users), np.zeros_like(users)
        for part in self._parts(len(users)):
            scores, column = self.scores(rule, users[part], split), targets[part] - 1
            among = np.ones(len(column), bool)
            if unseen:
                scores[self.interactions.seen(users[part], split)] = -np.inf
            if candidates is not None:
                given = candidates[part]
                scores = np.take_along_axis(scores, np.maximum(given, 1) - 1, axis=1)
                scores[given == 0] = -np.inf
                found = given == targets[part, None]
                among, column = found.any(axis=1), found.argmax(axis=1)
            ranks = ranks_of(scores, column)
            above[part], equal[part] = ranks.above, np.where(among, ranks.equal, 0)
        return TargetRanks(above, equal)

    def top(
        self, rule: str, users: Integers, split: str, n: int
    ) -> tuple[npt.NDArray[np.int32], Scores]:
        """Return the n best items and their scores, each (users, n), ties in order of item id.

        With fewer than n items in the catalogue there are so many columns. Errors: as `scores`.
        """
        items = self.interactions.n_items
        n = min(n, items)
        best = np.zeros((len(users), n), np.int64)
        for part in self._parts(len(users)):
            scores = self.scores(rule, users[part], split)
            # the bits of a float that is not negative are in order; below them the item decides
            keys = scores.view(np.int32).astype(np.int64) << 32 | np.arange(items)[::-1]
            best[part] = np.partition(keys, items - n, axis=1)[:, items - n :]
        best = -np.sort(-best, axis=1)
        found = (items - (best & 0xFFFFFFFF)).astype(np.int32)
        return found, (best >> 32).astype(np.int32).view(np.float32)

    def _parts(self, users: int) -> Iterator[slice]:
        step = min(1024, max(1, CELLS // self.interactions.n_items))
        return (slice(start, start + step) for start in range(0, users, step))

    def _recent(self, users: Integers, split: str, n: int) -> Integers:
        """Return (users, n): the last items of the histories, the latest first, 0 for none."""
        here = self.interactions.starts[users - 1]
        back = self.known[SPLITS.index(split), users - 1][:, None] - 1 - np.arange(n)
        items = self.interactions.items[here[:, None] + np.maximum(back, 0)]
        return np.where(back >= 0, items, 0).astype(np.int64)

    def _largest(self, users: Integers, split: str) -> Integers:
        """Return (users,): the largest item id of the histories, 0 for none."""
        start, known = self.interactions.starts[users - 1], self.known[SPLITS.index(split)]
        length = known[users - 1]
        first = np.cumsum(length) - length
        at = np.repeat(start - first, length) + np.arange(length.sum())
        largest = np.zeros(len(users), np.int64)
        np.maximum.at(
            largest, np.repeat(np.arange(len(users)), length), self.interactions.items[at]
        )
        return largest

    def _numbered(self, *lists: Integers) -> Scores:
        """Score the items of a list for each user, the first highest; 1 follows no history."""
        scores = np.zeros((len(lists[0]), self.interactions.n_items), np.float32)
        for score, items in enumerate(reversed(lists), start=1):
            rows = np.flatnonzero((items > 1) & (items <= self.interactions.n_items))
            scores[rows, items[rows] - 1] = score
        return scores

    def _added(self, pairs: Cooccurrence, history: Integers) -> Scores:
        """Add up the rows of the items of the histories, each purchase further back at DECAY."""
        rows, back = np.nonzero(history)
        items = history[rows, back] - 1
        start = pairs.starts[items]
        length = pairs.starts[items + 1] - start
        at = np.repeat(start - np.cumsum(length) + length, length) + np.arange(length.sum())
        n = self.interactions.n_items
        # added in float64 and then rounded: sums that should tie do, whatever their order
        scores = np.bincount(
            np.repeat(rows * n, length) + pairs.columns[at],
            np.repeat(DECAY**back, length) * pairs.weights[at],
            minlength=len(history) * n,
        )
        return scores.reshape(len(history), n).astype(np.float32)
