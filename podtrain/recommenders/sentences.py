"""The training sentences of a dataset: what there is to say about an item, and how a user says it.

Baselines repeat them; POD plans by their features and chooses, among the sentences that it writes,
the one with the most evidence. Nothing else than the training split is read.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from podprep.contract.errors import PodError
from podprep.contract.schema import EXPLANATIONS
from podprep.contract.shards import Shards
from podtrain.data.interactions import Interactions
from podtrain.metrics.words import words_of
from podtrain.recommenders.base import ScoresItems
from podtrain.recommenders.baselines import BACKWARD, LAG_POWER, SPAN
from podtrain.recommenders.cooccurrence import Cooccurrence
from podtrain.recommenders.queries import Ints, Pairs, Queries

# An item's sentences are weighed against 2 of all items', a user's against 5. A user's features
# say less of the next one: on the sample's validation split the item's name it for 29% of the
# sentences, with the user's at this power for 27 to 29%, a T5 for 19%.
ITEM_PRIOR, USER_PRIOR, USER_POWER = 2.0, 5.0, 0.3

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Words:
    """A sentence taken apart: its words in lower case, and how often two stand together."""

    words: list[str]
    pairs: Counter[tuple[str, str]]

    @classmethod
    def of(cls, sentence: str) -> "Words":
        """Take a sentence apart."""
        words = words_of(sentence)
        return cls(words, Counter(pairwise(words)))


class TrainingSentences:
    """The explanations of the training split.

    features: of all of them, sorted; by_item, by_user: (items + 1 or users + 1, features) how many
    sentences of an item or a user are about each; of_item, of_user: the sentences.
    """

    def __init__(self, shards: Shards) -> None:
        rows = [row for row in shards.table(EXPLANATIONS).to_pylist() if row["split"] == "train"]
        if not rows:
            raise PodError(f"{shards.folder} has no explanations to train on")
        self.features = sorted({row["feature"] for row in rows})
        place = {feature: i for i, feature in enumerate(self.features)}
        self.by_item = np.zeros((shards.n_items + 1, len(place)))
        self.by_user = np.zeros((shards.n_users + 1, len(place)))
        self.of_item: dict[int, list[str]] = defaultdict(list)
        self.of_user: dict[int, list[str]] = defaultdict(list)
        for row in rows:
            self.by_item[row["item_id"], place[row["feature"]]] += 1
            self.by_user[row["user_id"], place[row["feature"]]] += 1
            self.of_item[row["item_id"]].append(row["sentence"])
            self.of_user[row["user_id"]].append(row["sentence"])
        counts: Counter[str] = Counter(row["sentence"] for row in rows)
        self.most_frequent: str = min(counts, key=lambda sentence: (-counts[sentence], sentence))
        self._words = lru_cache(maxsize=1 << 16)(Words.of)
        # every baseline asks for the same items' sentences, of which popular items have hundreds:
        # on Beauty's test split this took 14 s for 175
        self._near_item = lru_cache(maxsize=1 << 18)(self._nearness_to_item)
        self._known = {word for sentence in counts for word in words_of(sentence)}

    def plan(self, user_id: Ints, item_id: Ints) -> Floats:
        """Return the probability of each feature to be what a user says of an item, (pairs, F)."""
        overall = self.by_item.sum(0) / self.by_item.sum()
        item = _smoothed(self.by_item[item_id], ITEM_PRIOR, overall)
        user = _smoothed(self.by_user[user_id], USER_PRIOR, overall)
        plan = item * (user / overall) ** USER_POWER
        return np.asarray(plan / plan.sum(1, keepdims=True))

    def evidence(self, user_id: int, item_id: int, sentence: str) -> float:
        """Return what speaks for a sentence: how near it is to the item's and to the user's.

        Both are from 0 to 1. Less 1 where it stammers: two words stand together twice, or a word
        is of no training sentence. How likely the features are that it mentions was tried beside
        them: sentences then name more features, and are further from what people wrote (sample,
        validation: FMR .44 for .35, BLEU-4 15.4 for 17.3).
        """
        words = self._words(sentence)
        stammers = max(words.pairs.values(), default=0) > 1 or not self._known >= set(words.words)
        own = self.of_user.get(user_id, [])
        return self._near_item(item_id, sentence) + self._nearness(sentence, own) - stammers

    def typical(self, item_id: int) -> str:
        """Return the item's sentence that is nearest to its others; of none, the most frequent."""
        own = self.of_item.get(item_id)
        if not own:
            return self.most_frequent
        return max(own, key=lambda sentence: self._near_item(item_id, sentence))

    def _nearness_to_item(self, item_id: int, sentence: str) -> float:
        return self._nearness(sentence, self.of_item.get(item_id, []))

    def _nearness(self, sentence: str, others: list[str]) -> float:
        """Return how near a sentence is to others on average, 0 where there are none."""
        words = self._words(sentence)
        return float(np.mean([near(words, self._words(o)) for o in others])) if others else 0.0


def _smoothed(counts: Floats, prior: float, overall: Floats) -> Floats:
    return np.asarray((counts + prior * overall) / (counts.sum(1, keepdims=True) + prior))


def near(one: Words, other: Words) -> float:
    """Return how alike two sentences are: the mean of ROUGE-L and of the F of their word pairs."""
    longest = 2 * common(one.words, other.words) / max(len(one.words) + len(other.words), 1)
    pairs = one.pairs.total() + other.pairs.total()
    return (longest + (2 * (one.pairs & other.pairs).total() / pairs if pairs else 0.0)) / 2


def common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    Bit i of the row is 0 once word i of the one ends a longer one (Hyyro 2004): a step a word.
    """
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    every = (1 << len(one)) - 1
    row = every
    for word in other:
        hit = row & places.get(word, 0)
        row = (row + hit | row - hit) & every
    return len(one) - row.bit_count()


@lru_cache(maxsize=2)
def _sentences(folder: Path, sha256: str) -> TrainingSentences:
    shards = Shards.open(folder)
    assert shards.sha256 == sha256, "the dataset was open a moment ago"
    return TrainingSentences(shards)


def training_sentences(shards: Shards) -> TrainingSentences:
    """Return the training sentences of a dataset, read once a process."""
    return _sentences(shards.folder.resolve(), shards.sha256)


class _Repeats(ScoresItems):
    """A baseline that repeats training sentences."""

    tasks = frozenset({"explanation"})

    def __init__(self, shards: Shards) -> None:
        self.shards, self.n_items = shards, shards.n_items
        self.sentences = training_sentences(shards)


class FrequentSentence(_Repeats):
    """The most frequent training sentence, whatever is asked."""

    name: ClassVar[str] = "frequent-sentence"

    def texts(self, pairs: Pairs) -> list[str]:
        """Return the same sentence for all."""
        return [self.sentences.most_frequent] * len(pairs)


class ItemSentence(_Repeats):
    """The item's most typical training sentence."""

    name: ClassVar[str] = "item-sentence"

    def texts(self, pairs: Pairs) -> list[str]:
        """Return a sentence about each item."""
        found = {int(item): self.sentences.typical(int(item)) for item in np.unique(pairs.item_id)}
        return [found[item] for item in pairs.item_id.tolist()]


class ChosenSentence(_Repeats):
    """The item's training sentence with the most evidence: what choosing does without writing."""

    name: ClassVar[str] = "chosen-sentence"

    def texts(self, pairs: Pairs) -> list[str]:
        """Return a sentence about each item, chosen for the user as POD chooses."""
        known, texts = self.sentences, []
        for user, item in zip(pairs.user_id.tolist(), pairs.item_id.tolist(), strict=True):
            own = known.of_item.get(item, [known.most_frequent])
            scores = [known.evidence(user, item, sentence) for sentence in own]
            texts.append(own[int(np.argmax(scores))])
        return texts


class NeighbourSentence(_Repeats):
    """The same of the item most often bought near it, of those that the user bought in training."""

    name: ClassVar[str] = "neighbour-sentence"

    def __init__(self, shards: Shards) -> None:
        super().__init__(shards)
        self.purchases = Interactions.read(shards)
        self.near = Cooccurrence.count(
            self.purchases, span=SPAN, lag_power=LAG_POWER, backward=BACKWARD
        )

    def texts(self, pairs: Pairs) -> list[str]:
        """Return a sentence about an item of each user's history."""
        histories = Queries.before(self.purchases, pairs.user_id, "valid")
        return [self._text(int(item), histories.history(n)) for n, item in enumerate(pairs.item_id)]

    def _text(self, item_id: int, history: Ints) -> str:
        row = slice(self.near.starts[item_id - 1], self.near.starts[item_id])
        weights = dict(zip(self.near.columns[row] + 1, self.near.weights[row], strict=True))
        known = [i for i in history.tolist() if i != item_id and self.sentences.of_item.get(i)]
        if not known:
            return self.sentences.most_frequent
        nearest = max(known, key=lambda i: (weights.get(i, 0.0), -i))
        return self.sentences.typical(int(nearest))
