"""The two places where a CPU spends time on what is not needed: the loss, and dropout's draws."""

from typing import Any

import torch
from torch import Tensor, nn

LOSS_ROWS = 1_024  # target tokens whose logits are in memory at once


class _ProjectedLoss(torch.autograd.Function):
    """Projection and cross-entropy in one, with the gradients made on the way.

    The logits are made once, overwritten by their own gradient and dropped: a plain loss keeps
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
            shift = chosen - logits.gather(1, target)  # what was subtracted
            total = logits.exp_().sum(1, keepdim=True)
            loss += (total.log() + shift - chosen).sum()
            if d_hidden is not None and d_weight is not None:
                logits /= total
                logits.scatter_add_(1, target, logits.new_full((1, 1), -1).expand_as(target))
                grad = logits.to(weight.dtype)
                d_hidden[rows : rows + LOSS_ROWS] = grad @ weight
                d_weight.addmm_(grad.T, own)
        if d_hidden is not None and d_weight is not None:
            ctx.save_for_backward(d_hidden, d_weight)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """Scale what forward has made."""
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * grads[0], d_weight * grads[0], None


def projected_loss(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Return the summed cross-entropy of `hidden @ weight.T` against labels; -100 is left out."""
    kept = labels >= 0
    if not torch.is_grad_enabled():  # a parameter wants gradients also where nobody takes them
        weight = weight.detach()
    return _ProjectedLoss.apply(hidden[kept], weight, labels[kept])  # type: ignore[no-any-return, no-untyped-call]


class ByteDropout(nn.Module):
    """Dropout that draws eight elements from each random integer, at a rate of n / 256.

    `bernoulli_` on a CPU draws a double for each element: an eighth of a training step.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.dropped = round(rate * 256)

    def forward(self, x: Tensor) -> Tensor:
        """Drop and scale up in training, else return what came."""
        if not self.training or not self.dropped:
            return x
        words = torch.randint(-(2**63), 2**63 - 1, ((x.numel() + 7) // 8,), device=x.device)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self.dropped
        return x * kept * (256 / (256 - self.dropped))


def with_byte_dropout(module: nn.Module) -> None:
    """Put `ByteDropout` in the place of every dropout layer."""
    for name, child in module.named_children():
        if isinstance(child, nn.Dropout):
            setattr(module, name, ByteDropout(child.p))
        else:
            with_byte_dropout(child)
