"""Fused operations: each passes over memory less often than the plain operations it stands for.

torch.compile fuses by itself, and is given the plain ones.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LOSS_ROWS = 1_024  # target tokens whose logits are in memory at once


class _LinearCrossEntropy(torch.autograd.Function):
    """Output projection and cross-entropy in one, gradients computed in the forward pass.

    The logits are computed once, overwritten by their own gradient and dropped: a plain loss keeps
    them, their log-softmax and its gradient, and passes over them six times.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        """hidden: (tokens, d); weight: (vocabulary, d); labels: (tokens,). Returns the sum."""
        needed = hidden.requires_grad or weight.requires_grad
        d_hidden = torch.empty_like(hidden) if needed else None
        d_weight = torch.zeros_like(weight) if needed else None
        loss = hidden.new_zeros((), dtype=torch.float32)
        for rows in range(0, len(labels), LOSS_ROWS):
            own, target = hidden[rows : rows + LOSS_ROWS], labels[rows : rows + LOSS_ROWS, None]
            logits = (own @ weight.T).float()
            chosen = logits.gather(1, target)
            logits -= logits.amax(1, keepdim=True)
            shift = chosen - logits.gather(1, target)  # the maximum that was subtracted
            total = logits.exp_().sum(1, keepdim=True)
            loss += (total.log() + shift - chosen).sum()
            if d_hidden is not None and d_weight is not None:
                logits /= total
                logits.scatter_add_(1, target, logits.new_full((1, 1), -1).expand_as(target))
                grad = logits.to(weight.dtype)
                d_hidden[rows : rows + LOSS_ROWS] = grad @ weight
                if grad.is_cuda:  # in autocast's bf16, on tensor cores
                    d_weight += grad.T @ own
                else:  # no second matrix as large as the weights: 3 times as fast for few tokens
                    d_weight.addmm_(grad.T, own)
        if d_hidden is not None and d_weight is not None:
            ctx.save_for_backward(d_hidden, d_weight)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """Scale the gradients that forward computed."""
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * grads[0], d_weight * grads[0], None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Return the summed cross-entropy of `hidden @ weight.T` against labels; -100 is ignored."""
    kept = labels >= 0
    if not torch.is_grad_enabled():  # a parameter requires gradients even where none are computed
        weight = weight.detach()
    return _LinearCrossEntropy.apply(hidden[kept], weight, labels[kept])  # type: ignore[no-any-return, no-untyped-call]


class _CosineCrossEntropy(torch.autograd.Function):
    """Cross-entropy of cosines over a temperature, with the gradients made on the way.

    A cosine is at most 1, so no maximum has to be taken first.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, scale: float, hidden_cells: Any
    ) -> Tensor:
        """hidden (rows, d) and weight (items, d) have rows of length 1. Returns the sum."""
        needed = hidden.requires_grad or weight.requires_grad
        logits = ((hidden * scale) @ weight.T).float()
        target = labels[:, None]
        chosen = logits.gather(1, target)
        logits.exp_()
        logits[hidden_cells] = 0
        total = logits.sum(1, keepdim=True)
        loss: Tensor = (total.log() - chosen).sum()
        if needed:
            logits /= total
            logits.scatter_add_(1, target, logits.new_full((1, 1), -1).expand_as(target))
            grad = (logits * scale).to(weight.dtype)
            ctx.save_for_backward(grad @ weight, grad.T @ hidden)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Scale what forward has made."""
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden.float() * grads[0], d_weight.float() * grads[0], None, None, None


def cosine_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    temperature: float,
    left_out: tuple[Tensor, Tensor],
) -> Tensor:
    """Return the summed cross-entropy of the cosines of hidden (rows, d) and weight (items, d).

    labels: (rows,); left_out: rows and columns of items that are no choice, labels aside.
    """
    hidden, weight = F.normalize(hidden, dim=1), F.normalize(weight, dim=1)
    rows, columns = left_out
    kept = columns != labels[rows]
    cells = rows[kept], columns[kept]
    if torch.compiler.is_compiling():
        logits = (
            (hidden @ weight.T / temperature)
            .float()
            .index_put(cells, torch.tensor(-torch.inf, device=hidden.device))
        )
        return F.cross_entropy(logits, labels, reduction="sum")
    if not torch.is_grad_enabled():
        weight = weight.detach()
    return _CosineCrossEntropy.apply(hidden, weight, labels, 1 / temperature, cells)  # type: ignore[no-any-return, no-untyped-call]


class _Attention(torch.autograd.Function):
    """softmax(q k' + biases) v, with dropout on the weights.

    Where a plain attention allocates a tensor for each step, this one works in place: the biases
    are added to the scores, the scores' gradient overwrites that of the weights.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        position_bias: Tensor | None,
        mask_bias: Tensor | None,
        dropped: int,
    ) -> Tensor:
        """See `attend`."""
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        scores = query @ key.transpose(2, 3)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        for added in (position_bias, mask_bias):
            if added is not None:
                scores += added
        weights = scores.softmax(3).to(query.dtype)
        kept, used = None, weights
        if dropped:
            kept = _kept(weights, dropped)
            used = kept.to(weights.dtype).mul_(weights)
        out = (used @ value).mul_(_scale(dropped))
        ctx.save_for_backward(query, key, value, weights, kept)
        ctx.dropped, ctx.bias = dropped, position_bias is not None and position_bias.shape[0]
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of query, key, value and position bias."""
        query, key, value, weights, kept = ctx.saved_tensors
        grad = grads[0].contiguous() * _scale(ctx.dropped)
        d_scores, used = grad @ value.transpose(2, 3), weights
        if kept is not None:
            used = kept.to(weights.dtype)
            d_scores *= used
            used *= weights
        d_value = used.transpose(2, 3) @ grad
        softmax_backward_(d_scores, weights)
        d_bias = None
        if ctx.needs_input_grad[3]:
            wide = torch.promote_types(d_scores.dtype, torch.float32)
            d_bias = d_scores.sum(0, keepdim=True, dtype=wide) if ctx.bias == 1 else d_scores
        return d_scores @ key, d_scores.transpose(2, 3) @ query, d_value, d_bias, None, None


def softmax_backward_(grad: Tensor, output: Tensor) -> Tensor:
    """Turn the gradient of a softmax's output, over the last dimension, into its input's in place.

    By torch's own operator, whose name says that it is not for us: the same in two public
    operations takes two to seven times as long, and serves where the operator is gone.
    """
    operator = getattr(torch.ops.aten, "_softmax_backward_data", None)
    if operator is None:
        return grad.sub_((grad * output).sum(-1, keepdim=True)).mul_(output)
    result: Tensor = operator.out(grad, output, -1, grad.dtype, grad_input=grad)
    return result


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_bias: Tensor | None,
    mask_bias: Tensor | None,
    rate: float,
) -> Tensor:
    """Return softmax(q k' + position_bias + mask_bias) v, (samples, heads, queries, D).

    query: (samples, heads, queries, D); key, value: (samples, heads, keys, D); position_bias:
    (samples or 1, heads, queries, keys), learned; mask_bias: anything that broadcasts to that
    shape, gets no gradient; rate: dropout of the attention weights.
    """
    if torch.compiler.is_compiling():
        scores = query @ key.transpose(2, 3)
        for added in (position_bias, mask_bias):
            scores = scores if added is None else scores + added
        return F.dropout(scores.softmax(3).to(query.dtype), rate) @ value
    return _Attention.apply(query, key, value, position_bias, mask_bias, _in_256(rate))  # type: ignore[no-any-return, no-untyped-call]


class _ReluDropout(torch.autograd.Function):
    """ReLU and dropout in place; the gradient needs no more than the zeros of the result."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        """Overwrite x."""
        x.relu_()
        if dropped:
            x *= _kept(x, dropped).to(x.dtype).mul_(_scale(dropped))
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        ctx.dropped = dropped
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Pass the gradient where the result is above zero."""
        (out,) = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grads[0], out, 0)
        return (grad.mul_(_scale(ctx.dropped)) if ctx.dropped else grad), None


def relu_dropout(x: Tensor, rate: float) -> Tensor:
    """Return `dropout(relu(x), rate)`, in the memory of x."""
    if torch.compiler.is_compiling():
        return F.dropout(x.relu(), rate)
    return _ReluDropout.apply(x, _in_256(rate))  # type: ignore[no-any-return, no-untyped-call]


def dropout(x: Tensor, rate: float) -> Tensor:
    """Zero elements at random and scale the others up.

    The rate is rounded to n / 256, and to no less than 1 / 256 unless it is 0: eight elements are
    drawn from each random integer, where `bernoulli_` on a CPU draws a double for each, which took
    a seventh of a training step.
    """
    if torch.compiler.is_compiling():
        return F.dropout(x, rate)
    dropped = _in_256(rate)
    return x * _kept(x, dropped).to(x.dtype).mul_(_scale(dropped)) if dropped else x


def _in_256(rate: float) -> int:
    """Return the rate in 256ths: some dropout stays some, and not all is dropped."""
    assert 0 <= rate < 1
    return min(max(round(rate * 256), 1), 255) if rate else 0


def _scale(dropped: int) -> float:
    return 256 / (256 - dropped)


def _kept(like: Tensor, dropped: int) -> Tensor:
    """Draw a uint8 mask: 1 where an element is kept, 0 where it is dropped."""
    words = torch.empty((like.numel() + 7) // 8, dtype=torch.int64, device=like.device)
    words.random_(-(2**63), 2**63 - 1)
    drawn = words.view(torch.uint8)[: like.numel()].view(like.shape)
    return drawn.clamp_(dropped - 1, dropped).sub_(dropped - 1)
