"""The catalogue as a trie of tokens, for constrained decoding: which tokens may follow which."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from podprep.contract.errors import PodError

_Ints = npt.NDArray[np.int64]
_MEND = "use a tokenizer that tells all items apart"


@dataclass(frozen=True, slots=True)
class Level:
    """The open nodes at one depth, and their choices: the tokens that may follow each.

    A node is open while two or more items lie below it; a choice that leaves a single item settles
    it, whatever tokens the item still has. The choices of a node are adjacent, in the order of
    their lowest items. All tensors are int64.

    widest: the most choices of any node; run: the first of the level's tokens if they are
    consecutive, else -1.
    node_token: (nodes,) the token that leads to a node, -1 at the root; node_parent: (nodes,) its
    parent on the level above; start, width: (nodes,) its first choice, and how many there are.
    item: (choices,) the item that a choice settles, 0 if none; child: (choices,) its node on the
    next level, -1 if settled; tokens: (tokens,) all tokens of the level; column: (choices,) the
    place of a choice's token among them; place: (choices,) its place in (nodes, widest), flattened.
    """

    widest: int
    run: int
    node_token: torch.Tensor
    node_parent: torch.Tensor
    start: torch.Tensor
    width: torch.Tensor
    item: torch.Tensor
    child: torch.Tensor
    tokens: torch.Tensor
    column: torch.Tensor
    place: torch.Tensor

    @property
    def rows(self) -> torch.Tensor | slice:
        """The tokens of the level, as a slice if they are consecutive."""
        return slice(self.run, self.run + len(self.tokens)) if self.run >= 0 else self.tokens

    @property
    def nodes(self) -> int:
        """How many open nodes there are."""
        return len(self.node_token)

    def to(self, device: torch.device) -> "Level":
        """Return the level on a device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.type is not int}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})


@dataclass(frozen=True, slots=True)
class Trie:
    """All items of a catalogue by their tokens. Items are numbered from 1.

    path: (items, levels) the choice an item takes on each level, -1 once it is settled.
    """

    levels: tuple[Level, ...]
    path: torch.Tensor
    ids: dict[tuple[int, ...], int]

    @classmethod
    def build(cls, sequences: Sequence[Sequence[int]], end: int) -> Self:
        """Build the trie; sequence k, without the end token, is item k + 1.

        Errors: `PodError` for no items, an item without tokens, one that holds the end token, or
        two with the same tokens.
        """
        tokens, ids = _matrix(sequences, end), _ids(sequences)
        path = np.full(tokens.shape, -1, np.int64)
        levels: list[Level] = []
        live, node = np.arange(len(tokens)), np.zeros(len(tokens), np.int64)
        node_token, node_parent = np.array([-1]), np.array([0])
        if len(tokens) == 1:
            live = live[:0]  # settled before any token
        while len(live):
            here = tokens[live, len(levels)]
            _, first, choice = np.unique(
                node * (tokens.max() + 1) + here, return_index=True, return_inverse=True
            )
            order = np.lexsort((first, node[first]))  # `live` ascends, so first = lowest item
            first, choice = first[order], np.argsort(order)[choice]
            settled = np.bincount(choice) == 1
            child = np.where(settled, -1, np.cumsum(~settled) - 1)
            width = np.bincount(node[first], minlength=len(node_token))
            item = np.where(settled, live[first] + 1, 0)
            levels.append(_level(node_token, node_parent, width, here[first], item, child))
            path[live, len(levels) - 1] = choice
            node_token, node_parent = here[first][~settled], node[first][~settled]
            goes_on = ~settled[choice]
            live, node = live[goes_on], child[choice][goes_on]
        return cls(tuple(levels), torch.from_numpy(path[:, : len(levels)].copy()), ids)

    @property
    def items(self) -> int:
        """How many items there are."""
        return len(self.path)

    def parse(self, tokens: Sequence[int]) -> int | None:
        """Return the item that has exactly these tokens (no end token), if any."""
        return self.ids.get(tuple(tokens))

    def to(self, device: torch.device) -> "Trie":
        """Return the trie on a device."""
        if self.path.device == device:
            return self
        levels = tuple(level.to(device) for level in self.levels)
        return replace(self, levels=levels, path=self.path.to(device))


def _matrix(sequences: Sequence[Sequence[int]], end: int) -> _Ints:
    """Return (items, longest + 1): the tokens of each item, padded with the end token."""
    if not len(sequences):
        raise PodError("the catalogue has no items: build the dataset again")
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    if not lengths.all():
        raise PodError(f"item {lengths.argmin() + 1} has no tokens: {_MEND}")
    flat = np.fromiter(chain.from_iterable(sequences), np.int64, lengths.sum())
    if (bad := (flat == end) | (flat < 0)).any():
        item = np.searchsorted(lengths.cumsum(), bad.argmax(), side="right") + 1
        raise PodError(f"item {item} has the end token {end} or a negative one: {_MEND}")
    tokens = np.full((len(sequences), lengths.max() + 1), end, np.int64)
    tokens[np.arange(tokens.shape[1]) < lengths[:, None]] = flat
    return tokens


def _ids(sequences: Sequence[Sequence[int]]) -> dict[tuple[int, ...], int]:
    ids = dict(zip(map(tuple, sequences), range(1, len(sequences) + 1), strict=True))
    if len(ids) < len(sequences):
        one, other = next((i, ids[t]) for i, s in enumerate(sequences, 1) if ids[t := tuple(s)] > i)
        raise PodError(
            f"items {one} and {other} have the same tokens {[*sequences[one - 1]]}: {_MEND}"
        )
    return ids


def _level(
    node_token: _Ints, node_parent: _Ints, width: _Ints, token: _Ints, item: _Ints, child: _Ints
) -> Level:
    if len(width) == 1:  # columns in the order of the choices: no gather
        tokens, column = token, np.arange(len(token))
    else:
        tokens, column = np.unique(token, return_inverse=True)
    start = np.cumsum(width) - width
    widest = int(width.max())
    place = np.arange(len(token)) + np.repeat(np.arange(len(width)) * widest - start, width)
    arrays = (node_token, node_parent, start, width, item, child, tokens, column, place)
    run = int(tokens[0]) if (np.diff(tokens) == 1).all() else -1
    return Level(widest, run, *map(torch.from_numpy, arrays))
