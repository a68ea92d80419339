"""The purchases of all users as arrays."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from podprep.contract.schema import INTERACTIONS
from podprep.contract.shards import Shards
from podprep.contract.tasks import SPLITS


@dataclass(frozen=True, slots=True)
class Interactions:
    """All purchases, user after user, each user's in order.

    items: (purchases,) item ids; split: (purchases,) index into `SPLITS`; starts: (users + 1,) the
    purchases of user u are starts[u - 1] to starts[u].
    """

    items: npt.NDArray[np.int32]
    split: npt.NDArray[np.int8]
    starts: npt.NDArray[np.int64]
    n_items: int

    @classmethod
    def read(cls, shards: Shards) -> Self:
        """Read the purchases of a dataset, in the order of the users' sequences."""
        table = shards.table(INTERACTIONS, ["user_id", "position", "item_id", "split"])
        users = table["user_id"].to_numpy()
        order = np.lexsort((table["position"].to_numpy(), users))
        split = table["split"].combine_chunks().dictionary_encode()
        names = split.dictionary.to_pylist()
        code = np.array([SPLITS.index(name) for name in names], np.int8)
        counts = np.bincount(users, minlength=shards.n_users + 1)[1:]
        return cls(
            items=table["item_id"].to_numpy()[order],
            split=code[split.indices.to_numpy()][order],
            starts=np.concatenate([[0], np.cumsum(counts)]),
            n_items=shards.n_items,
        )

    @property
    def n_users(self) -> int:
        """How many users there are."""
        return len(self.starts) - 1

    def bought_before(
        self, users: npt.NDArray[np.integer[Any]], code: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return rows and columns of an array (users, items) with what was bought before a split.

        code: its index into `SPLITS`. A user's columns come in the order of the purchases.
        """
        kept = np.flatnonzero(self.split < code)
        before = np.concatenate([[0], np.cumsum(self.split < code)])
        first, last = before[self.starts[users - 1]], before[self.starts[users]]
        length = last - first
        rows = np.repeat(np.arange(len(users)), length)
        at = np.arange(length.sum()) + np.repeat(first - np.cumsum(length) + length, length)
        return rows, self.items[kept[at]].astype(np.int64) - 1

    def history(self, user_id: int, before: str = "") -> list[int]:
        """Return a user's items: all, or those that come before the split named."""
        here = slice(self.starts[user_id - 1], self.starts[user_id])
        items = self.items[here]
        if before:
            items = items[self.split[here] < SPLITS.index(before)]
        return [int(i) for i in items]
