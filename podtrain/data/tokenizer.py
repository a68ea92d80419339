"""A tokenizer learned from the shards: ids as pieces of their own, words as Unigram pieces."""

import math
from collections import Counter
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from podprep.contract.shards import Shards

PAD, END, UNKNOWN = SPECIALS = ("<pad>", "</s>", "<unk>")
MARK = "▁"  # stands before a word
TEXT_PIECES = 4_000  # at most, of words; ids come on top
SEEN = 2  # times that letters stand together before they become a piece
WHOLE_UP_TO = 200_000  # users and items together that get a piece each; past it 3 digits a piece
WHOLE = 0.0  # log-probability of an id's piece: a known id is never cut otherwise
ALMOST_WHOLE = -1e-3  # of a template's word, and at most of any other


def default_id_digits(shards: Shards) -> int:
    """Return 0, ids whole, while the vocabulary stays small; else 3."""
    return 0 if shards.n_users + shards.n_items <= WHOLE_UP_TO else 3


def learn(
    shards: Shards, tasks: tuple[str, ...], id_digits: int
) -> tuple[PreTrainedTokenizerFast, int]:
    """Learn a tokenizer from the templates and the explanations of the training split.

    `id_digits` is how many digits of an id make a piece, counted from the right: 2 cuts item_12345
    into item_1, 23, 45; 0 keeps ids whole. Returns the tokenizer and how many of its pieces can be
    written: those that only prompts have, the users', come last.
    """
    texts = (
        shards.sample_table("explanation", "train")["target"] if "explanation" in tasks else None
    )
    text = _text_pieces(texts.to_pylist() if texts else [], _template_words(shards, tasks))
    tails = _tails(max(shards.n_items, shards.n_users), id_digits) if id_digits else []
    items = _heads("item_", shards.n_items, id_digits)
    users = _heads("user_", shards.n_users, id_digits)
    ids = dict.fromkeys((*tails, *items, *users), WHOLE)
    pieces = [(p, s) for p, s in text if p not in ids] + list(ids.items())
    learned = Tokenizer(models.Unigram(pieces, unk_id=SPECIALS.index(UNKNOWN)))
    learned.pre_tokenizer = _words()
    learned.decoder = decoders.Metaspace()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=learned, pad_token=PAD, eos_token=END, unk_token=UNKNOWN
    )
    return wrapped, len(pieces) - len(users)


def _heads(kind: str, n: int, digits: int) -> list[str]:
    """Return the first pieces of the ids 1 to n; an id no longer than a piece is one."""
    last = min(n, 10**digits - 1) if digits else n
    return [f"{MARK}{kind}{i}" for i in range(1, last + 1)]


def _tails(n: int, digits: int) -> list[str]:
    """Return the pieces that follow a first one in an id up to n: none where all ids are short."""
    return [f"{i:0{digits}}" for i in range(min(10**digits, n + 1 - 10**digits))]


def _words() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])


def _template_words(shards: Shards, tasks: tuple[str, ...]) -> list[str]:
    texts = [t["text"] for t in shards.manifest["inputs"]["templates"] if t["task"] in tasks]
    return sorted({w for text in texts for w in text.split() if not w.startswith("{")})


def _text_pieces(texts: list[str], whole: list[str]) -> list[tuple[str, float]]:
    """Return Unigram pieces with log-probabilities, specials first, in an order of no chance.

    Byte-pair merges choose the pieces, because they count in whole numbers. The library's Unigram
    trainer adds floats in the order of a hash: no two vocabularies were the same, and explanations
    took 17.3 pieces where these take 10.4 (81,507 of them).
    """
    texts = [*texts, *whole]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = _words()
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=TEXT_PIECES, min_frequency=SEEN, show_progress=False),
    )
    counts: Counter[str] = Counter()
    for word, n in Counter(word for text in texts for word in text.split()).items():
        for piece in learner.encode(word).tokens:
            counts[piece] += n
    total = counts.total()
    pieces = {
        piece: min(math.log(n / total), ALMOST_WHOLE)
        for piece, n in counts.items()
        if piece not in SPECIALS
    }
    floor = min(pieces.values(), default=ALMOST_WHOLE)
    characters = (piece for piece in learner.get_vocab() if len(piece) == 1)
    for character in (MARK, *"0123456789", *characters):  # of words to come, and of numbers
        pieces.setdefault(character, floor)
    # every prompt has them: fewer tokens
    pieces |= {MARK + word: ALMOST_WHOLE for word in whole}
    specials = [(piece, WHOLE) for piece in SPECIALS]
    return specials + sorted(pieces.items(), key=lambda x: (-x[1], x[0]))
