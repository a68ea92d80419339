"""T5's forward pass on the weights of a transformers model, faster.

The same function as transformers' own: tests compare losses and gradients. Three things differ.
Attention adds its biases, draws its dropout and keeps its weights in one fused operation, which
also computes the gradient of the learned position bias. The prompt's keys and values are not
computed where few queries attend to them. Large batches are cut into micro-batches.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import T5ForConditionalGeneration

from podtrain.decode.attention import absorb_keys, absorb_values, split_heads
from podtrain.recommenders.pod.kernels import attend, dropout, relu_dropout

# Elements of the largest tensor of a micro-batch on a CPU: small enough to stay in the caches from
# one operation to the next, and to be allocated without first-touch page faults. 64 top-N prompts
# of 423 tokens at T5-small's size took 1.7 times as long in one piece.
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
    bias, mask_bias = _position_bias(stack, mask.shape[1]), _mask_bias(mask[:, None, None])
    x = dropout(embedded, rate)
    for block in stack.block:
        attention, feed = block.layer
        x = x + dropout(_self_attention(attention, x, bias, mask_bias, rate), rate)
        x = x + dropout(_feed_forward(feed, x, rate), rate)
    return dropout(stack.final_layer_norm(x), rate)


def decode(t5: T5ForConditionalGeneration, tokens: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """Return the decoder's states (samples, target, d) at tokens (samples, target).

    Teacher forcing: tokens are the written ones, and each attends to those before it. states,
    mask: of the encoder.
    """
    stack: Any = t5.decoder
    rate = _rate(t5)
    bias, mask_bias = _position_bias(stack, tokens.shape[1]), _mask_bias(mask[:, None, None])
    square = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device)
    causal = _mask_bias(square.tril()[None, None])
    x = dropout(stack.embed_tokens(tokens), rate)
    for block in stack.block:
        attention, cross, feed = block.layer
        x = x + dropout(_self_attention(attention, x, bias, causal, rate), rate)
        x = x + dropout(_cross_attention(cross, x, states, mask_bias, rate), rate)
        x = x + dropout(_feed_forward(feed, x, rate), rate)
    return dropout(stack.final_layer_norm(x), rate)


def _rate(t5: T5ForConditionalGeneration) -> float:
    return float(t5.config.dropout_rate) if t5.training else 0.0


def _position_bias(stack: Any, length: int) -> Tensor:
    """Return (1, heads, length, length): the first layer has the bias of all layers."""
    bias: Tensor = stack.block[0].layer[0].SelfAttention.compute_bias(length, length)
    return bias.contiguous()


def _mask_bias(mask: Tensor) -> Tensor | None:
    """Return what masks scores when added to them; None where nothing is masked (on a CPU)."""
    if mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(mask.all()):
        return None
    # half of the lowest number: with a position bias on top it is still finite
    least = torch.finfo(torch.float32).min / 2
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, least)


def _self_attention(
    layer: Any, x: Tensor, bias: Tensor, mask_bias: Tensor | None, rate: float
) -> Tensor:
    attention, normed = layer.SelfAttention, layer.layer_norm(x)
    query, key, value = (
        split_heads(attention, part(normed)) for part in (attention.q, attention.k, attention.v)
    )
    found = attend(query, key, value, bias, mask_bias, rate)
    return _linear(attention.o, found.transpose(1, 2).flatten(2))


def _cross_attention(
    layer: Any, x: Tensor, states: Tensor, mask_bias: Tensor | None, rate: float
) -> Tensor:
    """Attend to the encoded prompt, by keys and values or by its states: what costs less."""
    attention = layer.EncDecAttention
    query = split_heads(attention, attention.q(layer.layer_norm(x)))
    samples, heads, target, width = query.shape
    length, d = states.shape[1:]
    if target * (width * d + length * d) >= length * (width * d + target * width):
        key, value = (split_heads(attention, part(states)) for part in (attention.k, attention.v))
        found = attend(query, key, value, None, mask_bias, rate).transpose(1, 2).flatten(2)
        return _linear(attention.o, found)
    asked = absorb_keys(attention, query).flatten(1, 2)[:, None]
    near = states.to(asked.dtype)[:, None]
    mean = attend(asked, near, near, None, mask_bias, rate).view(samples, heads, target, d)
    return _linear(attention.o, absorb_values(attention, mean))


def _feed_forward(layer: Any, x: Tensor, rate: float) -> Tensor:
    dense, normed = layer.DenseReluDense, layer.layer_norm(x)
    if hasattr(dense, "wi_0"):  # T5 1.1
        hidden = dropout(dense.act(dense.wi_0(normed)) * dense.wi_1(normed), rate)
    elif isinstance(dense.act, torch.nn.ReLU):
        hidden = relu_dropout(dense.wi(normed), rate)
    else:
        hidden = dropout(dense.act(dense.wi(normed)), rate)
    return _linear(dense.wo, hidden)


def _linear(layer: Any, x: Tensor) -> Tensor:
    out: Tensor = layer(x)
    return out
