"""What training (recommenders/pod/t5.py) and decoding (decoder.py) share of T5's attention.

Their layers are otherwise two: training has dropout, gradients and whole sequences; decoding has a
KV cache, paths through a trie and residuals added in place.
"""

from typing import Any

from torch import Tensor


def split_heads(attention: Any, x: Tensor) -> Tensor:
    """(samples, length, heads x D) as (samples, heads, length, D)."""
    split: Tensor = x.unflatten(-1, (attention.n_heads, -1)).transpose(1, 2)
    return split


# q (W_k s)' = (q W_k) s' and a (W_v s) = W_v (a s): instead of taking every encoder state to a key
# and a value, each query is taken to the states' space and what it finds there back again. A query
# costs more this way and the prompt nothing: for one query of 108 tokens it is a 40th of the
# operations.


def absorb_keys(attention: Any, query: Tensor) -> Tensor:
    """Take queries (samples, heads, n, D) to the encoder states' space, (samples, heads, n, d)."""
    weight = attention.k.weight.unflatten(0, (attention.n_heads, -1))
    asked = query.transpose(0, 1).flatten(1, 2) @ weight  # (heads, samples x n, d)
    there: Tensor = asked.unflatten(1, (len(query), -1)).transpose(0, 1)
    return there


def absorb_values(attention: Any, mean: Tensor) -> Tensor:
    """Take means of encoder states (samples, heads, n, d) to values, (samples, n, heads x D)."""
    weight = attention.v.weight.unflatten(0, (attention.n_heads, -1))
    values = mean.transpose(0, 1).flatten(1, 2) @ weight.transpose(1, 2)
    back: Tensor = values.unflatten(1, (len(mean), -1)).permute(1, 2, 0, 3).flatten(2)
    return back
