"""Where a small T5 starts: as a recommender of neighbours, which training then sharpens.

Items read and items written have vectors whose products are how much more often the one follows
the other in the training purchases than chance has it: a factored, weighted pointwise mutual
information (Levy and Goldberg 2014: what word2vec approaches by sampling). A random start spends
most of its training on finding this out pair by pair: see the README for what that costs.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from podtrain.data.shards import Interactions
from podtrain.model.pod import Pod

# Chosen by NDCG@10 on Beauty's validation split, vectors alone with 128 dimensions: .0442 as they
# stand; SPAN 3 and both ways alike .0399; without the weight log(1 + count) .0334.
SPAN = 10  # purchases apart; a pair `lag` apart counts 1 / lag
BACKWARD = 0.3  # weight of the pair (later, earlier) beside (earlier, later)
STD = 0.1  # of items' vectors
NOISE = 0.02  # of all that has nothing to say yet
QUIET = 0.1  # of what T5 draws for projections back into the residual
ASIDE = 3.0  # nats by which cross-attention prefers items to words

Array = npt.NDArray[np.float64]


def item_vectors(purchases: Interactions, dims: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the vectors of items as read and as written, (items, dims) each, mean square 1.

    Only training purchases are looked at; items that are in none get zeros.
    """
    n = purchases.n_items
    rows, columns, weights = _pairs(purchases)
    keys, place = np.unique(rows * n + columns, return_inverse=True)
    rows, columns, count = keys // n, keys % n, np.bincount(place, weights)
    first, second = np.bincount(rows, count, n), np.bincount(columns, count, n)
    information = np.log(count * count.sum() / (first[rows] * second[columns]))
    kept = information > 0
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([rows[kept], columns[kept]])),
        torch.from_numpy(np.log1p(count[kept]) * information[kept]).float(),
        (n, n),
        check_invariants=False,
    ).coalesce()
    rank = min(dims, n)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        u, s, v = torch.svd_lowrank(matrix, q=min(rank + 16, n), niter=4)
    found = []
    for side in (u, v):
        vectors = torch.zeros(n, dims)
        vectors[:, :rank] = side[:, :rank] * s[:rank].sqrt()
        found.append(vectors / vectors.square().mean().sqrt().clamp_min(1e-12))
    return found[0], found[1]


def _pairs(purchases: Interactions) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Array]:
    """Return items (from 0) of pairs of training purchases near each other, both ways, weighted."""
    train = purchases.split == 0
    user = np.repeat(np.arange(purchases.n_users), np.diff(purchases.starts))[train]
    item = purchases.items[train].astype(np.int64) - 1
    found = []
    for lag in range(1, SPAN + 1):
        same = user[lag:] == user[:-lag]
        one, other = item[:-lag][same], item[lag:][same]
        weight = np.full(len(one), 1 / lag)
        found += [(one, other, weight), (other, one, BACKWARD * weight)]
    rows, columns, weights = (np.concatenate(part) for part in zip(*found, strict=True))
    return rows, columns, weights


@torch.no_grad()
def start_from_neighbours(model: Pod, purchases: Interactions, first: int, seed: int) -> None:
    """Start a model as a recommender of neighbours; the items' tokens are `first` and after.

    Dimension 0 is kept from the items: words, prompts and users point that way and nowhere else,
    so cross-attention can set them aside, and what is written there is popularity. Cross-attention
    passes on what the encoder read, all else is quiet: the first output is the mean of the items
    read, and its product with the items written is their rank.
    """
    assert model.read is not None, "only bases of our own start so"
    t5, d = model.t5, model.t5.config.d_model
    aside = STD * d**0.5  # as long as an item's vector
    read, written = item_vectors(purchases, d - 1, seed)
    items = slice(first, first + len(read))
    for weight in (model.read, model.prompts, t5.shared.weight):
        nn.init.normal_(weight, std=NOISE)
    if model.whole is not None:
        nn.init.normal_(model.whole, std=NOISE)
    model.read[:, 0] = model.prompts[..., 0] = t5.shared.weight[:, 0] = aside
    model.read[items, 0] = 0
    model.read[items, 1:] = read * STD
    bought = np.bincount(purchases.items[purchases.split == 0], minlength=len(read) + 1)[1:]
    popularity = torch.from_numpy(np.log(bought + 0.5)).float()
    t5.shared.weight[items, 0] = (popularity - popularity.mean()) * STD
    t5.shared.weight[items, 1:] = written * STD
    for name, weight in t5.named_parameters():
        if name.endswith((".o.weight", ".wo.weight")):
            weight.mul_(QUIET)
    blocks: Any = t5.decoder.block
    for block in blocks:
        cross = block.layer[1].EncDecAttention
        nn.init.eye_(cross.v.weight)
        nn.init.eye_(cross.o.weight)
        cross.o.weight.div_(len(blocks))
        # the decoder's first token lies aside, too: its query meets the keys of words, negative
        for head in range(t5.config.num_heads):
            row = head * t5.config.d_kv
            cross.q.weight[row], cross.k.weight[row] = 0, 0
            cross.q.weight[row, 0] = (ASIDE / d) ** 0.5
            cross.k.weight[row, 0] = -((ASIDE / d) ** 0.5)
