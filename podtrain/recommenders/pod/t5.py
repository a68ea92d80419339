"""T5's forward pass with transformers' weights, and without what need not be done.

The same function as transformers' own: tests hold losses and gradients together. Three things
are done otherwise. Attention adds its bias, draws its dropout and keeps its weights in one
operation of ours, which gives the learned position bias its gradient. Keys and values of the
prompt are not made where few queries ask for them. What is large goes in pieces.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import T5ForConditionalGeneration

from podtrain.recommenders.pod.kernels import attend, dropout, relu_dropout

# Elements of the largest tensor on a CPU: what passes from one operation to the next is still near,
# and no tensor is memory fresh from the system. 64 top-N prompts of 423 tokens at T5-small's size
# took 1.7 times as long whole.
MICRO_BATCH_ELEMENTS = 1 << 22


def micro_batches(
    t5: T5ForConditionalGeneration, samples: int, length: int, device: torch.device
) -> Iterator[slice]:
    """Cut a batch so that no layer's output exceeds `MICRO_BATCH_ELEMENTS`; one cut on a GPU."""
    config: Any = t5.config
    widest = max(config.d_ff, config.num_heads * length, 1)
    size = MICRO_BATCH_ELEMENTS // (widest * max(length, 1)) if device.type == "cpu" else samples
    return (slice(start, start + max(size, 1)) for start in range(0, samples, max(size, 1)))


def encode(t5: T5ForConditionalGeneration, embedded: Tensor, mask: Tensor) -> Tensor:
    """Return the encoder's states (samples, length, d).

    embedded: (samples, length, d); mask: (samples, length), True = attend.
    """
    if torch.is_grad_enabled():
        return _encode(t5, embedded, mask)
    cuts = list(micro_batches(t5, mask.shape[0], mask.shape[1], mask.device))
    parts = [_encode(t5, embedded[cut], mask[cut]) for cut in cuts]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _encode(t5: T5ForConditionalGeneration, embedded: Tensor, mask: Tensor) -> Tensor:
    stack: Any = t5.encoder
    rate = _rate(t5)
    bias, unseen = _position_bias(stack, mask.shape[1]), _unseen(mask[:, None, None])
    x = dropout(embedded, rate)
    for block in stack.block:
        own, feed = block.layer
        x = x + dropout(_own(own, x, bias, unseen, rate), rate)
        x = x + dropout(_feed(feed, x, rate), rate)
    return dropout(stack.final_layer_norm(x), rate)


def decode(t5: T5ForConditionalGeneration, tokens: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """Return the decoder's states (samples, target, d) at tokens (samples, target).

    states, mask: of the encoder. A token sees those before it.
    """
    stack: Any = t5.decoder
    rate = _rate(t5)
    bias, unseen = _position_bias(stack, tokens.shape[1]), _unseen(mask[:, None, None])
    square = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device)
    future = _unseen(square.tril()[None, None])
    x = dropout(stack.embed_tokens(tokens), rate)
    for block in stack.block:
        own, cross, feed = block.layer
        x = x + dropout(_own(own, x, bias, future, rate), rate)
        x = x + dropout(_cross(cross, x, states, unseen, rate), rate)
        x = x + dropout(_feed(feed, x, rate), rate)
    return dropout(stack.final_layer_norm(x), rate)


def _rate(t5: T5ForConditionalGeneration) -> float:
    return float(t5.config.dropout_rate) if t5.training else 0.0


def _position_bias(stack: Any, length: int) -> Tensor:
    """(1, heads, length, length): the first layer's, for all layers."""
    bias: Tensor = stack.block[0].layer[0].SelfAttention.compute_bias(length, length)
    return bias.contiguous()


def _unseen(mask: Tensor) -> Tensor | None:
    """What is added to scores where the mask hides; None where it hides nothing (on a CPU)."""
    if mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(mask.all()):
        return None
    # half of the lowest: with a bias on top it is still a number
    least = torch.finfo(torch.float32).min / 2
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, least)


def _own(layer: Any, x: Tensor, bias: Tensor, unseen: Tensor | None, rate: float) -> Tensor:
    attention, normed = layer.SelfAttention, layer.layer_norm(x)
    query, key, value = (
        _heads(attention, part(normed)) for part in (attention.q, attention.k, attention.v)
    )
    seen = attend(query, key, value, bias, unseen, rate)
    return _linear(attention.o, seen.transpose(1, 2).flatten(2))


def _cross(layer: Any, x: Tensor, states: Tensor, unseen: Tensor | None, rate: float) -> Tensor:
    """Attend to the encoded prompt.

    q (W_k s)' = (q W_k) s' and a (W_v s) = W_v (a s): a query costs more the second way, the
    prompt nothing. For one query of 108 tokens it is a 40th of the operations.
    """
    attention = layer.EncDecAttention
    query = _heads(attention, attention.q(layer.layer_norm(x)))
    samples, heads, target, width = query.shape
    length, d = states.shape[1:]
    if target * (width * d + length * d) >= length * (width * d + target * width):
        key, value = (_heads(attention, part(states)) for part in (attention.k, attention.v))
        seen = attend(query, key, value, None, unseen, rate).transpose(1, 2)
        return _linear(attention.o, seen.flatten(2))
    into, out_of = (part.weight.view(heads, width, d) for part in (attention.k, attention.v))
    asked = query.transpose(0, 1).flatten(1, 2) @ into  # (heads, samples * target, d)
    asked = asked.view(heads, samples, target, d).transpose(0, 1).flatten(1, 2)[:, None]
    near = states.to(asked.dtype)[:, None]
    seen = attend(asked, near, near, None, unseen, rate).view(samples, heads, target, d)
    seen = seen.transpose(0, 1).flatten(1, 2) @ out_of.transpose(1, 2)
    seen = seen.view(heads, samples, target, width).permute(1, 2, 0, 3)
    return _linear(attention.o, seen.flatten(2))


def _feed(layer: Any, x: Tensor, rate: float) -> Tensor:
    dense, normed = layer.DenseReluDense, layer.layer_norm(x)
    if hasattr(dense, "wi_0"):  # T5 1.1
        hidden = dropout(dense.act(dense.wi_0(normed)) * dense.wi_1(normed), rate)
    elif isinstance(dense.act, torch.nn.ReLU):
        hidden = relu_dropout(dense.wi(normed), rate)
    else:
        hidden = dropout(dense.act(dense.wi(normed)), rate)
    return _linear(dense.wo, hidden)


def _heads(attention: Any, x: Tensor) -> Tensor:
    """(samples, length, inner) as (samples, heads, length, width)."""
    return x.view(*x.shape[:2], attention.n_heads, -1).transpose(1, 2)


def _linear(layer: Any, x: Tensor) -> Tensor:
    out: Tensor = layer(x)
    return out
