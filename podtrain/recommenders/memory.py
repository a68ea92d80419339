"""A memory of training co-purchases: an item-kNN whose weights are fitted by maximum likelihood.

A T5 of a few dimensions cannot hold which item follows which: that is as many facts as there are
pairs. Counting holds them all. So the counts stand beside the model as a sparse table that the
history reads (kNN-LM, Khandelwal et al. 2020, and LINK 2025 do so with text and with items):

    m(i | history) is proportional to (x_i + r_i)^sharpness
    x_i = sum over purchases k back and groups g of gaps:
              back_k gap_g count_g(h_k, i) / (popularity(h_k)^a popularity(i)^b)
    r_i = floor popularity(i)^slope

count_g(j, i) says how many training purchases of i stand near one of j by the same user, the gap
and its direction being in group g; of items in the history it is taken to be 0. The weights, 25
numbers, are those under which training purchases are most probable given the ones before them, the
user's own pairs left out of the counts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from podtrain.data.interactions import Interactions
from podtrain.recommenders.queries import Floats, Ints, Queries

BACK = 10  # latest purchases of a history that are looked at
GAPS = (1, 2, 3, 6, 10)  # pairs whose gap is up to one of these, and above the last, are alike
GROUPS = 2 * len(GAPS)  # forwards and backwards
EXAMPLES = 4_096  # training purchases that the weights are fitted to, at most
ITERATIONS = 30  # of L-BFGS
# What a weight that moves by 1 from where item-kNN has it must gain, in nats: few purchases, as
# those of a small dataset, say little of 25 numbers.
PRIOR = 0.003
FEW = 0.5  # purchases of an item that nobody has bought in training


@dataclass(frozen=True, slots=True)
class Counts:
    """Pairs of items near each other in the training purchases of all users. Items from 0.

    starts: (items + 1,) where the entries of an item begin; item, group, count: (entries,), of
    group 2 g where the second comes later and 2 g + 1 where it comes earlier; popularity: (items,).
    """

    starts: Ints
    item: Ints
    group: Ints
    count: npt.NDArray[np.float32]
    popularity: npt.NDArray[np.float32]

    @classmethod
    def of(cls, purchases: Interactions) -> "Counts":
        """Count the pairs of a dataset's training purchases."""
        n = purchases.n_items
        user = np.repeat(np.arange(purchases.n_users), np.diff(purchases.starts))
        kept = purchases.split == 0
        user, item = user[kept], purchases.items[kept].astype(np.int64) - 1
        longest = int(np.bincount(user, minlength=1).max(initial=0))
        found = [np.zeros(0, np.int64)]
        for gap in range(1, min(longest, GAPS[-1] + 1)):
            same = user[gap:] == user[:-gap]
            one, other = item[:-gap][same], item[gap:][same]
            forwards = 2 * int(np.searchsorted(GAPS, gap))
            found.append((one * n + other) * GROUPS + forwards)
            found.append((other * n + one) * GROUPS + forwards + 1)
        keys, count = np.unique(np.concatenate(found), return_counts=True)
        pair, group = np.divmod(keys, GROUPS)
        return cls(
            starts=np.searchsorted(pair // n, np.arange(n + 1)),
            item=pair % n,
            group=group,
            count=count.astype(np.float32),
            popularity=np.bincount(item, minlength=n).astype(np.float32),
        )

    def entries_of(self, latest: Ints) -> tuple[Ints, Ints, Ints]:
        """Return rows, places back and entries of items of histories (rows, BACK), 0 for none."""
        row, back = np.nonzero(latest)
        source = latest[row, back] - 1
        length = self.starts[source + 1] - self.starts[source]
        at = np.repeat(self.starts[source] - np.cumsum(length) + length, length)
        return np.repeat(row, length), np.repeat(back, length), at + np.arange(length.sum())


class Memory(nn.Module):
    """The numbers of the formula, logarithms where they must be positive; they are fitted, not
    trained with the model."""

    def __init__(self, purchases: Interactions) -> None:
        super().__init__()
        self.counts = Counts.of(purchases)
        near = np.array([1, 2, 3, 4.5, 8.5])
        gap = np.repeat(np.log(near) * -0.5, 2) + np.tile([0, np.log(0.3)], len(GAPS))
        self.gap = _fixed(torch.tensor(gap, dtype=torch.float32))
        self.back = _fixed(np.log(0.5) * torch.arange(BACK, dtype=torch.float32))
        self.damping = _fixed(torch.tensor([0.3, 0.1]))
        self.sharpness = _fixed(torch.zeros(()))
        self.floor = _fixed(torch.tensor(-5.0))
        self.slope = _fixed(torch.tensor(0.5))

    def _popularity(self, popularity: npt.NDArray[np.float32]) -> Tensor:
        """Return logarithms, those of items that nobody has bought as if few had."""
        return torch.from_numpy(np.log(np.maximum(popularity, np.float32(FEW))))

    def _rest(self, popularity: Tensor) -> Tensor:
        """Return log r of items with these logarithms of popularity."""
        return self.floor + self.slope * popularity

    @torch.no_grad()
    def scores(self, queries: Queries) -> Floats:
        """Return (queries, items): log m, of all items summing to one."""
        counts, n = self.counts, len(self.counts.popularity)
        row, back, at = counts.entries_of(queries.latest(BACK))
        popularity = self._popularity(counts.popularity).double().numpy()
        damped = np.exp(-float(self.damping[1]) * popularity)
        # of each entry once, not once for each history
        source = np.repeat(np.arange(n), np.diff(counts.starts))
        weight = counts.count.astype(np.float64)
        weight *= np.exp(self.gap.double().cpu().numpy())[counts.group] * damped[counts.item]
        weight *= np.exp(-float(self.damping[0]) * popularity)[source]
        backs = np.exp(self.back.double().cpu().numpy())
        x = (
            np.bincount(
                row * n + counts.item[at], backs[back] * weight[at], minlength=len(queries) * n
            )
            .astype(np.float64)
            .reshape(len(queries), n)
        )
        x[queries.seen()] = 0  # the user's own pairs are in the counts
        x += np.exp(float(self.floor) + float(self.slope) * popularity)
        return log_softmax((np.log(x) * np.exp(float(self.sharpness))).astype(np.float32))

    def fit(self, purchases: Interactions) -> None:
        """Fit the weights to training purchases that come after another, an even choice of them."""
        place = np.arange(len(purchases.items))
        place = place - np.repeat(purchases.starts[:-1], np.diff(purchases.starts))
        at = np.flatnonzero((purchases.split == 0) & (place > 0))
        if not len(at):
            return
        at = at[np.linspace(0, len(at) - 1, min(len(at), EXAMPLES)).astype(np.int64)]
        examples = _Examples.of(self.counts, purchases, at)
        weights = list(self.parameters())
        for weight in weights:
            weight.requires_grad_(True)
        start = [weight.detach().clone() for weight in weights]
        optimizer = torch.optim.LBFGS(
            weights, max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe"
        )

        def loss() -> Any:
            optimizer.zero_grad()
            moved = [(w - s).square().sum() for w, s in zip(weights, start, strict=True)]
            total = self._loss(examples) + PRIOR * torch.stack(moved).sum()
            total.backward()
            return total.detach()

        # on several threads sums come out otherwise from time to time, and so would the weights
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.enable_grad():
                optimizer.step(loss)
        finally:
            torch.set_num_threads(threads)
        for weight in weights:
            weight.requires_grad_(False)

    def _loss(self, x: "_Examples") -> Tensor:
        """Return the mean negative log-probability of the targets.

        The sum over all items is that of r, corrected where x is not 0.
        """
        value = self.gap[x.group] + self.back[x.back] + x.count
        value = value - self.damping[0] * x.source - self.damping[1] * x.item
        cells = torch.zeros(len(x.cell_item)).index_add(0, x.cell, value.exp())
        sharpness = self.sharpness.exp()
        rest = self._rest(x.cell_item)
        score = sharpness * (cells + rest.exp()).log()
        more = score.exp() - (sharpness * self._rest(x.cell_every)).exp()
        every = (sharpness * self._rest(self._popularity(self.counts.popularity))).exp().sum()
        bought = torch.zeros(x.n).index_add(
            0, x.bought_row, (sharpness * self._rest(x.bought)).exp()
        )
        total = (every - bought).index_add(0, x.cell_row, more)
        return (total.log() - score[x.target]).mean()


def log_softmax(scores: Floats) -> Floats:
    """Return log-probabilities along the rows; -inf stays what it is."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    return np.asarray(shifted - np.log(total), np.float32)


def _fixed(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value, requires_grad=False)


@dataclass(frozen=True, slots=True)
class _Examples:
    """Training purchases with what the memory has near the ones before them.

    Of each entry: group, back, the logarithms of its count and of the popularity of both items,
    and the cell it adds to; of each cell (an example and an item that it has not bought): the
    example's number, the item's popularity without the example's own user, and with. target: (n,)
    the cell of each example's purchase. bought_row, bought: examples and popularity of the items
    of their histories.
    """

    n: int
    group: Tensor
    back: Tensor
    count: Tensor
    source: Tensor
    item: Tensor
    cell: Tensor
    cell_row: Tensor
    cell_item: Tensor
    cell_every: Tensor
    target: Tensor
    bought_row: Tensor
    bought: Tensor

    @classmethod
    def of(cls, counts: Counts, purchases: Interactions, at: Ints) -> "_Examples":
        """Make examples of the purchases at these places; the user's own pairs are left out."""
        n_items, n = len(counts.popularity), len(at)
        user = np.searchsorted(purchases.starts, at, side="right") - 1
        trained = [
            purchases.items[s:e][purchases.split[s:e] == 0].astype(np.int64)
            for s, e in zip(purchases.starts[user], purchases.starts[user + 1], strict=True)
        ]
        before = np.concatenate([[0], np.cumsum(purchases.split == 0)])
        length = before[at] - before[purchases.starts[user]]
        queries = Queries.of([t[:k] for t, k in zip(trained, length, strict=True)])
        target = purchases.items[at].astype(np.int64) - 1
        row, back, entry = counts.entries_of(queries.latest(BACK))
        item, group = counts.item[entry], counts.group[entry]
        source = queries.latest(BACK)[row, back] - 1
        # an entry without the pairs of the example's own user
        own, times = np.unique(_own_keys(trained, n_items), return_counts=True)
        key = ((row * n_items + source) * n_items + item) * GROUPS + group
        place = np.minimum(np.searchsorted(own, key), max(len(own) - 1, 0))
        same = own[place] == key if len(own) else np.zeros(len(key), bool)
        count = counts.count[entry] - np.where(same, times[place] if len(own) else 0, 0)
        seen_row, seen = queries.seen()
        known = np.isin(row * n_items + item, seen_row * n_items + seen)
        kept = (count > 0) & ~known
        row, back, item, group = row[kept], back[kept], item[kept], group[kept]
        source, count = source[kept], count[kept]
        # a cell for each target, and for what the user buys later, also where nothing is near
        own_cells = np.concatenate([np.zeros(0, np.int64), *_own_cells(trained, n_items)])
        own_cells = np.setdiff1d(own_cells, seen_row * n_items + seen)
        targets = np.arange(n) * n_items + target
        cells, cell = np.unique(
            np.concatenate([row * n_items + item, targets, own_cells]), return_inverse=True
        )
        # what is no choice: items of the history, each once, unless it is bought again
        bought = np.setdiff1d(seen_row * n_items + seen, targets)
        popularity = counts.popularity
        own_item = np.isin(cells, own_cells)
        of_cell = np.log(np.maximum(popularity[cells % n_items] - own_item, FEW))
        parts = {
            "group": group,
            "back": back,
            "count": np.log(count),
            "source": np.log(np.maximum(popularity[source], FEW)),
            "item": of_cell[cell[: len(row)]],
            "cell": cell[: len(row)],
            "cell_row": cells // n_items,
            "cell_item": of_cell,
            "cell_every": np.log(np.maximum(popularity[cells % n_items], FEW)),
            "target": cell[len(row) : len(row) + n],
            "bought_row": bought // n_items,
            "bought": np.log(np.maximum(popularity[bought % n_items], FEW)),
        }
        floats = ("count", "source", "item", "cell_item", "cell_every", "bought")
        return cls(
            n,
            **{
                name: torch.from_numpy(value.astype(np.float32 if name in floats else np.int64))
                for name, value in parts.items()
            },
        )


def _own_cells(trained: list[Ints], n_items: int) -> list[Ints]:
    return [row * n_items + items - 1 for row, items in enumerate(trained)]


def _own_keys(trained: list[Ints], n_items: int) -> Ints:
    """Return (example, item, item, group) of every pair of the examples' users, as numbers."""
    found = [np.zeros(0, np.int64)]
    for row, items in enumerate(trained):
        first, second = np.triu_indices(len(items), 1)
        one, other = items[first] - 1, items[second] - 1
        near = second - first <= GAPS[-1]
        one, other, gaps = one[near], other[near], (second - first)[near]
        group = 2 * np.searchsorted(GAPS, gaps)
        found.append(((row * n_items + one) * n_items + other) * GROUPS + group)
        found.append(((row * n_items + other) * n_items + one) * GROUPS + group + 1)
    return np.concatenate(found)
