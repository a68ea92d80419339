"""From text to tokens: each distinct word is tokenised once, prompts are put together as arrays."""

import json
import re
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from podprep.contract.errors import PodError

Ints = npt.NDArray[np.int32]
_ID = re.compile(r"(?:user|item)_[0-9]+")
_NO_ID, _IS_ID, _HAS_ID = 0, 1, 2  # kinds of words: without an id, an id, an id and more
SEPARATOR = "|"  # between what a sentence is about and the sentence; no word of either
_PROBE = "a"  # a word before the word: many tokenizers treat the first one differently
Column: TypeAlias = pa.Array | pa.ChunkedArray | list[str]


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

    def grid(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return (rows, longest): indices into the values, and whether each lies within its row."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        across = np.arange(lengths.max(initial=0))
        return starts[:, None] + across, across < lengths[:, None]

    def padded(self) -> Ints:
        """Return (rows, longest), padded with zeros on the right."""
        return filled(self.values, *self.grid(np.arange(len(self))))


def filled(values: Ints, at: npt.NDArray[np.int64], inside: npt.NDArray[np.bool_]) -> Ints:
    """Return the values at the indices of a grid, zeros where they lie outside their row."""
    found = values.take(at, mode="clip")  # an index outside its row may lie past the last value
    found *= inside
    return found


def ragged(rows: list[list[int]]) -> Ragged:
    """Return rows of Python lists as one array."""
    flat = np.fromiter(chain.from_iterable(rows), np.int32)
    return Ragged(flat, _offsets(np.array([len(row) for row in rows], np.int64)))


@dataclass(frozen=True, slots=True)
class TokenizedPrompts:
    """Tokenised prompts.

    ids: tokens; whole_word_ids: of the same shape, k at the tokens of a prompt's k-th id (from 1),
    0 at all other words (paper 3.3).
    """

    ids: Ragged
    whole_word_ids: Ragged


class Tokens:
    """A tokenizer applied word by word. A word is what stands between two spaces.

    Errors: `PodError` for a tokenizer with tokens that span two words, and for a word of a prompt
    that contains an id and more: its tokens would get no whole-word id.
    """

    def __init__(self, tokenizer: Any, render: str = "{}") -> None:
        """`render` is how the model writes an item, its number in place of the braces."""
        self.tokenizer, self.render = tokenizer, render
        self._by_word = _splits_at_spaces(tokenizer)
        self._index: dict[str, int] = {}
        self._kinds = np.zeros(0, np.int8)  # `_NO_ID`, `_IS_ID` or `_HAS_ID`
        # word i has two entries: 2i as the first of a text, 2i + 1 after another word
        self._entries = Ragged(np.zeros(0, np.int32), np.zeros(1, np.int64))
        self._probe = self._whole([_PROBE]).row(0).tolist()

    def texts(self, texts: Column) -> Ragged:
        """Tokenise any texts, without special tokens: word by word where that is the same."""
        if self._by_word:
            return self._joined(*self._words(texts))[0]
        return self._whole(texts if isinstance(texts, list) else texts.to_pylist())

    def item(self, item_id: int) -> str:
        """Return how the model writes an item."""
        return self.render.format(item_id)

    def parse(self, text: str) -> int | None:
        """Return the item that a text names; None unless the text is exactly an item as written."""
        head, tail = self.render.split("{}")
        number = text.removeprefix(head).removesuffix(tail)
        known = text == head + number + tail and re.fullmatch("[1-9][0-9]*", number)
        return int(number) if known else None

    def items(self, n_items: int) -> Ragged:
        """Tokenise items 1 to n as the model writes them."""
        return self.texts([self.item(i) for i in range(1, n_items + 1)])

    def text(self, tokens: list[int]) -> str:
        """Return the text of generated tokens."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def prompts(self, texts: Column) -> TokenizedPrompts:
        """Tokenise prompts word by word; the same as tokenising each as a whole."""
        words, starts = self._words(texts)
        kinds = self._kinds[words]
        if kinds.max(initial=_NO_ID) == _HAS_ID:
            word = list(self._index)[words[kinds.argmax()]]
            raise PodError(
                f"a prompt has the word {word!r}: put spaces around the ids in the templates, "
                "and build again"
            )
        # the ordinal of each id within its prompt
        so_far = np.concatenate([[0], np.cumsum(kinds)])
        ordinal = so_far[1:] - np.repeat(so_far[starts[:-1]], np.diff(starts))
        ids, lengths = self._joined(words, starts)
        whole = np.repeat((ordinal * kinds).astype(np.int32), lengths)
        return TokenizedPrompts(ids, Ragged(whole, ids.offsets))

    def check(self, prompts: list[str]) -> None:
        """Check that tokenising by word and as a whole agree. Errors: `PodError` if they do not."""
        assembled, whole = self.prompts(prompts).ids, self._whole(prompts)
        for i, prompt in enumerate(prompts):
            if not np.array_equal(assembled.row(i), whole.row(i)):
                raise PodError(
                    f"the tokenizer reads {prompt[:60]!r} otherwise than word by word: "
                    "choose a --base whose tokenizer keeps words apart (Unigram or BPE)"
                )

    def _whole(self, texts: list[str]) -> Ragged:
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return ragged(
                self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
                if texts
                else []
            )
        # the same as calling the tokenizer, which computes more than ids in 2.4 times the time
        backend.no_truncation()
        backend.no_padding()
        return ragged([e.ids for e in backend.encode_batch_fast(texts, add_special_tokens=False)])

    def _words(self, texts: Column) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the word numbers of all texts, and where each text begins among them."""
        column = pa.array(texts, pa.string()) if isinstance(texts, list) else texts
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        split = pc.split_pattern(column, " ")
        coded = split.flatten().dictionary_encode()
        words = self._look_up(coded.dictionary.to_pylist())[coded.indices.to_numpy()]
        return words, split.offsets.to_numpy().astype(np.int64)

    def _joined(
        self, words: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]
    ) -> tuple[Ragged, npt.NDArray[np.int64]]:
        """Return texts assembled from words, and the number of tokens of each word."""
        entries = 2 * words + 1
        entries[starts[:-1][np.diff(starts) > 0]] -= 1
        joined = self._entries.take(entries)
        return Ragged(joined.values, joined.offsets[starts]), joined.lengths

    def _look_up(self, words: list[str]) -> npt.NDArray[np.int64]:
        """Return the numbers of words, tokenising new ones."""
        new = [w for w in words if w not in self._index]
        if new:
            first, later = self._whole(new), self._whole([f"{_PROBE} {w}" for w in new])
            rows: list[list[int]] = []
            for i, word in enumerate(new):
                tokens = later.row(i).tolist()
                if tokens[: len(self._probe)] != self._probe:
                    raise PodError(
                        f"the tokenizer joins {word!r} with the word before it: choose a --base "
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
            self._kinds = np.concatenate([self._kinds, np.array([*map(_kind, new)], np.int8)])
        return np.fromiter(map(self._index.__getitem__, words), np.int64, len(words))


def _kind(word: str) -> int:
    if not _ID.search(word):
        return _NO_ID
    return _IS_ID if _ID.fullmatch(word) else _HAS_ID


def _splits_at_spaces(tokenizer: Any) -> bool:
    """Return whether a tokenizer splits every text at spaces first.

    Then tokenising word by word is the same for any text; for other tokenizers `Tokens.check` can
    only compare the prompts it is given.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.normalizer is not None or backend.pre_tokenizer is None:
        return False
    steps = json.loads(backend.pre_tokenizer.__getstate__())
    first = steps["pretokenizers"][0] if steps["type"] == "Sequence" else steps
    spaced = any(" " in token for token in tokenizer.get_added_vocab())
    return first["type"] == "WhitespaceSplit" and not spaced


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _spans(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the indices start, start + 1, ... of every row, concatenated."""
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
