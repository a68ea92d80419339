"""What a recommender is asked: users with their histories, and pairs that want an explanation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from podprep.contract.tasks import SPLITS
from podtrain.data.interactions import Interactions

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Queries:
    """Users to recommend to, each with the purchases that may be known.

    user_id: (queries,), 0 for somebody who is not in the dataset; items: the histories one after
    the other, each with its oldest purchase first; starts: (queries + 1,) where each begins.
    """

    user_id: Ints
    items: Ints
    starts: Ints

    @classmethod
    def of(cls, histories: Sequence[Sequence[int]], user_id: Sequence[int] | None = None) -> Self:
        """Return queries for histories as lists; without user ids, of users nobody has seen."""
        lengths = np.array([len(history) for history in histories], np.int64)
        users = np.zeros(len(histories), np.int64) if user_id is None else user_id
        return cls(
            user_id=np.asarray(users, np.int64),
            items=np.array([item for history in histories for item in history], np.int64),
            starts=_starts(lengths),
        )

    @classmethod
    def before(cls, purchases: Interactions, user_id: Ints, split: str | None) -> Self:
        """Return users of a dataset with what they bought before a split; None: all of it."""
        code = len(SPLITS) if split is None else SPLITS.index(split)
        rows, columns = purchases.bought_before(user_id, code)
        lengths = np.bincount(rows, minlength=len(user_id))
        return cls(np.asarray(user_id, np.int64), columns + 1, _starts(lengths))

    def __len__(self) -> int:
        return len(self.user_id)

    @property
    def lengths(self) -> Ints:
        """How many purchases each history has."""
        return np.diff(self.starts)

    def history(self, query: int) -> Ints:
        """Return one history."""
        return self.items[self.starts[query] : self.starts[query + 1]]

    def take(self, rows: Ints) -> "Queries":
        """Return some of the queries, in the order given."""
        lengths = self.lengths[rows]
        starts = _starts(lengths)
        at = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return Queries(self.user_id[rows], self.items[at], starts)

    def cut(self, longest: int) -> "Queries":
        """Return the same with the latest `longest` purchases of each history."""
        lengths = np.minimum(self.lengths, longest)
        starts = _starts(lengths)
        at = np.repeat(self.starts[1:] - starts[1:], lengths) + np.arange(starts[-1])
        return Queries(self.user_id, self.items[at], starts)

    def latest(self, n: int) -> Ints:
        """Return (queries, n): the latest purchases, the very latest first, 0 where none is."""
        back = self.starts[1:, None] - 1 - np.arange(n)
        there = back >= self.starts[:-1, None]
        if not len(self.items):
            return np.zeros(back.shape, np.int64)
        return np.where(there, self.items[np.where(there, back, 0)], 0)

    def seen(self) -> tuple[Ints, Ints]:
        """Return rows and columns of the histories in an array (queries, items)."""
        return np.repeat(np.arange(len(self)), self.lengths), self.items - 1

    def batches(self, size: int) -> Iterator[tuple[Ints, "Queries"]]:
        """Yield rows and queries, the longest histories first: such batches have few pads."""
        order = np.argsort(-self.lengths, kind="stable")
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            yield rows, self.take(rows)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Users and items, (pairs,) each, that want a sentence on why the item suits the user.

    about: the feature that the sentence should be about, for all pairs; None: the model chooses.
    """

    user_id: Ints
    item_id: Ints
    about: str | None = None

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int]], about: str | None = None) -> Self:
        """Return pairs given as tuples (user_id, item_id)."""
        both = np.array(pairs, np.int64).reshape(-1, 2)
        return cls(both[:, 0], both[:, 1], about)

    def __len__(self) -> int:
        return len(self.user_id)


def held_out(purchases: Interactions, split: str) -> tuple[Queries, Ints]:
    """Return the users with a held-out item of a split, in order of their ids, and those items."""
    at = np.flatnonzero(purchases.split == SPLITS.index(split))
    users = np.searchsorted(purchases.starts, at, side="right")
    assert len(np.unique(users)) == len(users), "a split holds out one purchase of a user"
    return Queries.before(purchases, users, split), purchases.items[at].astype(np.int64)


def _starts(lengths: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
