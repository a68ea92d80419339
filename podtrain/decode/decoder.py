"""The decoder of a T5 over trees: one step takes many nodes of every user a token further."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import T5ForConditionalGeneration

Pair = tuple[Tensor, Tensor]  # keys, values
# Nodes that attend together. They see each other's columns only to mask them: 900 at once would
# cost a third of a step.
TOGETHER = 128
# Products with the encoder's states themselves, few rows a user, reach a third of the speed that
# those of many rows have (one core, 12 to 416 states of 512).
SLOW_PRODUCT = 3


@dataclass(slots=True)
class State:
    """What the steps so far have left; a step adds its nodes to it.

    states: (users, L, d_model) encoded prompts, zero where the mask hides them; prompt: per layer
    their keys and values (users, heads, L, D), computed once and shared by all nodes of a user,
    or none where the states serve as both; unseen: (users, 1, 1, L) 0, or very negative where the
    mask hides.
    own: per layer (users, heads, room, D) of the tokens read: a node has a slot there, the first
    `slots` are taken. The first layer's are of one user while all have read the same.
    """

    states: Tensor
    prompt: tuple[Pair, ...]
    unseen: Tensor
    own: list[Pair]
    slots: int = 0

    def keep(self, users: Tensor | None, slots: Tensor) -> None:
        """Keep some users (all, if None), by row, and of each the slots (users kept, n)."""
        if users is not None:
            self.states, self.unseen = self.states[users], self.unseen[users]
            self.prompt = tuple((key[users], value[users]) for key, value in self.prompt)
        for layer, pair in enumerate(self.own):
            key, value = (_slots_of(part, users, slots) for part in pair)
            self.own[layer] = key, value
        self.slots = slots.shape[1]


class Decoder:
    """Incremental steps with the weights of a T5 in evaluation mode; equal to its forward pass.

    Residuals and logits are float32 at least, whatever the dtype of the weights: T5 overflows in
    float16, and logits rounded to bfloat16 tie items that differ.
    """

    def __init__(self, t5: T5ForConditionalGeneration) -> None:
        assert not t5.training, "call t5.eval() first"
        config: Any = t5.config
        self.stack: Any = t5.decoder
        self.head = t5.lm_head.weight
        self.first_token = int(config.decoder_start_token_id)
        self.dtype = torch.promote_types(self.head.dtype, torch.float32)
        self.scale = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0
        self.temperature: float = getattr(config, "item_temperature", 0.0)
        self._heads: tuple[int, int] = (config.num_heads, config.d_kv)

    def start(self, states: Tensor, mask: Tensor, queries: int) -> State:
        """Take encoded prompts (users, L, d_model) and their mask (users, L), 1 = attend.

        `queries` is about how many nodes of a user will ask: many are served by keys and values
        of the prompt, few by its states.
        """
        mask = mask.bool()
        states = states.masked_fill(~mask[..., None], 0)  # zero weight x NaN would be NaN
        unseen = torch.zeros_like(mask, dtype=states.dtype)
        unseen.masked_fill_(~mask, torch.finfo(states.dtype).min)
        prompt = []
        if not self._absorbs(queries, states.shape[1]):
            for block in self.stack.block:
                attention = block.layer[1].EncDecAttention
                key, value = (self._split(part(states)) for part in (attention.k, attention.v))
                prompt.append((key.contiguous(), value.contiguous()))
        return State(states, tuple(prompt), unseen[:, None, None], [])

    def step(
        self, state: State, tokens: Tensor, path: Tensor | None = None, *, keep: bool = True
    ) -> Tensor:
        """Read a token at each node; return the last hidden states (users, nodes, d_model).

        tokens: (users or 1, nodes); path: (users or 1, nodes, depth) the slots of what was read
        on the way to each node, the first token's first, filled up with -1; None for the first
        token. A single row serves all users. The nodes get the next slots, in their order, unless
        nothing is to be kept.
        """
        attend = self._visible(state.slots, path)
        x = self.stack.embed_tokens(tokens).to(self.dtype)
        for i, (own, cross, feed) in enumerate(block.layer for block in self.stack.block):
            x = self._own(own, x, state, i, attend, keep)
            x = self._cross(cross, x, state, i)
            x = self._feed(feed, x)
        if keep:
            state.slots += tokens.shape[1]
        return _normed(self.stack.final_layer_norm, x)

    def item_logits(self, hidden: Tensor, tokens: Tensor | slice) -> Tensor:
        """Return `logits` of tokens that items are made of.

        Where the T5 has an item temperature, they are cosines over that (`Pod.item_loss`).
        """
        if not self.temperature:
            return self.logits(hidden, tokens)
        with torch.autocast(hidden.device.type, enabled=False):
            unit = F.normalize(self.head[tokens].to(self.dtype), dim=-1)
            return F.linear(F.normalize(hidden.to(self.dtype), dim=-1), unit) / self.temperature

    def logits(self, hidden: Tensor, tokens: Tensor | slice | None = None) -> Tensor:
        """Return (..., tokens) logits, of all tokens or of those given; a slice copies nothing."""
        head = self.head if tokens is None else self.head[tokens]
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.to(self.dtype) * self.scale, head.to(self.dtype))

    def _absorbs(self, queries: int, length: int) -> bool:
        """Whether a user's queries cost less where they are taken to the states.

        q (W s) = (W' q) s: then no state has to be taken to keys and values, but each product is
        of d_model where it was of D.
        """
        heads, each = self._heads
        model: int = self.head.shape[1]
        taken = queries * heads * model * (each + SLOW_PRODUCT * length)
        return taken < heads * each * length * (model + queries)

    def _split(self, x: Tensor) -> Tensor:
        """(users, n, heads x D) as (users, heads, n, D)."""
        split: Tensor = x.unflatten(-1, self._heads).transpose(1, 2)
        return split

    def _visible(self, slots: int, path: Tensor | None) -> list[Tensor] | None:
        """Return, for each `TOGETHER` nodes, what is added to their scores of the slots so far
        and of themselves: (users or 1, heads, nodes, slots + nodes) position biases, or -inf."""
        if path is None:
            return None
        users, nodes, deep = path.shape
        relative = self.stack.block[0].layer[0].SelfAttention
        bias = relative.compute_bias(1, deep + 1, past_seen_tokens=deep)[0, :, 0].flip(1)
        far = (path >= 0).sum(2, keepdim=True) - torch.arange(deep, device=path.device)
        value = bias[:, far.clamp_(min=0)].movedim(0, 1)  # (users, heads, nodes, depth)
        shape = (users, len(bias), nodes, slots + 1)  # what is not there goes into the last one
        before = torch.full(shape, -torch.inf, device=bias.device, dtype=bias.dtype)
        place = path.where(path >= 0, slots)[:, None].expand(value.shape)
        before = before.scatter_(3, place, value)[..., :slots]
        attend = []
        for part in before.split(TOGETHER, 2):
            n = part.shape[2]
            each = torch.full((n, n), -torch.inf, device=bias.device, dtype=bias.dtype)
            each = each.fill_diagonal_(0) + bias[:, :1, None]
            attend.append(torch.cat([part, each.expand(users, -1, -1, -1)], 3))
        return attend

    def _own(
        self,
        layer: Any,
        x: Tensor,
        state: State,
        i: int,
        attend: list[Tensor] | None,
        keep: bool,
    ) -> Tensor:
        """Attend to the path."""
        attention, normed = layer.SelfAttention, _normed(layer.layer_norm, x)
        value = attention.v(normed)
        if attend is None:  # the first token sees itself only
            if keep:
                pair = self._split(attention.k(normed)), self._split(value)
                state.own.append((pair[0].contiguous(), pair[1].contiguous()))
            return _add(x, value, attention.o)
        query, key, value = (
            self._split(y) for y in (attention.q(normed), attention.k(normed), value)
        )
        before, nodes = state.slots, x.shape[1]
        room = _append(state.own[i], (key, value), before)
        if keep:
            state.own[i] = room
        seen, first = [], 0
        for part in attend:
            n = part.shape[2]
            key, value = (_columns(y, before, first, n, nodes) for y in room)
            users = len(key)
            seen.append(
                F.scaled_dot_product_attention(
                    query[:, :, first : first + n], key, value, scale=1.0,
                    attn_mask=part.to(key.dtype).expand(users, -1, -1, -1),
                )
            )  # fmt: skip
            first += n
        return _add(x, torch.cat(seen, 2).transpose(1, 2).flatten(2), attention.o)

    def _cross(self, layer: Any, x: Tensor, state: State, i: int) -> Tensor:
        """Attend to the prompt: all nodes of a user in one product."""
        attention = layer.EncDecAttention
        query = self._split(attention.q(_normed(layer.layer_norm, x)))
        users = len(state.unseen)
        if state.prompt:
            key, value = state.prompt[i]
            hide = state.unseen.expand(-1, -1, query.shape[2], -1)
            seen = F.scaled_dot_product_attention(
                query.expand(users, -1, -1, -1), key, value, attn_mask=hide, scale=1.0
            )
            return _add(x, seen.transpose(1, 2).flatten(2), attention.o)
        heads, _ = self._heads
        into, out = (part.weight.unflatten(0, self._heads) for part in (attention.k, attention.v))
        asked = query.transpose(0, 1).flatten(1, 2) @ into  # (heads, users or 1 x nodes, d_model)
        asked = asked.unflatten(1, (len(query), -1)).transpose(0, 1).expand(users, -1, -1, -1)
        scores = asked.flatten(1, 2) @ state.states.transpose(1, 2)
        weights = (scores + state.unseen[:, 0]).softmax(-1)
        mean = (weights @ state.states).unflatten(1, (heads, -1))  # (users, heads, nodes, d_model)
        seen = mean.transpose(0, 1).flatten(1, 2) @ out.transpose(1, 2)
        seen = seen.unflatten(1, (users, -1)).permute(1, 2, 0, 3).flatten(2)
        return _add(x, seen, attention.o)

    def _feed(self, layer: Any, x: Tensor) -> Tensor:
        """Add the feed-forward layer, gated or not."""
        dense, normed = layer.DenseReluDense, _normed(layer.layer_norm, x)
        if hasattr(dense, "wi"):
            hidden = dense.act(dense.wi(normed))
        else:
            hidden = dense.act(dense.wi_0(normed)).mul_(dense.wi_1(normed))
        return _add(x, hidden.to(dense.wo.weight.dtype), dense.wo)  # float16 T5s keep this wide


def _normed(norm: Any, x: Tensor) -> Tensor:
    """T5's norm, in the dtype of its weight."""
    scaled = F.rms_norm(x, norm.weight.shape, norm.weight.to(x.dtype), norm.variance_epsilon)
    return scaled.to(norm.weight.dtype)


def _add(x: Tensor, more: Tensor, linear: Any) -> Tensor:
    """Return x + linear(more), in the place of x where it has as many rows."""
    weight = linear.weight
    if x.shape[0] != more.shape[0] or weight.dtype != x.dtype:
        wide: Tensor = x + linear(more)
        return wide
    x.view(-1, x.shape[-1]).addmm_(more.flatten(0, 1), weight.t())
    return x


def _append(room: Pair, new: Pair, slots: int) -> Pair:
    """Put keys and values after the first slots; what has no room left moves to twice as much."""
    users, heads, nodes, each = new[0].shape
    if len(room[0]) < users or room[0].shape[2] < slots + nodes:
        users, most = max(users, len(room[0])), 2 * (slots + nodes)
        key, value = (part.new_empty(users, heads, most, each) for part in room)
        for wide, part in zip((key, value), room, strict=True):
            wide[:, :, :slots] = part[:, :, :slots]
        room = key, value
    for part, more in zip(room, new, strict=True):
        part[:, :, slots : slots + nodes] = more
    return room


def _columns(part: Tensor, slots: int, first: int, n: int, nodes: int) -> Tensor:
    """The slots so far and n of the nodes after them."""
    if n == nodes:
        return part[:, :, : slots + nodes]
    own = part[:, :, slots + first : slots + first + n]
    return torch.cat([part[:, :, :slots], own], 2)


def _slots_of(part: Tensor, users: Tensor | None, slots: Tensor) -> Tensor:
    """Select (users, heads, n, D) from (users or 1, heads, room, D)."""
    if users is not None and len(part) > 1:
        part = part[users]
    part = part.expand(len(slots), -1, -1, -1)
    where = slots[:, None, :, None].expand(-1, part.shape[1], -1, part.shape[3])
    return part.gather(2, where)
