"""Text to tokens: each distinct word is tokenised once, prompts are assembled from arrays."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from podtrain.errors import PodError

Ints = npt.NDArray[np.int32]
_ID = re.compile(r"(?:user|item)_[0-9]+")
_PROBE = "a"  # a word before the word: many vocabularies cut the first one differently


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of different lengths: row i is values[offsets[i]:offsets[i + 1]]."""

    values: Ints
    offsets: npt.NDArray[np.int64]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The length of each row."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, i: int) -> Ints:
        """Return one row."""
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def take(self, rows: npt.NDArray[np.int64]) -> "Ragged":
        """Return some rows, in the order given."""
        lengths = self.lengths[rows]
        offsets = _offsets(lengths)
        return Ragged(self.values[_spans(self.offsets[rows], lengths, offsets)], offsets)

    def padded(self) -> Ints:
        """Return (rows, longest), zeros at the right."""
        lengths = self.lengths
        out = np.zeros((len(self), int(lengths.max(initial=0))), np.int32)
        out[np.arange(out.shape[1]) < lengths[:, None]] = self.values
        return out


def ragged(rows: list[list[int]]) -> Ragged:
    """Return rows of Python lists as one array."""
    flat = np.fromiter((v for row in rows for v in row), np.int32)
    return Ragged(flat, _offsets(np.array([len(row) for row in rows], np.int64)))


@dataclass(frozen=True, slots=True)
class Prompts:
    """Tokenised prompts. `ids`: tokens; `whole`: of the same shape, k at the tokens of the k-th
    id of a prompt (from 1), 0 at other words (paper 3.3)."""

    ids: Ragged
    whole: Ragged


class Tokens:
    """A tokenizer, by word. A word is what stands between two spaces.

    Errors: `PodError` for a tokenizer whose pieces cross from one word into the next, and for a
    word that is more than an id: its tokens would get no whole-word number.
    """

    def __init__(self, tokenizer: Any, render: str = "{}") -> None:
        """`render` says how the model writes an item: its number stands for the braces."""
        self.tokenizer, self.render = tokenizer, render
        self._index: dict[str, int] = {}
        self._is_id = np.zeros(0, bool)
        # word i has two entries: 2i as the first of a text, 2i + 1 after another word
        self._entries = Ragged(np.zeros(0, np.int32), np.zeros(1, np.int64))
        self._probe = self.texts([_PROBE]).row(0).tolist()

    def texts(self, texts: list[str]) -> Ragged:
        """Tokenise whole texts, without special tokens."""
        if not texts:
            return Ragged(np.zeros(0, np.int32), np.zeros(1, np.int64))
        return ragged(self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"])

    def item(self, item_id: int) -> str:
        """Return how the model writes an item."""
        return self.render.format(item_id)

    def parse(self, text: str) -> int | None:
        """Return the item that a text names, None if it names none; nothing else is let through."""
        head, tail = self.render.split("{}")
        number = text.removeprefix(head).removesuffix(tail)
        known = text == head + number + tail and re.fullmatch("[1-9][0-9]*", number)
        return int(number) if known else None

    def items(self, n_items: int) -> Ragged:
        """Tokenise how the model writes the items 1 to n."""
        return self.texts([self.item(i) for i in range(1, n_items + 1)])

    def text(self, tokens: list[int]) -> str:
        """Return the text of tokens the model wrote."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def prompts(self, texts: pa.Array | pa.ChunkedArray | list[str]) -> Prompts:
        """Tokenise prompts by word; equal to tokenising them whole."""
        column = (
            pa.chunked_array([pa.array(texts, pa.string())]) if isinstance(texts, list) else texts
        )
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        split = pc.split_pattern(column, " ")
        word_offsets = split.offsets.to_numpy().astype(np.int64)
        coded = split.flatten().dictionary_encode()
        words = self._look_up(coded.dictionary.to_pylist())[coded.indices.to_numpy()]
        n_words = np.diff(word_offsets)
        entries = 2 * words + 1
        entries[word_offsets[:-1][n_words > 0]] -= 1
        # the ordinal of each id within its prompt
        is_id = self._is_id[words]
        so_far = np.cumsum(is_id)
        before = np.concatenate([[0], so_far])[word_offsets[:-1]]
        ordinal = np.where(is_id, so_far - np.repeat(before, n_words), 0).astype(np.int32)
        lengths = self._entries.lengths[entries]
        ids = self._entries.take(entries)
        offsets = ids.offsets[word_offsets]
        return Prompts(Ragged(ids.values, offsets), Ragged(np.repeat(ordinal, lengths), offsets))

    def check(self, prompts: list[str]) -> None:
        """Insist that assembling equals tokenising whole. Errors: `PodError` where it does not."""
        assembled, whole = self.prompts(prompts).ids, self.texts(prompts)
        for i, prompt in enumerate(prompts):
            if not np.array_equal(assembled.row(i), whole.row(i)):
                raise PodError(
                    f"the tokenizer cuts {prompt[:60]!r} otherwise whole than word by word: "
                    "choose a --base whose tokenizer keeps words apart (Unigram or BPE)"
                )

    def _look_up(self, words: list[str]) -> npt.NDArray[np.int64]:
        """Return the numbers of words, tokenising those not seen before."""
        new = [w for w in words if w not in self._index]
        if new:
            first, later = self.texts(new), self.texts([f"{_PROBE} {w}" for w in new])
            rows: list[list[int]] = []
            for i in range(len(new)):
                if _ID.search(new[i]) and not _ID.fullmatch(new[i]):
                    raise PodError(
                        f"a prompt has the word {new[i]!r}: put spaces around the ids in the "
                        "templates, and build again"
                    )
                tokens = later.row(i).tolist()
                if tokens[: len(self._probe)] != self._probe:
                    raise PodError(
                        f"the tokenizer joins {new[i]!r} with the word before it: choose a --base "
                        "whose tokenizer keeps words apart (Unigram or BPE)"
                    )
                rows += [first.row(i).tolist(), tokens[len(self._probe) :]]
            self._index |= {w: i for i, w in enumerate(new, len(self._index))}
            added = ragged(rows)
            self._entries = Ragged(
                np.concatenate([self._entries.values, added.values]),
                np.concatenate(
                    [self._entries.offsets, self._entries.offsets[-1] + added.offsets[1:]]
                ),
            )
            self._is_id = np.concatenate(
                [self._is_id, [_ID.fullmatch(w) is not None for w in new]]
            ).astype(bool)
        return np.array([self._index[w] for w in words], np.int64)


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _spans(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the positions start, start + 1, ... of every row, one after the other."""
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
