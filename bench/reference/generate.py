"""Inference as one writes it today: transformers' `generate`, batches padded as the data comes.

Prompt vectors and whole-word vectors go before the encoder by `inputs_embeds`, as the published
code does it; single precision. The encoder runs once a prompt, and `generate` repeats its states
for the beams.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from podprep.contract.tasks import TASKS
from podtrain.data.stream import Batch, Samples
from podtrain.recommenders.pod.model import Pod


class Generator:
    """T5 behind prompt vectors and whole-word vectors, a batch at a time."""

    def __init__(self, model: Pod) -> None:
        self.model = model.eval()
        self.words = (
            model.t5.shared.weight if model.input_embedding is None else model.input_embedding
        )

    @torch.inference_mode()
    def generate(
        self, samples: Samples, size: int, most: int | None = None, **options: int
    ) -> list[Tensor]:
        """Return the best sequences of samples, batch after batch: of all, or the first."""
        found, end = [], min(len(samples), most or len(samples))
        for start in range(0, end, size):
            batch = samples.batch(np.arange(start, min(start + size, end)))
            embedded, mask = self._embedded(batch)
            found.append(
                self.model.t5.generate(
                    inputs_embeds=embedded,
                    attention_mask=mask,
                    do_sample=False,
                    early_stopping=True,
                    **options,
                )
            )
        return found

    def _embedded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        embedded = functional.embedding(torch.from_numpy(batch.ids).long(), self.words)
        if self.model.whole_word_embeddings is not None:
            whole = torch.from_numpy(batch.whole_word_ids).long()
            places = functional.embedding(whole, self.model.whole_word_embeddings)
            embedded = embedded + places * (whole > 0).unsqueeze(-1)
        prompt = self.model.soft_prompts[TASKS.index(batch.task)].expand(len(embedded), -1, -1)
        mask = torch.from_numpy(batch.mask).long()
        ones = torch.ones(prompt.shape[:2], dtype=torch.long)
        return torch.cat([prompt, embedded], 1), torch.cat([ones, mask], 1)
