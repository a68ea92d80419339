"""The T5 and the memory as recommenders of their own, and what they say together."""

from typing import TYPE_CHECKING

import numpy as np

from podtrain.recommenders.base import ScoresItems
from podtrain.recommenders.memory import log_softmax
from podtrain.recommenders.queries import Floats, Ints, Queries

if TYPE_CHECKING:
    from podtrain.recommenders.pod.recommender import PodRecommender


class _Part(ScoresItems):
    def __init__(self, whole: "PodRecommender") -> None:
        self.whole, self.tasks, self.n_items = whole, whole.tasks, whole.n_items


class T5Alone(_Part):
    """What the T5 says without the memory."""

    name = "T5 alone"

    def scores(self, queries: Queries) -> Floats:
        """Return the T5's log-probabilities."""
        return self.whole.t5_scores(queries)

    def candidate_scores(self, queries: Queries, candidates: Ints) -> Floats:
        """Return the T5's log-probabilities of candidates."""
        return self.whole.t5_candidate_scores(queries, candidates)


class MemoryAlone(_Part):
    """What the memory says without the T5."""

    name = "memory alone"

    def scores(self, queries: Queries) -> Floats:
        """Return the memory's log-probabilities."""
        assert self.whole.memory is not None, "a part only where there is one"
        return self.whole.memory.scores(queries)


def mixture(model: Floats, memory: Floats, share: float) -> Floats:
    """Return log-probabilities proportional to model^share memory^(1 - share), both logarithms.

    Beauty's validation split, NDCG@10: .0667 at its best share; (1 - w) model + w memory .0647.
    """
    return log_softmax(weighted(model, memory, share))


def weighted(model: Floats, memory: Floats, share: float) -> Floats:
    """Return share * model + (1 - share) * memory; -inf where the model has it."""
    left_out = np.isneginf(model)
    both = np.float32(share) * np.where(left_out, 0, model)
    both += np.float32(1 - share) * np.where(left_out, 0, memory)
    return np.where(left_out, model, both)
