"""One user asked: what next, which of these, and why."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podtrain.data.stream import Batch
from podtrain.evaluate.evaluate import TEXT_BEAMS, best
from podtrain.recommenders.pod.inference import Asked


@dataclass(frozen=True, slots=True)
class Product:
    """An item as people know it."""

    item_id: int
    asin: str
    title: str | None
    score: float | None = None
    why: str | None = None


class Catalogue:
    """Numbers of users and items, and the names behind them."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards
        self._users = shards.table("catalog/users.parquet")
        items = shards.table("catalog/items.parquet")
        self._asins = items["asin"]
        self._titles = items["title"] if "title" in items.column_names else None

    def user(self, name: str) -> int:
        """Return a user's number from a number or a reviewer id. Errors: `PodError` if unknown."""
        found = _find(self._users["reviewer_id"], name)
        if found is None and name.isdigit() and 1 <= int(name) <= self.shards.n_users:
            found = int(name)
        if found is None:
            raise PodError(
                f"no user {name} in {self.shards.folder}: give a number from 1 to "
                f"{self.shards.n_users:,} or a reviewer id of catalog/users.parquet"
            )
        return found

    def reviewer(self, user_id: int) -> str:
        """Return a user's reviewer id."""
        return str(self._users["reviewer_id"][user_id - 1])

    def item(self, name: str) -> int:
        """Return an item's number from a number or an asin. Errors: `PodError` if unknown."""
        found = _find(self._asins, name)
        if found is None and name.isdigit() and 1 <= int(name) <= self.shards.n_items:
            found = int(name)
        if found is None:
            raise PodError(
                f"no item {name} in {self.shards.folder}: give a number from 1 to "
                f"{self.shards.n_items:,} or an asin of catalog/items.parquet"
            )
        return found

    def items(self, names: str) -> list[int]:
        """Return the numbers of items named with commas between."""
        return [self.item(name.strip()) for name in names.split(",") if name.strip()]

    def product(self, item_id: int, score: float | None = None, why: str | None = None) -> Product:
        """Return an item with its names."""
        title = self._titles[item_id - 1].as_py() if self._titles is not None else None
        return Product(item_id, str(self._asins[item_id - 1]), title, score, why)


def _find(names: Any, name: str) -> int | None:
    place = pc.index(names, name).as_py()
    return place + 1 if place >= 0 else None


def recommend(
    asked: Asked,
    tasks: tuple[str, ...],
    user_id: int,
    history: list[int],
    n: int,
    candidates: list[int] | None = None,
) -> list[tuple[int, float]]:
    """Return the n best items with their log-probabilities, those in the history left out.

    With candidates, the best among them: by the top-N prompt where the run was trained on that
    task, else by the history. Errors: `PodError` where the run has no task that can answer.
    """
    shards = asked.reader.shards
    by_candidates = candidates is not None and "topn" in tasks
    if not by_candidates and "sequential" not in tasks:
        raise PodError(
            "this run was not trained on the sequential task: give --candidates, or train with it"
        )
    if by_candidates and candidates is not None:
        batch = prompt_batch(asked, "topn", user_id, candidates)
        ids = np.array([candidates], np.int64)
        scores = asked.candidate_scores(batch, ids)
    else:
        longest = int(shards.manifest["inputs"]["options"]["history"])
        if not history:
            raise PodError("no history to go by: give --history ITEM,ITEM,...")
        batch = prompt_batch(asked, "sequential", user_id, history[-longest:])
        scores = asked.catalogue_scores(batch)
        ids = np.arange(1, shards.n_items + 1)[None]
        kept = np.isin(ids, candidates) if candidates is not None else ~np.isin(ids, history)
        scores = np.where(kept, scores, -np.inf)
    items, values = best(scores, ids, n)
    return [
        (int(i), float(v)) for i, v in zip(items[0], values[0], strict=True) if i and np.isfinite(v)
    ]


def explain(asked: Asked, tasks: tuple[str, ...], user_id: int, item_id: int) -> str:
    """Return a sentence on why an item may suit a user. Errors: `PodError` without the task."""
    if "explanation" not in tasks:
        raise PodError("this run was not trained to explain: train with --tasks explanation too")
    texts, _ = asked.texts(prompt_batch(asked, "explanation", user_id, [item_id]), TEXT_BEAMS)
    return texts[0]


def prompt_batch(asked: Asked, task: str, user_id: int, items: list[int]) -> Batch:
    """Return the bare prompt of a task as a batch of one."""
    templates = asked.reader.shards.manifest["inputs"]["templates"]
    text = next(t["text"] for t in templates if t["task"] == task and t["bare"])
    words = " ".join(f"item_{i}" for i in items)
    for name in ("history", "candidates", "item"):
        text = text.replace(f"{{{name}}}", words)
    prompts = asked.reader.tokens.prompts([text.replace("{user}", f"user_{user_id}")])
    ids = prompts.ids.padded()
    return Batch(
        task=task,
        ids=ids,
        whole_word_ids=prompts.whole_word_ids.padded(),
        mask=np.ones(ids.shape, bool),
        labels=np.zeros((1, 0), np.int64),
        user_id=np.array([user_id], np.int32),
        item_id=np.zeros(1, np.int32),
        rows=np.zeros(1, np.int64),
        target_tokens=0,
    )
