"""The decoder of a T5 over trees: one step takes many nodes of every user a token further."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import T5ForConditionalGeneration

Pair = tuple[torch.Tensor, torch.Tensor]  # keys, values


@dataclass(frozen=True, slots=True)
class State:
    """What the steps so far have left.

    prompt: per layer (users, heads, L, D) of the encoded prompt, computed once and shared by all
    nodes of a user; unseen: (users, 1, 1, L) 0, or very negative where the mask hides it;
    path: per layer (users, nodes, depth, heads, D) of the tokens on the way to each node.
    """

    prompt: tuple[Pair, ...]
    unseen: torch.Tensor
    path: tuple[Pair, ...]
    depth: int

    def of(self, users: torch.Tensor) -> "State":
        """Return the state of some users, given by their rows."""
        prompt, path = (
            tuple((key[users], value[users]) for key, value in pairs)
            for pairs in (self.prompt, self.path)
        )
        return State(prompt, self.unseen[users], path, self.depth)


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
        self._heads = (config.num_heads, config.d_kv)

    def start(self, states: torch.Tensor, mask: torch.Tensor) -> State:
        """Take encoded prompts (users, L, d_model) and their mask (users, L), 1 = attend."""
        mask = mask.bool()
        states = states.masked_fill(~mask[..., None], 0)  # zero weight x NaN would be NaN
        prompt = []
        for block in self.stack.block:
            attention = block.layer[1].EncDecAttention
            key, value = (self._split(part(states)) for part in (attention.k, attention.v))
            prompt.append((key.transpose(1, 2).contiguous(), value.transpose(1, 2).contiguous()))
        least = torch.finfo(key.dtype).min
        unseen = torch.zeros_like(mask, dtype=key.dtype).masked_fill_(~mask, least)
        return State(tuple(prompt), unseen[:, None, None], (), 0)

    def step(
        self, state: State, tokens: torch.Tensor, parents: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, State]:
        """Read a token at each node; return the last hidden states (users, nodes, d_model).

        tokens: (users or 1, nodes); parents: (users or 1, nodes) among the nodes of the step
        before, None where these are the same. A single row serves all users.
        """
        users, nodes = len(state.unseen), tokens.shape[1]
        rows = None
        if parents is not None and state.path:
            first = torch.arange(users, device=tokens.device) * state.path[0][0].shape[1]
            rows = (first[:, None] + parents).flatten()
        relative = self.stack.block[0].layer[0].SelfAttention
        bias = relative.compute_bias(1, state.depth + 1, past_seen_tokens=state.depth)
        bias = bias[0, :, 0].T[..., None]  # (depth + 1, heads, 1)
        x = self.stack.embed_tokens(tokens).to(self.dtype).expand(users, nodes, -1)
        path = []
        for i, (own, cross, feed) in enumerate(block.layer for block in self.stack.block):
            add, pair = self._own(own, x, state.path[i] if state.path else None, rows, bias)
            x = x + add
            x = x + self._cross(cross, x, state.prompt[i], state.unseen)
            x = feed(x)
            path.append(pair)
        state = State(state.prompt, state.unseen, tuple(path), state.depth + 1)
        return self.stack.final_layer_norm(x), state

    def logits(self, hidden: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        """Return (..., tokens) logits, of all tokens or of those given."""
        head = self.head if tokens is None else self.head.index_select(0, tokens)
        with torch.autocast(hidden.device.type, enabled=False):
            return functional.linear(hidden.to(self.dtype) * self.scale, head.to(self.dtype))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:-1], *self._heads)

    def _own(
        self,
        layer: Any,
        x: torch.Tensor,
        before: Pair | None,
        rows: torch.Tensor | None,
        bias: torch.Tensor,
    ) -> tuple[torch.Tensor, Pair]:
        """Attend to the path: products and sums, for it is short and each node has its own."""
        attention = layer.SelfAttention
        normed = layer.layer_norm(x)
        key, value = (self._split(part(normed)).unsqueeze(2) for part in (attention.k, attention.v))
        if before is None:  # the first token sees itself only
            return attention.o(value.flatten(2)), (key, value)
        key, value = (
            torch.cat([_of_parents(old, rows, x), new], 2)
            for old, new in zip(before, (key, value), strict=True)
        )
        query = self._split(attention.q(normed)).unsqueeze(2)
        weights = ((query * key).sum(-1, keepdim=True) + bias).softmax(2).to(value.dtype)
        return attention.o((weights * value).sum(2).flatten(2)), (key, value)

    def _cross(
        self, layer: Any, x: torch.Tensor, prompt: Pair, unseen: torch.Tensor
    ) -> torch.Tensor:
        """Attend to the prompt: all nodes of a user in one product."""
        attention = layer.EncDecAttention
        key, value = prompt
        query = self._split(attention.q(layer.layer_norm(x))).transpose(1, 2)
        weights = (query @ key.transpose(2, 3) + unseen).softmax(-1).to(value.dtype)
        seen: torch.Tensor = attention.o((weights @ value).transpose(1, 2).flatten(2))
        return seen


def _of_parents(old: torch.Tensor, rows: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    """Select rows of (users x nodes before) as (users, nodes)."""
    if rows is None:
        return old
    return old.flatten(0, 1).index_select(0, rows).view(*x.shape[:2], *old.shape[2:])
