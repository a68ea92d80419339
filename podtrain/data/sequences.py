"""Users' sequences of item ids as batches: the training data of models that read no text."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from podprep.contract.tasks import SPLITS
from podtrain.data.interactions import Interactions

LONGEST = 50  # purchases of a history that are read, as the published sequence models do
VALID_USERS = 4_096  # at most, an even choice of them; the same each time
VALID_BATCH = 256


@dataclass(frozen=True, slots=True)
class SequenceBatch:
    """Sequences, padded with 0 at the left so that the latest purchase comes last.

    user_id: (sequences,); inputs: (sequences, length) item ids; targets: the same shape, the item
    that follows each input, 0 where none is trained on; n_targets: in the whole batch, also where
    this is a part of it.
    """

    task: str
    user_id: Tensor
    inputs: Tensor
    targets: Tensor
    n_targets: int

    def __len__(self) -> int:
        return len(self.user_id)

    def to(self, device: torch.device) -> Self:
        """Return the batch on a device."""
        user_id, inputs, targets = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.user_id, self.inputs, self.targets)
        )
        return type(self)(self.task, user_id, inputs, targets, self.n_targets)


class SequenceStream:
    """The endless batches of the users' training sequences: batch k is always the same.

    An epoch has every user with two training purchases or more once, in an order that is a
    function of seed and epoch.
    """

    def __init__(self, purchases: Interactions, batch_size: int, seed: int) -> None:
        self.purchases, self.batch_size, self.seed = purchases, batch_size, seed
        before = np.concatenate([[0], np.cumsum(purchases.split == 0)])
        trained = before[purchases.starts[1:]] - before[purchases.starts[:-1]]
        self._users = 1 + np.flatnonzero(trained >= 2)

    @property
    def batches_in_epoch(self) -> int:
        """How many batches an epoch has."""
        return -(-len(self._users) // self.batch_size)

    def batches(self, start: int = 0, rank: int = 0, ranks: int = 1) -> Iterator[SequenceBatch]:
        """Yield batches from `start` on; of each, the part of one rank."""
        while True:
            epoch, place = divmod(start, self.batches_in_epoch)
            order = np.random.default_rng([self.seed, epoch]).permutation(self._users)
            users = order[place * self.batch_size : (place + 1) * self.batch_size]
            yield self._batch(users, rank, ranks)
            start += 1

    def _batch(self, users: npt.NDArray[np.int64], rank: int, ranks: int) -> SequenceBatch:
        sequences = [self._trained(int(user)) for user in users]
        n_targets = sum(len(sequence) - 1 for sequence in sequences)
        part = slice(rank, None, ranks)
        pairs = [(s[:-1], s[1:]) for s in sequences[part]]
        return _padded("sequential", users[part], pairs, n_targets)

    def _trained(self, user: int) -> npt.NDArray[np.int32]:
        here = slice(self.purchases.starts[user - 1], self.purchases.starts[user])
        items: npt.NDArray[np.int32]
        items = self.purchases.items[here][self.purchases.split[here] == 0]
        return items[-LONGEST - 1 :]

    def held_out(self, split: str, task: str = "sequential") -> Iterator[SequenceBatch]:
        """Yield the histories of users with a held-out item of a split, which is the one target."""
        code = SPLITS.index(split)
        at = np.flatnonzero(self.purchases.split == code)
        if len(at) > VALID_USERS:
            at = at[np.linspace(0, len(at) - 1, VALID_USERS).astype(np.int64)]
        users = np.searchsorted(self.purchases.starts, at, side="right")
        for first in range(0, len(users), VALID_BATCH):
            some, pairs = users[first : first + VALID_BATCH], []
            for user, place in zip(some, at[first : first + VALID_BATCH], strict=True):
                start = self.purchases.starts[user - 1]
                here = slice(start, self.purchases.starts[user])
                known = self.purchases.items[here][self.purchases.split[here] < code][-LONGEST:]
                targets = np.zeros(len(known), np.int32)
                targets[-1:] = self.purchases.items[place]
                pairs.append((known, targets))
            yield _padded(task, some, pairs, len(some))


def _padded(
    task: str,
    users: npt.NDArray[np.int64],
    pairs: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]],
    n_targets: int,
) -> SequenceBatch:
    longest = max((len(inputs) for inputs, _ in pairs), default=0)
    both = np.zeros((2, len(pairs), longest), np.int64)
    for row, (inputs, targets) in enumerate(pairs):
        both[0, row, longest - len(inputs) :] = inputs
        both[1, row, longest - len(targets) :] = targets
    tensors = torch.from_numpy(both)
    return SequenceBatch(
        task, torch.from_numpy(np.asarray(users, np.int64)), tensors[0], tensors[1], n_targets
    )
