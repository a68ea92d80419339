"""Explanations: plan what to write about, write several sentences, choose by evidence.

A T5 of this size says what is likely for everybody. What there is to say of an item is counted
instead (`TrainingSentences.plan`); the T5 writes about each of the likeliest features, "feature |
sentence", and of all that it has written the sentence is taken that has the most evidence.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from podprep.contract.errors import PodError
from podtrain.data.tokens import SEPARATOR
from podtrain.decode.beam import beam_text
from podtrain.recommenders.queries import Ints, Pairs
from podtrain.recommenders.sentences import TrainingSentences, training_sentences

if TYPE_CHECKING:
    from podtrain.recommenders.pod.recommender import PodRecommender

FEATURES, BEAMS = 2, 12  # features that are written about, sentences written about each
PAIRS = 128  # at a time
# Of an explanation, its end included; the published 10 and 50 count the start, too (exp.py:21-28).
MIN_TOKENS, MAX_TOKENS = 9, 49
PLAIN_BEAMS = 7  # the paper's 21 beams are three times the same 7 (exp.py: no diversity penalty)


def explanations(model: "PodRecommender", pairs: Pairs) -> list[str]:
    """Return a sentence for each pair.

    Errors: `PodError` for an `about` that no training sentence is about.
    """
    written: list[str] = []
    for start in range(0, len(pairs), PAIRS):
        part = slice(start, start + PAIRS)
        some = Pairs(pairs.user_id[part], pairs.item_id[part], pairs.about)
        written += _planned(model, some) if model.options.plan else _plain(model, some)
    return written


def _plain(model: "PodRecommender", pairs: Pairs) -> list[str]:
    """Write freely: the best of a beam."""
    if pairs.about is not None:
        raise PodError("--about needs a run that plans: train with podtrain fit --plan")
    limits = (MIN_TOKENS, MAX_TOKENS)
    return model.write(model.explanation_prompts(pairs), PLAIN_BEAMS, limits=limits)[0]


def _planned(model: "PodRecommender", pairs: Pairs) -> list[str]:
    known = training_sentences(model.shards)
    plan = known.plan(pairs.user_id, pairs.item_id)
    chosen = _features(known, plan, pairs.about)
    width = chosen.shape[1]
    begins = [f"{known.features[f]} {SEPARATOR}" for f in chosen.ravel()]
    tokens = model.tokens.texts(begins)
    first = torch.from_numpy(tokens.padded()).to(model.device, torch.long)
    beyond = np.arange(first.shape[1]) >= tokens.lengths[:, None]
    states, mask = model.encode(model.explanation_prompts(pairs))
    found, _ = beam_text(
        model.pod.t5,
        states.repeat_interleave(width, 0),
        mask.repeat_interleave(width, 0),
        beams=BEAMS,
        min_length=MIN_TOKENS,
        max_length=MAX_TOKENS,
        n=BEAMS,
        begin=first.masked_fill(torch.from_numpy(beyond).to(model.device), -1),
    )
    written = [without_plan(model.tokens.text(each)) for each in found]
    texts = []
    for n, (user, item) in enumerate(
        zip(pairs.user_id.tolist(), pairs.item_id.tolist(), strict=True)
    ):
        own = written[n * width * BEAMS : (n + 1) * width * BEAMS]
        scores = [known.evidence(user, item, sentence) for sentence in own]
        texts.append(own[int(np.argmax(scores))])
    return texts


def _features(known: TrainingSentences, plan: "np.ndarray", about: str | None) -> Ints:
    """Return the features to write about, (pairs, any) as numbers."""
    if about is None:
        return np.argsort(-plan, axis=1, kind="stable")[:, :FEATURES]
    if about not in known.features:
        some = ", ".join(known.features[:20])
        raise PodError(f"--about {about}: no training sentence is about it; some are: {some}")
    return np.full((len(plan), 1), known.features.index(about))


def without_plan(text: str) -> str:
    """Return what was written after the plan."""
    return text.split(f"{SEPARATOR} ", 1)[-1]
