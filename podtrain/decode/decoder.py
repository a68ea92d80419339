"""T5's decoder with a KV cache over trees: one step reads a token at many nodes of every user."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import T5ForConditionalGeneration

from podtrain.decode.attention import absorb_keys, absorb_values, split_heads

KeysValues = tuple[Tensor, Tensor]
# Nodes that attend in one operation. They see each other's columns only to mask them: 900 at once
# would cost a third of a step.
NODES_TOGETHER = 128
# Matrix products with the encoder states, of few rows a user, reach a third of the speed of those
# of many rows (one core, 12 to 416 states of 512).
SLOW_PRODUCT = 3


@dataclass(slots=True)
class KVCache:
    """The keys and values that later steps attend to; a step adds those of its nodes.

    self_attention: of each layer, (users, heads, capacity, D) of the tokens read so far: each node
    has a slot, and the first `slots` are taken. The first step's are of a single user: all have
    read the same token. cross_attention: of each layer, (users, heads, L, D) of the prompt, shared
    by all nodes of a user; empty where the encoder states serve as both (`absorb_keys`).
    states: (users, L, d_model) encoder states, zero where masked; mask_bias: (users, 1, 1, L), 0,
    or the lowest number where masked.
    """

    states: Tensor
    mask_bias: Tensor
    cross_attention: tuple[KeysValues, ...]
    self_attention: list[KeysValues]
    slots: int = 0

    def keep(self, users: Tensor | None, slots: Tensor) -> None:
        """Keep some users (all, if None), by row, and of each the slots (users kept, n)."""
        if users is not None:
            self.states, self.mask_bias = self.states[users], self.mask_bias[users]
            self.cross_attention = tuple(
                (key[users], value[users]) for key, value in self.cross_attention
            )
        for layer, held in enumerate(self.self_attention):
            key, value = (_slots_of(part, users, slots) for part in held)
            self.self_attention[layer] = key, value
        self.slots = slots.shape[1]


class Decoder:
    """A T5's decoder, step by step with a KV cache; equal to its forward pass.

    Residuals and logits are at least float32, whatever the dtype of the weights: T5 overflows in
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

    def start(self, states: Tensor, mask: Tensor, queries: int) -> KVCache:
        """Return the cache for encoded prompts (users, L, d_model) and their mask (users, L), 1 =
        attend.

        queries: about how many nodes each user will have. For many the prompt's keys and values
        are computed once, for few the encoder states serve.
        """
        mask = mask.bool()
        states = states.masked_fill(~mask[..., None], 0)  # zero weight x NaN would be NaN
        mask_bias = torch.zeros_like(mask, dtype=states.dtype)
        mask_bias.masked_fill_(~mask, torch.finfo(states.dtype).min)
        prompt = []
        if not self._absorbs(queries, states.shape[1]):
            for block in self.stack.block:
                attention = block.layer[1].EncDecAttention
                key, value = (
                    split_heads(attention, part(states)) for part in (attention.k, attention.v)
                )
                prompt.append((key.contiguous(), value.contiguous()))
        return KVCache(states, mask_bias[:, None, None], tuple(prompt), [])

    def step(
        self, cache: KVCache, tokens: Tensor, path: Tensor | None = None, *, keep: bool = True
    ) -> Tensor:
        """Read a token at each node; return the last hidden states (users, nodes, d_model).

        tokens: (users or 1, nodes); path: (users or 1, nodes, depth) the slots of each node's
        ancestors, the root first, padded with -1; None at the root. A single row serves all users.
        The nodes take the next slots of the cache, in their order, unless `keep` is false.
        """
        biases = self._path_biases(cache.slots, path)
        x = self.stack.embed_tokens(tokens).to(self.dtype)
        for i, (attention, cross, feed) in enumerate(block.layer for block in self.stack.block):
            x = self._self_attention(attention, x, cache, i, biases, keep)
            x = self._cross_attention(cross, x, cache, i)
            x = self._feed_forward(feed, x)
        if keep:
            cache.slots += tokens.shape[1]
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
        """Return logits (..., tokens) of all tokens, or of those given; a slice is not copied."""
        head = self.head if tokens is None else self.head[tokens]
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.to(self.dtype) * self.scale, head.to(self.dtype))

    def _absorbs(self, queries: int, length: int) -> bool:
        """Return whether `absorb_keys` costs less than the keys and values of the whole prompt.

        Then no encoder state is projected, but each product of a query has d_model terms, not D.
        """
        heads, each = self._heads
        model: int = self.head.shape[1]
        absorbed = queries * heads * model * (each + SLOW_PRODUCT * length)
        return absorbed < heads * each * length * (model + queries)

    def _path_biases(self, slots: int, path: Tensor | None) -> list[Tensor] | None:
        """Return what is added to the attention scores of each `NODES_TOGETHER` nodes.

        (users or 1, heads, nodes, slots + nodes): position biases at ancestors and at the node
        itself, -inf elsewhere. None at the root, which has no ancestors.
        """
        if path is None:
            return None
        users, nodes, deep = path.shape
        relative = self.stack.block[0].layer[0].SelfAttention
        bias = relative.compute_bias(1, deep + 1, past_seen_tokens=deep)[0, :, 0].flip(1)
        far = (path >= 0).sum(2, keepdim=True) - torch.arange(deep, device=path.device)
        value = bias[:, far.clamp_(min=0)].movedim(0, 1)  # (users, heads, nodes, depth)
        shape = (users, len(bias), nodes, slots + 1)  # the last column takes the padding
        before = torch.full(shape, -torch.inf, device=bias.device, dtype=bias.dtype)
        place = path.where(path >= 0, slots)[:, None].expand(value.shape)
        before = before.scatter_(3, place, value)[..., :slots]
        biases = []
        for part in before.split(NODES_TOGETHER, 2):
            n = part.shape[2]
            each = torch.full((n, n), -torch.inf, device=bias.device, dtype=bias.dtype)
            each = each.fill_diagonal_(0) + bias[:, :1, None]
            biases.append(torch.cat([part, each.expand(users, -1, -1, -1)], 3))
        return biases

    def _self_attention(
        self,
        layer: Any,
        x: Tensor,
        cache: KVCache,
        i: int,
        biases: list[Tensor] | None,
        keep: bool,
    ) -> Tensor:
        """Attend to the path from the root, each node to its own."""
        attention, normed = layer.SelfAttention, _normed(layer.layer_norm, x)
        value = attention.v(normed)
        if biases is None:  # the root attends to itself only
            if keep:
                held = split_heads(attention, attention.k(normed)), split_heads(attention, value)
                cache.self_attention.append((held[0].contiguous(), held[1].contiguous()))
            return _add(x, value, attention.o)
        query, key, value = (
            split_heads(attention, y) for y in (attention.q(normed), attention.k(normed), value)
        )
        before, nodes = cache.slots, x.shape[1]
        held = _append(cache.self_attention[i], (key, value), before)
        if keep:
            cache.self_attention[i] = held
        found, first = [], 0
        for part in biases:
            n = part.shape[2]
            key, value = (_columns(y, before, first, n, nodes) for y in held)
            users = len(key)
            found.append(
                F.scaled_dot_product_attention(
                    query[:, :, first : first + n], key, value, scale=1.0,
                    attn_mask=part.to(key.dtype).expand(users, -1, -1, -1),
                )
            )  # fmt: skip
            first += n
        return _add(x, torch.cat(found, 2).transpose(1, 2).flatten(2), attention.o)

    def _cross_attention(self, layer: Any, x: Tensor, cache: KVCache, i: int) -> Tensor:
        """Attend to the prompt, all nodes of a user in one product."""
        attention = layer.EncDecAttention
        query = split_heads(attention, attention.q(_normed(layer.layer_norm, x)))
        users = len(cache.mask_bias)
        if cache.cross_attention:
            key, value = cache.cross_attention[i]
            hidden = cache.mask_bias.expand(-1, -1, query.shape[2], -1)
            found = F.scaled_dot_product_attention(
                query.expand(users, -1, -1, -1), key, value, attn_mask=hidden, scale=1.0
            )
            return _add(x, found.transpose(1, 2).flatten(2), attention.o)
        asked = absorb_keys(attention, query).expand(users, -1, -1, -1)
        scores = asked.flatten(1, 2) @ cache.states.transpose(1, 2)
        weights = (scores + cache.mask_bias[:, 0]).softmax(-1)
        mean = (weights @ cache.states).unflatten(1, asked.shape[1:3])  # (users, heads, nodes, d)
        return _add(x, absorb_values(attention, mean), attention.o)

    def _feed_forward(self, layer: Any, x: Tensor) -> Tensor:
        """Add the feed-forward layer, gated or not."""
        dense, normed = layer.DenseReluDense, _normed(layer.layer_norm, x)
        if hasattr(dense, "wi"):
            hidden = dense.act(dense.wi(normed))
        else:
            hidden = dense.act(dense.wi_0(normed)).mul_(dense.wi_1(normed))
        return _add(x, hidden.to(dense.wo.weight.dtype), dense.wo)  # float32 in a float16 T5


def _normed(norm: Any, x: Tensor) -> Tensor:
    """Return T5's layer norm, in the dtype of its weight.

    One fused operation; training has transformers', which is as fast with gradients.
    """
    scaled = F.rms_norm(x, norm.weight.shape, norm.weight.to(x.dtype), norm.variance_epsilon)
    return scaled.to(norm.weight.dtype)


def _add(x: Tensor, more: Tensor, linear: Any) -> Tensor:
    """Return x + linear(more), in place unless x is one row for all users."""
    weight = linear.weight
    if x.shape[0] != more.shape[0] or weight.dtype != x.dtype:
        wide: Tensor = x + linear(more)
        return wide
    x.view(-1, x.shape[-1]).addmm_(more.flatten(0, 1), weight.t())
    return x


def _append(held: KeysValues, new: KeysValues, slots: int) -> KeysValues:
    """Put keys and values after the first slots; capacity doubles where it does not suffice."""
    users, heads, nodes, each = new[0].shape
    if len(held[0]) < users or held[0].shape[2] < slots + nodes:
        users, capacity = max(users, len(held[0])), 2 * (slots + nodes)
        key, value = (part.new_empty(users, heads, capacity, each) for part in held)
        for wide, part in zip((key, value), held, strict=True):
            wide[:, :, :slots] = part[:, :, :slots]
        held = key, value
    for part, more in zip(held, new, strict=True):
        part[:, :, slots : slots + nodes] = more
    return held


def _columns(part: Tensor, slots: int, first: int, n: int, nodes: int) -> Tensor:
    """Return the columns of the slots so far, and of n of the nodes after them."""
    if n == nodes:
        return part[:, :, : slots + nodes]
    own = part[:, :, slots + first : slots + first + n]
    return torch.cat([part[:, :, :slots], own], 2)


def _slots_of(part: Tensor, users: Tensor | None, slots: Tensor) -> Tensor:
    """Select (users, heads, n, D) from (users or 1, heads, capacity, D)."""
    if users is not None and len(part) > 1:
        part = part[users]
    part = part.expand(len(slots), -1, -1, -1)
    where = slots[:, None, :, None].expand(-1, part.shape[1], -1, part.shape[3])
    return part.gather(2, where)
