"""The published evaluation, quirks included: what `--compat pod` does to texts (seq.py, exp.py)."""

import re
from typing import TYPE_CHECKING

import numpy as np

from podtrain.data.tokens import Tokens
from podtrain.recommenders.pod.model import Inputs
from podtrain.recommenders.queries import Floats, Ints

if TYPE_CHECKING:
    from podtrain.recommenders.pod.recommender import PodRecommender

ITEM_TOKENS = 49  # longest answer, its end included (seq.py:81)
REFERENCE_TOKENS = 20  # references are cut so (exp.py:105)


def published_items(
    model: "PodRecommender", prompts: Inputs, user_id: Ints, beams: int, n: int
) -> tuple[Ints, Floats, int]:
    """Return (prompts, n) items, best first by mean log-probability, their scores, and how many
    were drawn at random because their text was no number.

    Any text may come, of an item in the history or of none in the catalogue. What the published
    code draws without a seed is drawn by user here.
    """
    # a vocabulary whose items end without a sign is asked for as many tokens as they have
    longest = ITEM_TOKENS if model.reader.items_need_end else model.reader.longest_item
    texts, scores = model.write(prompts, beams, n, limits=(1, longest))
    n_items = model.shards.n_items
    items = np.zeros((len(user_id), n), np.int64)
    failed = 0
    for row, user in enumerate(user_id):
        draws = np.random.default_rng([n_items, int(user)])
        for place in range(n):
            number = _number(model.tokens, texts[row * n + place])
            failed += number is None
            drawn = int(draws.integers(1, n_items + 1))
            items[row, place] = drawn if number is None else number
    return items, scores.reshape(items.shape), failed


def _number(tokens: Tokens, text: str) -> int | None:
    """Read a text as Python's int() reads its first word: '+5' and '1_2' are numbers, too."""
    head, _ = tokens.render.split("{}")
    first = text.split(" ", maxsplit=1)[0].removeprefix(head)
    return int(first) if re.fullmatch(r"[+-]?[0-9]+(_[0-9]+)*", first) else None


def cut_references(tokens: Tokens, references: list[str]) -> list[str]:
    """Return the first 20 tokens of each reference, as text."""
    rows = tokens.texts(references)
    return [tokens.text(rows.row(i)[:REFERENCE_TOKENS].tolist()) for i in range(len(references))]
