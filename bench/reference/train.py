"""Training as one writes it today: batches padded to the longest, T5 by `inputs_embeds`, AdamW.

Single precision, one task a batch, tasks in turn, the batches of bench/reference/stream.py. The
model's weights are those of a podtrain model, so both train the same thing.
"""

import torch
from torch import Tensor
from torch.nn import functional

from podprep.contract.tasks import TASKS
from podtrain.recommenders.pod.model import Pod


class Trainer:
    """T5 behind prompt vectors and whole-word vectors, a batch a step."""

    def __init__(self, model: Pod, lr: float) -> None:
        self.model = model.train()
        self.words = (
            model.t5.shared.weight if model.input_embedding is None else model.input_embedding
        )
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr)

    def step(self, task: str, batch: dict[str, Tensor]) -> Tensor:
        """Train on a batch; return its mean loss."""
        self.optimizer.zero_grad()
        loss = self.loss(task, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.detach()

    def loss(self, task: str, batch: dict[str, Tensor]) -> Tensor:
        """Return transformers' loss of the prompt vectors, then words and their places."""
        embedded = functional.embedding(batch["ids"], self.words)
        if self.model.whole_word_embeddings is not None:
            places = functional.embedding(batch["whole_word_ids"], self.model.whole_word_embeddings)
            embedded = embedded + places * (batch["whole_word_ids"] > 0).unsqueeze(-1)
        prompt = self.model.soft_prompts[TASKS.index(task)].expand(len(embedded), -1, -1)
        ones = torch.ones(prompt.shape[:2], dtype=torch.bool)
        out: Tensor = self.model.t5(
            inputs_embeds=torch.cat([prompt, embedded], 1),
            attention_mask=torch.cat([ones, batch["mask"]], 1),
            labels=batch["labels"],
        ).loss
        return out
