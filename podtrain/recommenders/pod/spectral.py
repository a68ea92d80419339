"""Where a small T5 starts: as a recommender of neighbours, which training then sharpens.

Items read and items written have vectors whose products are how much more often the one follows
the other in the training purchases than chance has it: a factored, weighted pointwise mutual
information (Levy and Goldberg 2014: what word2vec approaches by sampling). A random start spends
most of its training on finding this out pair by pair: see the README for what that costs.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from podprep.contract.shards import Shards
from podtrain.data.interactions import Interactions
from podtrain.recommenders.cooccurrence import Cooccurrence
from podtrain.recommenders.pod.model import LeaveFoldOut, Pod

# Chosen by NDCG@10 on Beauty's validation split, vectors alone with 128 dimensions: .0442 as they
# stand; SPAN 3 and both ways alike .0399; without the weight log(1 + count) .0334.
SPAN = 10  # purchases apart; a pair `lag` apart counts 1 / lag
BACKWARD = 0.3  # weight of the pair (later, earlier) beside (earlier, later)
STD = 0.1  # of items' vectors
NOISE = 0.01  # of all that has nothing to say yet
QUIET = 0.01  # of what T5 draws for projections back into the residual
ASIDE = 3.0  # nats by which cross-attention prefers items to words

# A pair that a user made says more of that user than of others: with vectors that know the very
# purchase to be predicted, training is too sure of them. So each user is trained on the vectors of
# the others: after 3 epochs on Beauty training and validation loss lie .25 nats apart, 1.39 without
# folds. Ranks are alike (NDCG@10 .0437 and .0429); the loss is what training is stopped by.
FOLDS = 4


@dataclass(frozen=True, slots=True)
class ItemVectors:
    """ItemVectors of items, (items, dims), mean square 1; zeros for items never bought in training.

    input, output: from all training purchases; fold_deltas: (folds, items, dims), how `input` would
    change if the users of a fold (user id modulo folds) had bought nothing.
    """

    input: Tensor
    output: Tensor
    fold_deltas: Tensor

    @classmethod
    def of(cls, purchases: Interactions, dims: int, seed: int) -> "ItemVectors":
        """Factor the associations of a dataset's training purchases."""
        n = purchases.n_items
        rank = min(dims, n)
        matrix = _associations(purchases, fold=None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _, s, v = torch.svd_lowrank(matrix, q=min(rank + 16, n), niter=4)
        root = s[:rank].sqrt()
        read, written = torch.zeros(n, dims), torch.zeros(n, dims)
        # v / root takes a row of associations to the vector that reads it: all rows at once, and
        # the same for rows that lack a fold's users
        projection = torch.zeros(n, dims)
        projection[:, :rank] = v[:, :rank] / root.clamp_min(1e-6)
        read, written[:, :rank] = matrix @ projection, v[:, :rank] * root
        scale = read.square().mean().sqrt().clamp_min(1e-12)
        without = [_associations(purchases, fold) @ projection - read for fold in range(FOLDS)]
        return cls(
            read / scale,
            written / written.square().mean().sqrt().clamp_min(1e-12),
            torch.stack(without) / scale,
        )


def _associations(purchases: Interactions, fold: int | None) -> Tensor:
    """Return a sparse (items, items): how much more often than by chance the second is bought
    after the first, in nats, weighted by log(1 + how often); 0 where not more often.
    """
    n = purchases.n_items
    counted = Cooccurrence.count(
        purchases,
        span=SPAN,
        lag_power=1.0,
        backward=BACKWARD,
        users=None if fold is None else np.arange(1, purchases.n_users + 1) % FOLDS != fold,
    )
    rows, columns, count = counted.rows, counted.columns.astype(np.int64), counted.weights
    first, second = np.bincount(rows, count, n), np.bincount(columns, count, n)
    information = np.log(count * count.sum() / (first[rows] * second[columns]))
    kept = information > 0
    return torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([rows[kept], columns[kept]])),
        torch.from_numpy(np.log1p(count[kept]) * information[kept]).float(),
        (n, n),
        check_invariants=False,
    ).coalesce()


@torch.no_grad()
def start_from(model: Pod, vectors: ItemVectors, purchases: Interactions, first: int) -> None:
    """Start a model as a recommender of neighbours; the items' tokens are `first` and after.

    Dimension 0 is kept from the items: words, prompts and users point that way and nowhere else,
    so cross-attention can set them aside, and what is written there is popularity. Cross-attention
    passes on what the encoder read, all else is quiet: the first output is the mean of the items
    read, and its product with the items written is their rank.
    """
    assert model.input_embedding is not None, "only bases of our own start so"
    t5, d = model.t5, model.t5.config.d_model
    aside = STD * d**0.5  # as long as an item's vector
    items = slice(first, first + len(vectors.input))
    for weight in (model.input_embedding, model.soft_prompts, t5.shared.weight):
        nn.init.normal_(weight, std=NOISE)
    if model.whole_word_embeddings is not None:
        nn.init.normal_(model.whole_word_embeddings, std=NOISE)
    model.input_embedding[:, 0] = model.soft_prompts[..., 0] = t5.shared.weight[:, 0] = aside
    model.input_embedding[items, 0] = 0
    model.input_embedding[items, 1:] = vectors.input * STD
    bought = np.bincount(purchases.items[purchases.split == 0], minlength=purchases.n_items + 1)
    popularity = torch.from_numpy(np.log(bought[1:] + 0.5)).float()
    t5.shared.weight[items, 0] = (popularity - popularity.mean()) * STD
    t5.shared.weight[items, 1:] = vectors.output * STD
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


@lru_cache(maxsize=1)
def _vectors(folder: Path, sha256: str, dims: int, seed: int) -> ItemVectors:
    shards = Shards.open(folder)
    assert shards.sha256 == sha256, "the dataset was open a moment ago"
    return ItemVectors.of(Interactions.read(shards), dims, seed)


def vectors_of(shards: Shards, t5: T5ForConditionalGeneration, seed: int) -> ItemVectors:
    """Return a dataset's vectors for a T5, made once a process: to start from, and to set apart."""
    return _vectors(shards.folder, shards.sha256, t5.config.d_model - 1, seed)


def leave_fold_out(model: Pod, vectors: ItemVectors, first: int) -> None:
    """Have a model read, while it trains, items as they are without the user's own fold."""
    folds, items, _ = vectors.fold_deltas.shape
    without = F.pad(vectors.fold_deltas * STD, (1, 0)).flatten(
        0, 1
    )  # dimension 0 is not the items'
    table = torch.cat([torch.zeros(1, without.shape[1]), without])  # row 0: what is no item
    model.leave_fold_out(LeaveFoldOut(table, folds, first, items))
