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
from podtrain.recommenders.pod.kernels import cosine_cross_entropy, linear_cross_entropy
from podtrain.recommenders.pod.t5 import decode, encode, micro_batches
from podtrain.train.device import to_device

WHOLE_WORDS = 512  # ids a prompt can have (module.py:26); 1 user and 100 candidates are 101


@dataclass(frozen=True, slots=True)
class Inputs:
    """A batch as tensors. ids, whole_word_ids, mask: (samples, length); labels: (samples, target);
    user: (samples,)."""

    task: str
    user: Tensor
    ids: Tensor
    whole_word_ids: Tensor
    mask: Tensor
    labels: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> "Inputs":
        """Move a batch to a device."""
        return cls(
            task=batch.task,
            user=to_device(batch.user_id, device, torch.long),
            ids=to_device(batch.ids, device, torch.long),
            whole_word_ids=to_device(batch.whole_word_ids, device, torch.long),
            mask=to_device(batch.mask, device),
            labels=to_device(batch.labels, device),
        )


@dataclass(frozen=True, slots=True)
class LeaveFoldOut:
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

    `input_embedding`, where there is one, embeds the tokens of prompts: an item's input vector
    is not its output vector, and users, the last tokens, are never generated at all. items: the
    tokens of the items, where each is one token.
    """

    def __init__(
        self,
        t5: T5ForConditionalGeneration,
        *,
        soft_prompt_length: int = 3,
        whole_word_embeddings: bool = True,
        input_vocab_size: int = 0,
        user_dropout: float = 0.0,
        items: range | None = None,
        explains: bool = False,
    ) -> None:
        super().__init__()
        d = t5.config.d_model
        self.t5 = t5
        std = float(t5.shared.weight.detach().std())
        # the paper's uniform +-0.1 for prompts (module.py:25-28); as wide as the words' vectors,
        # since the encoder takes both alike
        self.soft_prompts = nn.Parameter(torch.randn(len(TASKS), soft_prompt_length, d) * std)
        self.whole_word_embeddings = (
            nn.Parameter(torch.randn(WHOLE_WORDS, d) * std) if whole_word_embeddings else None
        )
        self.input_embedding = (
            nn.Parameter(torch.randn(input_vocab_size, d) * std) if input_vocab_size else None
        )
        # what is bought together need not be alike: explanations read items by vectors of their own
        self.explanation_embedding = (
            nn.Parameter(torch.randn(input_vocab_size, d) * std)
            if input_vocab_size and explains
            else None
        )
        self.user_dropout = user_dropout
        self.items = items if getattr(t5.config, "item_temperature", 0.0) else None
        self._leave_fold_out: LeaveFoldOut | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.soft_prompts.device

    def inputs(self, batch: Batch) -> Inputs:
        """Move a batch to the model's device.

        Errors: `PodError` for a prompt of more ids than the model knows places. They are looked at
        here, in main memory: to look at them on a GPU is to wait for all that it has still to do.
        """
        longest = int(batch.whole_word_ids.max(initial=0))
        if self.whole_word_embeddings is not None and longest >= WHOLE_WORDS:
            raise PodError(
                f"a prompt has {longest} ids, the model knows {WHOLE_WORDS - 1} places: "
                "give fewer candidates or a shorter history"
            )
        return Inputs.of(batch, self.device)

    def leave_fold_out(self, fold: LeaveFoldOut) -> None:
        """Correct items' input vectors in training: see `LeaveFoldOut`. Not a weight, not saved."""
        self._leave_fold_out = replace(fold, table=fold.table.to(self.device))

    def embed(self, x: Inputs) -> tuple[Tensor, Tensor]:
        """Return what the encoder reads, (samples, K + length, d), and its mask (1 at tokens).

        [P; X + w]: the whole-word vector is added to the tokens of ids (module.py:45), and to
        nothing else: not to words, prompts or pads.
        """
        ids = x.ids
        if self.input_embedding is not None:
            # users are the tokens that are never written; without one, the pad stands there
            hidden = (x.user == 0).unsqueeze(1)
            if self.training and self.user_dropout and x.task != "topn":
                hidden = torch.rand(len(ids), 1, device=ids.device) < self.user_dropout
            ids = ids.masked_fill(hidden & (ids >= self.t5.config.vocab_size), 0)
        explained = x.task == "explanation" and self.explanation_embedding is not None
        table = self.explanation_embedding if explained else self.input_embedding
        embedded = F.embedding(ids, self.t5.shared.weight if table is None else table)
        if self.training and self._leave_fold_out is not None and not explained:
            embedded = embedded + self._leave_fold_out.of(x)
        if self.whole_word_embeddings is not None:
            # row 0 is for what is no id: no vector
            embedded = embedded + F.embedding(x.whole_word_ids, self.whole_word_embeddings) * (
                x.whole_word_ids > 0
            ).unsqueeze(-1)
        k = self.soft_prompts.shape[1]
        prompt = self.soft_prompts[TASKS.index(x.task)].expand(len(x.ids), -1, -1)
        mask = F.pad(x.mask, (k, 0), value=True)
        return torch.cat([prompt.to(embedded.dtype), embedded], dim=1), mask

    def encode(self, x: Inputs) -> tuple[Tensor, Tensor]:
        """Return encoder states (samples, K + length, d) and their mask."""
        embedded, mask = self.embed(x)
        return encode(self.t5, embedded, mask), mask

    def micro_batches(self, x: Inputs) -> Iterator[Inputs]:
        """Cut a batch for one forward and backward pass after another: loss and gradients are sums.

        Each is without the columns that are pads in all of its samples; a GPU takes it whole.
        """
        cuts = list(micro_batches(self.t5, x.mask.shape[0], x.mask.shape[1], x.mask.device))
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
                whole_word_ids=x.whole_word_ids[cut, :prompt],
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
        if self.items is not None and x.task != "explanation":
            return self._item_loss(x, hidden[:, 0], self.items)
        if self.t5.config.scale_decoder_outputs:
            hidden = hidden * self.t5.config.d_model**-0.5
        return linear_cross_entropy(
            hidden.flatten(0, 1), self.t5.lm_head.weight, x.labels.flatten()
        )

    def _item_loss(self, x: Inputs, hidden: Tensor, items: range) -> Tensor:
        """Return the loss of items that are one token each, scored by cosine (`item_logits`).

        The choice is among what can be the answer: all items but those of the history in the
        sequential task, the candidates in top-N.
        """
        weight = self.t5.shared.weight[items.start : items.stop]
        column, temperature = x.ids - items.start, float(self.t5.config.item_temperature)
        given = (column >= 0) & (column < len(items))
        labels = x.labels[:, 0] - items.start
        if x.task == "sequential":
            rows, places = given.nonzero(as_tuple=True)
            left_out = rows, column[rows, places]
            return cosine_cross_entropy(hidden, weight, labels, temperature, left_out)
        unit = F.normalize(hidden, dim=1).unsqueeze(2)
        among = F.normalize(F.embedding(torch.where(given, column, 0), weight), dim=2)
        logits = (among @ unit).squeeze(2).float() / temperature
        wanted = (given & (column == labels.unsqueeze(1))).int().argmax(1)
        return F.cross_entropy(logits.masked_fill(~given, -torch.inf), wanted, reduction="sum")


def _shifted(labels: Tensor, start: int) -> Tensor:
    """Return what the decoder reads to write the labels: all but the last, after the start."""
    return F.pad(labels[:, :-1].clamp_min(0), (1, 0), value=start)
