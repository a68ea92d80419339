"""The prompts of inference: a task's bare template, as the shards have it for held-out users."""

import numpy as np

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podtrain.data.stream import Batch
from podtrain.data.tokens import Tokens
from podtrain.recommenders.queries import Ints


def bare_prompts(
    shards: Shards,
    tokens: Tokens,
    task: str,
    user_id: Ints,
    lists: list[list[int]],
    *,
    lowest_user: int,
) -> Batch:
    """Return prompts as a batch without targets; lists: histories, candidates, or the item.

    lowest_user: what is written for somebody new, whose number is 0.
    """
    templates = shards.manifest["inputs"]["templates"]
    bare = next(t["text"] for t in templates if t["task"] == task and t["bare"])
    head, tail = _around_items(bare)
    texts = [
        f"{head}{' '.join(f'item_{i}' for i in items)}{tail}".format(user=f"user_{user}")
        for user, items in zip(np.maximum(user_id, lowest_user).tolist(), lists, strict=True)
    ]
    found = tokens.prompts(texts)
    ids = found.ids.padded()
    return Batch(
        task=task,
        ids=ids,
        whole_word_ids=found.whole_word_ids.padded(),
        mask=np.arange(ids.shape[1]) < found.ids.lengths[:, None],
        labels=np.zeros((len(texts), 0), np.int64),
        user_id=user_id.astype(np.int32),
        item_id=np.zeros(len(texts), np.int32),
        rows=np.arange(len(texts)),
        n_targets=0,
    )


def _around_items(template: str) -> tuple[str, str]:
    """Return what stands before and after the items of a template."""
    for name in ("{history}", "{candidates}", "{item}"):
        if name in template:
            head, _, tail = template.partition(name)
            return head, tail
    raise PodError(f"the template {template!r} has no place for items: build the dataset again")
