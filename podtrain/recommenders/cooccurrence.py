"""How often items are bought near each other: counted once, for the baselines and for POD's start.

A pair is two training purchases of one user, at most `span` apart. It counts lag ** -lag_power in
the order in which it was bought and `backward` times that in the other.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from podtrain.data.interactions import Interactions

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cooccurrence:
    """A sparse (items, items) matrix in CSR form: row and column i stand for item i + 1.

    starts: (items + 1,) row i has the entries starts[i] to starts[i + 1]; columns: (entries,)
    ascending within a row; weights: (entries,) of every pair that occurs.
    """

    starts: Integers
    columns: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float64]

    @property
    def rows(self) -> Integers:
        """The row of each entry, (entries,)."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    @classmethod
    def count(
        cls,
        purchases: Interactions,
        *,
        span: int,
        lag_power: float = 0.0,
        backward: float = 0.0,
        users: npt.NDArray[np.bool_] | None = None,
    ) -> "Cooccurrence":
        """Count the pairs of all users, or of those marked: users (users,), by user id - 1.

        Takes about 100 bytes a pair, and a pair counted both ways is two.
        """
        n = purchases.n_items
        user = np.repeat(np.arange(purchases.n_users), np.diff(purchases.starts))
        kept = purchases.split == 0
        if users is not None:
            kept &= users[user]
        user, item = user[kept], purchases.items[kept].astype(np.int64) - 1
        near: list[tuple[Integers, Integers]] = []
        for lag in range(1, span + 1):
            same = user[:-lag] == user[lag:]
            near.append((item[:-lag][same], item[lag:][same]))
        first, second = (np.concatenate(side) for side in zip(*near, strict=True))
        weights = np.repeat(np.arange(1, span + 1.0) ** -lag_power, [len(a) for a, _ in near])
        if backward:
            first, second = np.concatenate([first, second]), np.concatenate([second, first])
            weights = np.concatenate([weights, backward * weights])
        keys, entry = np.unique(first * n + second, return_inverse=True)
        return cls(
            starts=np.searchsorted(keys, np.arange(n + 1) * n),
            columns=(keys % n).astype(np.int32),
            weights=np.bincount(entry, weights, minlength=len(keys)).astype(np.float64),
        )
