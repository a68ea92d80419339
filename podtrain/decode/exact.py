"""Exact ranking: the log-probability of every item by one constrained walk of the trie.

log p(item) is the sum, over the item's tokens and its end token, of the log-softmax over the
tokens that the trie allows there. So the probabilities of all items sum to one, and where only one
token is allowed it costs nothing: no step is run for it, unless later tokens attend to it.
"""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import T5ForConditionalGeneration

from podprep.contract.errors import PodError
from podtrain.decode.decoder import Decoder
from podtrain.decode.trie import Level, Trie

MAX_BYTES = 1 << 28  # four times as much was slower on one core, by first-touch page faults
MAX_BYTES_GPU = 1 << 31  # there a group is bound by the launch of kernels; not measured


@torch.no_grad()
def score_catalogue(
    t5: T5ForConditionalGeneration,
    states: torch.Tensor,
    mask: torch.Tensor,
    trie: Trie,
    *,
    max_bytes: int | None = None,
) -> torch.Tensor:
    """Return the log-probabilities of all items, (users, items) float32; column k is item k + 1.

    states: (users, L, d_model) encoded prompts; mask: (users, L), 1 = attend; max_bytes: about
    what the tensors of a walk may take, by which users are grouped (None: `memory`).
    """
    decoder, trie = Decoder(t5), trie.to(states.device)
    groups = user_groups(t5, states, trie, max_bytes)
    scores = [_walk(decoder, states[rows], mask[rows], trie) for rows in groups]
    return scores[0] if len(scores) == 1 else torch.cat(scores)


@torch.no_grad()
def score_candidates(
    t5: T5ForConditionalGeneration,
    states: torch.Tensor,
    mask: torch.Tensor,
    trie: Trie,
    candidates: torch.Tensor,
    *,
    max_bytes: int | None = None,
) -> torch.Tensor:
    """Return what `score_catalogue` has for some items, (users, C) float32; -inf where padded.

    candidates: (users, C) items, padded with 0. Only the nodes on their paths are stepped.
    Errors: `PodError` for a candidate that is no item.
    """
    decoder, trie = Decoder(t5), trie.to(states.device)
    candidates = candidates.to(states.device)
    if candidates.numel() and not 0 <= candidates.min() <= candidates.max() <= trie.items:
        raise PodError(
            f"a candidate is not among items 1 to {trie.items}: check where they are from"
        )
    groups = user_groups(t5, states, trie, max_bytes, nodes=candidates.shape[1])
    scores = [_follow(decoder, states[r], mask[r], trie, candidates[r]) for r in groups]
    return torch.cat(scores).masked_fill_(candidates == 0, -torch.inf)


def user_groups(
    t5: T5ForConditionalGeneration,
    states: torch.Tensor,
    trie: Trie,
    max_bytes: int | None,
    nodes: int | None = None,
) -> Iterator[slice]:
    """Cut the users so that a walk of at most `nodes` nodes a level takes about `max_bytes`."""
    max_bytes = max_bytes or memory(states.device)
    config: Any = t5.config
    inner, layers = config.num_heads * config.d_kv, config.num_decoder_layers
    most = slots = 0
    for level in trie.levels:
        width = level.nodes if nodes is None else min(level.nodes, nodes)
        slots += width
        feed = 4 * inner + 6 * config.d_model + 3 * config.d_ff
        most = max(most, width * (feed + 2 * len(level.tokens) + 6 * level.widest))
    kept = 0 if len(trie.levels) == 1 else slots * 4 * layers * inner  # half of it spare capacity
    prompt = states.shape[1] * (config.d_model + 2 * (layers + 1) * inner)
    users = max(1, max_bytes // (4 * (most + kept + prompt)))
    return (slice(i, i + users) for i in range(0, max(1, len(states)), users))


def memory(device: torch.device) -> int:
    """Return about how many bytes the tensors of a walk may take."""
    return MAX_BYTES if device.type == "cpu" else MAX_BYTES_GPU


def choices(
    decoder: Decoder, hidden: torch.Tensor, level: Level, nodes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probabilities of the choices at nodes, and which choices they are.

    hidden: (users, N, d_model) at nodes (users or 1, N). The log-probabilities are float32
    (users, N, widest), -inf beyond a node's last choice; the choices (users or 1, N, widest).
    """
    offset = torch.arange(level.widest, device=nodes.device)
    choice = level.start[nodes].unsqueeze(-1) + offset
    beyond = offset >= level.width[nodes].unsqueeze(-1)
    choice.masked_fill_(beyond, 0)
    if level.widest == 1:
        return torch.zeros(*hidden.shape[:2], 1, device=hidden.device), choice
    logits = decoder.item_logits(hidden, level.rows)
    if level.nodes > 1:
        column = level.column[choice].expand(len(hidden), -1, -1)
        logits = logits.gather(2, column).masked_fill_(beyond, -torch.inf)
    return logits.log_softmax(2).float(), choice


def node_input(decoder: Decoder, level: Level) -> torch.Tensor:
    """Return the token that each node of a level reads: at the root, the decoder's start token."""
    return torch.where(level.node_token < 0, decoder.first_token, level.node_token)


def longer(path: torch.Tensor | None, parents: torch.Tensor, slots: int) -> torch.Tensor:
    """Return the paths (users or 1, nodes, depth + 1) of the children of some nodes.

    parents: (users or 1, nodes) the place of each child's parent among the nodes of the last step,
    which took the slots from `slots` on.
    """
    own = (parents + slots).unsqueeze(-1)
    if path is None:
        return own
    path = path.expand(len(parents), -1, -1)
    return torch.cat([path.gather(1, parents[..., None].expand(-1, -1, path.shape[2])), own], 2)


def _walk(decoder: Decoder, states: torch.Tensor, mask: torch.Tensor, trie: Trie) -> torch.Tensor:
    """Score all items: all users have the same nodes."""
    scores = torch.zeros(len(states), trie.items, device=states.device)
    total = scores[:, :1]
    cache = decoder.start(states, mask, sum(level.nodes for level in trie.levels))
    path, slots = None, 0
    for level in trie.levels:
        nodes = torch.arange(level.nodes, device=states.device)[None]
        if level.node_token[0] >= 0:
            path, slots = longer(path, level.node_parent[None], slots), cache.slots
        tokens = node_input(decoder, level)[nodes]
        hidden = decoder.step(cache, tokens, path, keep=level is not trie.levels[-1])
        logp, _ = choices(decoder, hidden, level, nodes)
        if len(trie.levels) == 1:
            return logp.flatten(1)  # the choices at the root are the items in their order
        logp = logp.add_(total[..., None]).flatten(1)
        settled, unsettled = (level.child < 0).nonzero()[:, 0], (level.child >= 0).nonzero()[:, 0]
        items = level.item[settled] - 1
        scores.index_copy_(1, items, logp.index_select(1, level.place[settled]))
        total = logp.index_select(1, level.place[unsettled])
    return scores


def _follow(
    decoder: Decoder,
    states: torch.Tensor,
    mask: torch.Tensor,
    trie: Trie,
    candidates: torch.Tensor,
) -> torch.Tensor:
    """Score candidates: each user has nodes of its own, those on the paths to its candidates."""
    total = torch.zeros(candidates.shape, device=states.device)
    asked = sum(min(level.nodes, candidates.shape[1]) for level in trie.levels)
    cache = decoder.start(states, mask, asked)
    # of each candidate: its node, and the node's place among the user's; -1 once settled, or padded
    node = slot = torch.where(candidates > 0, 0, -1)
    nodes = torch.zeros(1, 1, dtype=torch.int64, device=states.device)  # the root, of all users
    path = None
    for depth, level in enumerate(trie.levels):
        slots, last = cache.slots, level is trie.levels[-1]
        hidden = decoder.step(cache, node_input(decoder, level)[nodes], path, keep=not last)
        logp, _ = choices(decoder, hidden, level, nodes)
        choice = trie.path[:, depth][candidates - 1]
        place = slot * level.widest + choice - level.start[node]
        found = logp.flatten(1).gather(1, place.where(slot >= 0, 0))
        total += found.masked_fill_(slot < 0, 0)
        node, before = level.child[choice].where(slot >= 0, -1), slot
        slot = _ranks(node)
        if (n := int(slot.max()) + 1) == 0:
            break
        spread = slot.where(slot >= 0, n)
        nodes, parents = (
            torch.zeros(len(states), n + 1, dtype=torch.int64, device=states.device).scatter_(
                1, spread, source
            )[:, :n]
            for source in (node, before)
        )
        path = longer(path, parents, slots)
    return total


def _ranks(node: torch.Tensor) -> torch.Tensor:
    """Number the distinct nodes in each row from 0; -1 stays -1."""
    ordered, order = node.sort(1)
    new = ordered >= 0
    new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    return torch.empty_like(node).scatter_(1, order, new.cumsum(1) - 1)
