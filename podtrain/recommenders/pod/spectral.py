"""Spectral initialisation: a small T5 starts as an item-to-item recommender.

The product of an item's input vector and another's output vector is how much more often than by
chance the other follows it in the training purchases: a factored, weighted pointwise mutual
information (Levy and Goldberg 2014: what word2vec approximates by sampling). From random weights
most of the training is spent on learning this pair by pair: docs/results.md says what that costs.
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
from podprep.contract.tasks import TASKS
from podtrain.data.interactions import Interactions
from podtrain.recommenders.cooccurrence import Cooccurrence
from podtrain.recommenders.pod.model import LeaveFoldOut, Pod

# Chosen by NDCG@10 on Beauty's validation split, of the vectors alone with 128 dimensions: .0442 as
# set here; SPAN 3 and BACKWARD 1 .0399; without the weight log(1 + count) .0334.
SPAN = 10  # how far apart two purchases may be; a pair `lag` apart counts 1 / lag
BACKWARD = 0.3  # weight of the pair (later, earlier), relative to (earlier, later)
ITEM_STD = 0.1  # standard deviation of items' vectors
OTHER_STD = 0.01  # of words, users, soft prompts and whole-word embeddings: noise to break ties
RESIDUAL_INIT_SCALE = 0.01  # factor on T5's own initialisation of projections into the residual
NON_ITEM_PENALTY = 3.0  # by how much, in nats, cross-attention prefers items to all other tokens

# Vectors that have counted the very purchase to be predicted make training overconfident of them.
# So each user is trained on the vectors of all folds but the user's own: after 3 epochs on Beauty
# training and validation loss are .25 nats apart, without folds 1.39. Ranks are much the same
# (NDCG@10 .0437 and .0429).
FOLDS = 4


@dataclass(frozen=True, slots=True)
class ItemVectors:
    """Vectors of items, (items, dims), mean square 1; zeros for items not bought in training.

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
        inputs, outputs = torch.zeros(n, dims), torch.zeros(n, dims)
        # v / root takes an item's row of associations to its input vector; so it does with the rows
        # counted without a fold's users
        projection = torch.zeros(n, dims)
        projection[:, :rank] = v[:, :rank] / root.clamp_min(1e-6)
        inputs, outputs[:, :rank] = matrix @ projection, v[:, :rank] * root
        scale = inputs.square().mean().sqrt().clamp_min(1e-12)
        deltas = [_associations(purchases, fold) @ projection - inputs for fold in range(FOLDS)]
        return cls(
            inputs / scale,
            outputs / outputs.square().mean().sqrt().clamp_min(1e-12),
            torch.stack(deltas) / scale,
        )


def _associations(purchases: Interactions, fold: int | None) -> Tensor:
    """Return a sparse (items, items): the positive pointwise mutual information of the first item
    and the second near it, in nats, times log(1 + count). fold: of the users to leave out.
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
def start_from(
    model: Pod, vectors: ItemVectors, purchases: Interactions, first: int, std: float
) -> None:
    """Initialise a model as an item-to-item recommender; items have the tokens from `first` on.

    Dimension 0 is not the items': words, soft prompts and users point along it and nowhere else,
    so cross-attention can penalise them; in the output vectors it holds popularity. Cross-attention
    is the identity, and all else adds next to nothing to the residual: the first hidden state is
    the mean input vector of the prompt's items, and its product with the output vectors ranks them.
    Where there are explanations to write, their soft prompts and the words start at random, of
    `std`, and the residual is not held down: so they learn as from a random start.
    """
    assert model.input_embedding is not None, "only our own bases have an input embedding"
    t5, d = model.t5, model.t5.config.d_model
    other = ITEM_STD * d**0.5  # as long as an item's vector
    items = slice(first, first + len(vectors.input))
    for weight in (model.input_embedding, model.soft_prompts, t5.shared.weight):
        nn.init.normal_(weight, std=OTHER_STD)
    if model.whole_word_embeddings is not None:
        nn.init.normal_(model.whole_word_embeddings, std=OTHER_STD)
    model.input_embedding[:, 0] = model.soft_prompts[..., 0] = t5.shared.weight[:, 0] = other
    model.input_embedding[items, 0] = 0
    model.input_embedding[items, 1:] = vectors.input * ITEM_STD
    bought = np.bincount(purchases.items[purchases.split == 0], minlength=purchases.n_items + 1)
    popularity = torch.from_numpy(np.log(bought[1:] + 0.5)).float()
    t5.shared.weight[items, 0] = (popularity - popularity.mean()) * ITEM_STD
    t5.shared.weight[items, 1:] = vectors.output * ITEM_STD
    if model.explanation_embedding is not None:
        model.soft_prompts[TASKS.index("explanation")].normal_(std=std)
        t5.shared.weight[1:first].normal_(std=std)  # 0 is the decoder's first token
    else:
        for name, weight in t5.named_parameters():
            if name.endswith((".o.weight", ".wo.weight")):
                weight.mul_(RESIDUAL_INIT_SCALE)
    blocks: Any = t5.decoder.block
    for block in blocks:
        cross = block.layer[1].EncDecAttention
        nn.init.eye_(cross.v.weight)
        nn.init.eye_(cross.o.weight)
        cross.o.weight.div_(len(blocks))
        # the start token points along dimension 0, too: its query and a word's key have a negative
        # product
        for head in range(t5.config.num_heads):
            row = head * t5.config.d_kv
            cross.q.weight[row], cross.k.weight[row] = 0, 0
            cross.q.weight[row, 0] = (NON_ITEM_PENALTY / d) ** 0.5
            cross.k.weight[row, 0] = -((NON_ITEM_PENALTY / d) ** 0.5)


@lru_cache(maxsize=1)
def _vectors(folder: Path, sha256: str, dims: int, seed: int) -> ItemVectors:
    shards = Shards.open(folder)
    assert shards.sha256 == sha256, "the dataset was open a moment ago"
    return ItemVectors.of(Interactions.read(shards), dims, seed)


def vectors_of(shards: Shards, t5: T5ForConditionalGeneration, seed: int) -> ItemVectors:
    """Return a dataset's vectors for a T5, computed once a process."""
    return _vectors(shards.folder, shards.sha256, t5.config.d_model - 1, seed)


def leave_fold_out(model: Pod, vectors: ItemVectors, first: int) -> None:
    """Have a model, in training, embed items by the purchases outside the user's own fold."""
    folds, items, _ = vectors.fold_deltas.shape
    deltas = F.pad(vectors.fold_deltas * ITEM_STD, (1, 0)).flatten(0, 1)  # 0 in dimension 0
    table = torch.cat([torch.zeros(1, deltas.shape[1]), deltas])  # row 0: other tokens
    model.leave_fold_out(LeaveFoldOut(table, folds, first, items))
