"""The words of a text in any script, and the features that it mentions."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

_ASCII = re.compile("[a-z0-9]+")
# Scripts written without spaces between words: Thai, Lao, Tibetan, Burmese, Khmer, Kana, Bopomofo
# and Han, by code points. Korean puts spaces.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005\u3007\u3040-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f"
    "\U00020000-\U0003ffff]"
)


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case: runs of letters, digits and their accents.

    In scripts without spaces every character is a word. ASCII text gives what rouge_score's own
    tokenizer gives, which drops all other letters.
    """
    text = text.lower()
    if text.isascii():
        return _ASCII.findall(text)
    words: list[str] = []
    before = ""  # the kind of the last character: "letter", "unspaced" or none
    for character in unicodedata.normalize("NFC", text):
        if before and unicodedata.category(character)[0] == "M":  # a vowel sign, an accent
            words[-1] += character
        elif not character.isalnum():
            before = ""
        elif _UNSPACED.match(character):
            words.append(character)
            before = "unspaced"
        else:
            if before == "letter":
                words[-1] += character
            else:
                words.append(character)
            before = "letter"
    return words


class Features:
    """A set of features, to be found in texts: a feature is its words, in any case."""

    def __init__(self, features: Iterable[str]) -> None:
        self._by_first: dict[str, set[tuple[str, ...]]] = {}
        for words in {tuple(words_of(feature)) for feature in features} - {()}:
            self._by_first.setdefault(words[0], set()).add(words)

    def __len__(self) -> int:
        return sum(map(len, self._by_first.values()))

    def mentioned(self, words: Sequence[str]) -> set[tuple[str, ...]]:
        """Return the features that the words of a text mention, each as its own words.

        A plural counts: podprep's features are singular, and without plurals the written
        sentences themselves mention theirs in only 0.82 of cases (measured on Beauty), with them
        in all.
        """
        return {
            feature
            for i, word in enumerate(words)
            for first in _singulars(word)
            for feature in self._by_first.get(first, ())
            if list(words[i : i + len(feature) - 1]) == list(feature[:-1])
            and i + len(feature) <= len(words)
            and feature[-1] in _singulars(words[i + len(feature) - 1])
        }


def _singulars(word: str) -> tuple[str, ...]:
    """Return the word, and what it is a plural of if it is one."""
    return word, *(word.removesuffix(end) for end in ("s", "es") if word.endswith(end))
