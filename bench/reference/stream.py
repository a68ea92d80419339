"""Batches as one writes them today: a `DataLoader` whose collate function tokenises whole prompts.

Described by the paper and its published code, written anew: the whole prompt through the tokenizer,
padded to the longest of a random batch, and in plain Python the number of the id that each token
belongs to (paper 3.3).
"""

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from podprep.contract.shards import Shards
from podtrain.data.stream import COLUMNS

ID = re.compile(r"(?:user|item)_[0-9]+")
Row = dict[str, Any]


class PromptDataset(Dataset[Row]):
    """The training samples of one task, as Python objects in memory."""

    def __init__(self, shards: Shards, task: str, round_: int = 0, most: int | None = None) -> None:
        """`most`: only so many samples, the first ones."""
        table = shards.sample_table(task, "train", round_, COLUMNS)
        self.rows: list[Row] = table.slice(0, most).to_pylist()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Row:
        return self.rows[i]


class Collate:
    """Makes a batch of rows: ids, mask, labels, user, and `whole` where it is wanted.

    A target is a sentence, or an item as prompts name it; `closed` adds the token that ends it.
    """

    def __init__(self, tokenizer: Any, task: str, closed: bool, whole_words: bool = True) -> None:
        self.tokenizer, self.task, self.whole_words = tokenizer, task, whole_words
        self.end = tokenizer.eos_token if closed else ""

    def __call__(self, rows: list[Row]) -> dict[str, Tensor]:
        prompts = [row["prompt"] for row in rows]
        item = "" if self.task == "explanation" else "item_"
        targets = [f"{item}{row['target']}{self.end}" for row in rows]
        read = self.tokenizer(prompts, padding=True, return_tensors="pt")
        written = self.tokenizer(targets, padding=True, return_tensors="pt")
        batch = {
            "ids": read["input_ids"],
            "mask": read["attention_mask"].bool(),
            "labels": written["input_ids"].masked_fill(written["attention_mask"] == 0, -100),
            "user": torch.tensor([row["user_id"] for row in rows]),
        }
        if self.whole_words:
            batch["whole_word_ids"] = torch.tensor(
                [whole_words(prompt, read.word_ids(i)) for i, prompt in enumerate(prompts)]
            )
        return batch


def whole_words(prompt: str, word_of: list[int | None]) -> list[int]:
    """Return for each token k where it is of the k-th id of the prompt, else 0."""
    numbers, seen = [], 0
    for word in prompt.split():
        is_id = ID.fullmatch(word) is not None
        seen += is_id
        numbers.append(seen if is_id else 0)
    return [0 if word is None else numbers[word] for word in word_of]


def loader(
    dataset: PromptDataset, collate: Collate, batch_size: int, seed: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Yield one epoch of shuffled batches, made in this process."""
    order = torch.Generator().manual_seed(seed)
    batches: DataLoader[Row] = DataLoader(
        dataset, batch_size=batch_size, shuffle=True, collate_fn=collate, generator=order
    )
    return iter(batches)
