"""What the sample's users write: a small grammar over the words of data/sample_words.toml."""

import hashlib
import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

_T = TypeVar("_T")

_PRAISE_PERCENT = {5: 95, 4: 78, 3: 50, 2: 22, 1: 6}  # share of opinions that praise, by rating


class Draw:
    """A stream of integer draws; each topic has its own, so a change in one leaves the others."""

    def __init__(self, seed: int, topic: str) -> None:
        digest = hashlib.sha256(f"{seed}/{topic}".encode()).digest()
        self._random = random.Random(int.from_bytes(digest[:8], "big"))

    def below(self, bound: int) -> int:
        return int(self._random.random() * bound)

    def chance(self, percent: int) -> bool:
        return self.below(100) < percent

    def pick(self, options: Sequence[_T]) -> _T:
        return options[self.below(len(options))]

    def weighted(self, weights: Sequence[int]) -> int:
        """An index, drawn in proportion to its weight."""
        rest = self.below(sum(weights))
        for index, weight in enumerate(weights):
            rest -= weight
            if rest < 0:
                return index
        raise ValueError("weights must sum to more than zero")


@dataclass(frozen=True)
class Product:
    asin: str
    kind: int
    brand: str
    noun: str
    features: tuple[str, ...]  # the salient ones first
    salient: int  # how many of them are; the last salient one draws the complaints
    quality: int
    weight: int  # popularity; 0 for the rare ones
    successor: int  # index of the product its buyers tend to buy next


@dataclass(frozen=True)
class User:
    id: str
    name: str
    kinds: tuple[int, ...]  # one entry a share of taste, so that a plain pick is weighted
    cares: frozenset[str]
    mood: int
    voice: int  # which turns of phrase the user favours


@cache
def word_lists() -> dict[str, Any]:
    source = files("podprep") / "data" / "sample_words.toml"
    return tomllib.loads(source.read_text(encoding="utf-8"))


def topics_of(draw: Draw, user: User, product: Product) -> list[str]:
    """The features of the product, drawn without return: salient and cared-for ones come early."""
    left, topics = list(product.features), []
    salient = product.features[: product.salient]
    while left:
        weights = [(5 if f in salient else 1) * (4 if f in user.cares else 1) for f in left]
        topics.append(left.pop(draw.weighted(weights)))
    return topics


def opinion(
    draw: Draw, user: User, product: Product, topics: list[str], forms: str, praise: bool
) -> str:
    """One sentence about the first of the topics, which it uses up."""
    weak = product.features[product.salient - 1]
    if not praise and weak in topics and draw.chance(60):
        topics.insert(0, topics.pop(topics.index(weak)))
    options = word_lists()["sentences"][forms]
    form = options[user.voice % len(options)] if draw.chance(40) else draw.pick(options)
    feature = topics.pop(0)
    other = topics.pop(0) if "{g}" in form else feature
    word, rival = (_word(draw, product, f, p) for f, p in ((feature, praise), (other, not praise)))
    text = form.format(f=feature, a=word, g=other, b=rival, noun=product.noun, brand=product.brand)
    return str(text[:1].upper() + text[1:])


def _word(draw: Draw, product: Product, feature: str, praise: bool) -> str:
    options: list[str] = word_lists()["features"][feature][0 if praise else 1]
    # Buyers of one product tend to agree on the word, so that it can be learned.
    return options[product.quality % len(options)] if draw.chance(60) else draw.pick(options)


def review_text(draw: Draw, user: User, product: Product, rating: int) -> str:
    sentences = word_lists()["sentences"]
    form = draw.below(100)
    if form < 2:
        return ""
    if form < 8:
        return str(draw.pick(sentences["short_good" if rating > 3 else "short_bad"]))
    left, parts = topics_of(draw, user, product), []
    for _ in range(1 + draw.weighted((18, 26, 24, 16, 10, 6))):
        praise = draw.chance(_PRAISE_PERCENT[rating])
        if not left or draw.chance(28):
            context = draw.pick(sentences["context"])
            part = context.format(noun=product.noun, brand=product.brand)
        elif len(left) > 1 and rating in (3, 4) and draw.chance(25):
            part = opinion(draw, user, product, left, "mixed", praise)
        else:
            part = opinion(draw, user, product, left, "good" if praise else "bad", praise)
        if part not in parts:
            parts.append(part)
    return _roughen(draw, user, parts)


def _roughen(draw: Draw, user: User, parts: list[str]) -> str:
    """Joins the sentences with the flaws real reviews have."""
    if draw.chance(3):
        shouted = draw.below(len(parts))
        parts[shouted] = parts[shouted].upper()
    # The 2014 files lost their line breaks, which glued the sentences on either side together.
    text = ("" if draw.chance(12) else " ").join(parts)
    if draw.chance(5):
        at = 1 + draw.below(len(text) - 3)
        if text[at : at + 2].isalpha():
            text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text.lower() if user.voice % 16 == 0 else text


def escape(text: str) -> str:
    """HTML entities as the 2014 files have them."""
    return text.replace("&", "&amp;").replace('"', "&#34;")
