"""POD: a T5 that reads K trained vectors per task before the prompt (paper 3.2, 3.3)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from podprep.contract.errors import PodError
from podprep.contract.tasks import TASKS
from podtrain.data.stream import Batch
from podtrain.recommenders.pod.kernels import projected_loss
from podtrain.recommenders.pod.t5 import decode, encode, pieces

WHOLE_WORDS = 512  # ids a prompt can have (module.py:26); 1 user and 100 candidates are 101


@dataclass(frozen=True, slots=True)
class Inputs:
    """A batch as tensors. ids, whole, mask: (samples, length); labels: (samples, target);
    user: (samples,)."""

    task: str
    user: Tensor
    ids: Tensor
    whole: Tensor
    mask: Tensor
    labels: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> "Inputs":
        """Move a batch to a device."""
        return cls(
            task=batch.task,
            user=torch.from_numpy(batch.user_id).to(device, torch.long),
            ids=torch.from_numpy(batch.ids).to(device, torch.long),
            whole=torch.from_numpy(batch.whole).to(device, torch.long),
            mask=torch.from_numpy(batch.mask).to(device),
            labels=torch.from_numpy(batch.labels).to(device),
        )


@dataclass(frozen=True, slots=True)
class Apart:
    """What is added, in training, to the vectors of items that a user's prompt has.

    table: (1 + folds * items, d), row 0 zeros, then fold after fold; a user is in fold
    `user % folds`; the items' tokens are `first` and after.
    """

    table: Tensor
    folds: int
    first: int
    items: int

    def of(self, x: Inputs) -> Tensor:
        """Return (samples, length, d)."""
        item = x.ids - self.first
        row = 1 + (x.user % self.folds).unsqueeze(1) * self.items + item
        return F.embedding(torch.where((item >= 0) & (item < self.items), row, 0), self.table)


class Pod(nn.Module):
    """T5, composed: what stands before its encoder is ours, the rest is as it came.

    `read`, where there is one, has the vectors of the tokens of prompts: a product is not read as
    it is written, and users, the last tokens, are never written at all.
    """

    def __init__(
        self,
        t5: T5ForConditionalGeneration,
        *,
        prompts: int = 3,
        whole_words: bool = True,
        read: int = 0,
        user_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        d = t5.config.d_model
        self.t5 = t5
        std = float(t5.shared.weight.detach().std())
        # the paper's uniform +-0.1 for prompts (module.py:25-28); as wide as the words' vectors,
        # since the encoder takes both alike
        self.prompts = nn.Parameter(torch.randn(len(TASKS), prompts, d) * std)
        self.whole = nn.Parameter(torch.randn(WHOLE_WORDS, d) * std) if whole_words else None
        self.read = nn.Parameter(torch.randn(read, d) * std) if read else None
        self.user_dropout = user_dropout
        self._apart: Apart | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.prompts.device

    def set_apart(self, apart: Apart) -> None:
        """Read items otherwise while training: see `Apart`. It is no weight, and not kept."""
        self._apart = replace(apart, table=apart.table.to(self.device))

    def embed(self, x: Inputs) -> tuple[Tensor, Tensor]:
        """Return what the encoder reads, (samples, K + length, d), and its mask (1 at tokens).

        [P; X + w]: the whole-word vector is added to the tokens of ids (module.py:45), and to
        nothing else: not to words, prompts or pads.
        """
        ids = x.ids
        if self.training and self.user_dropout and x.task == "sequential":
            # users are the tokens that are never written; without one, the pad stands there
            hidden = torch.rand(len(ids), 1, device=ids.device) < self.user_dropout
            ids = ids.masked_fill(hidden & (ids >= self.t5.config.vocab_size), 0)
        embedded = F.embedding(ids, self.t5.shared.weight if self.read is None else self.read)
        if self.training and self._apart is not None:
            embedded = embedded + self._apart.of(x)
        if self.whole is not None:
            longest = int(x.whole.max()) if x.whole.numel() else 0
            if longest >= WHOLE_WORDS:
                raise PodError(
                    f"a prompt has {longest} ids, the model knows {WHOLE_WORDS - 1} places: "
                    "give fewer candidates or a shorter history"
                )
            # row 0 is for what is no id: no vector
            embedded = embedded + F.embedding(x.whole, self.whole) * (x.whole > 0).unsqueeze(-1)
        k = self.prompts.shape[1]
        prompt = self.prompts[TASKS.index(x.task)].expand(len(x.ids), -1, -1)
        mask = F.pad(x.mask, (k, 0), value=True)
        return torch.cat([prompt.to(embedded.dtype), embedded], dim=1), mask

    def encode(self, x: Inputs) -> tuple[Tensor, Tensor]:
        """Return encoder states (samples, K + length, d) and their mask."""
        embedded, mask = self.embed(x)
        return encode(self.t5, embedded, mask), mask

    def pieces(self, x: Inputs) -> Iterator[Inputs]:
        """Cut a batch for one forward and backward pass after another: loss and gradients are sums.

        Each is without the columns that are pads in all of its samples; a GPU takes it whole.
        """
        cuts = list(pieces(self.t5, x.mask.shape[0], x.mask.shape[1], x.mask.device))
        if len(cuts) == 1:
            yield x
            return
        for cut in cuts:
            prompt = int(x.mask[cut].any(0).nonzero().max()) + 1
            target = int((x.labels[cut] >= 0).any(0).nonzero().max()) + 1
            yield replace(
                x,
                user=x.user[cut],
                ids=x.ids[cut, :prompt],
                whole=x.whole[cut, :prompt],
                mask=x.mask[cut, :prompt],
                labels=x.labels[cut, :target],
            )

    def forward(self, x: Inputs) -> Tensor:
        """Return the negative log-likelihood of the targets, summed over their tokens (paper 3.4).

        Pads are neither trained on nor attended to; the published code does both
        (utils.py:236-238, module.py:97-103).
        """
        states, mask = self.encode(x)
        tokens = _shifted(x.labels, self.t5.config.decoder_start_token_id)
        hidden = decode(self.t5, tokens, states, mask)
        if self.t5.config.scale_decoder_outputs:
            hidden = hidden * self.t5.config.d_model**-0.5
        return projected_loss(hidden.flatten(0, 1), self.t5.lm_head.weight, x.labels.flatten())


def _shifted(labels: Tensor, start: int) -> Tensor:
    """Return what the decoder reads to write the labels: all but the last, after the start."""
    return F.pad(labels[:, :-1].clamp_min(0), (1, 0), value=start)
