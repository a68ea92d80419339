"""A tokenizer learned from the shards: each id a token, words of Unigram tokens."""

import math
from collections import Counter
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from podprep.contract.shards import Shards
from podtrain.data.tokens import SEPARATOR

PAD, END, UNKNOWN = SPECIALS = ("<pad>", "</s>", "<unk>")
MARK = "▁"  # stands before a word
TEXT_TOKENS = 4_000  # at most, for words; ids come on top
MIN_FREQUENCY = 2  # occurrences of a pair before byte-pair encoding merges it
MAX_WHOLE_IDS = 200_000  # users and items with a token each; beyond it, 3 digits of an id a token
ID_LOGP = 0.0  # log-probability of an id's token: no other segmentation of a known id beats it
WORD_LOGP = -1e-3  # of a template's word; the most of any other token


def default_id_digits(shards: Shards) -> int:
    """Return 0 (ids whole) while the vocabulary stays small, else 3."""
    return 0 if shards.n_users + shards.n_items <= MAX_WHOLE_IDS else 3


def learn(
    shards: Shards, tasks: tuple[str, ...], id_digits: int
) -> tuple[PreTrainedTokenizerFast, int]:
    """Learn a tokenizer from the templates and the explanations of the training split.

    `id_digits` is how many digits of an id make a token, counted from the right: 2 cuts item_12345
    into item_1, 23, 45; 0 keeps ids whole. Returns the tokenizer and how many of its tokens can be
    generated: those that occur in prompts only, the users', come last.
    """
    texts = (
        shards.sample_table("explanation", "train")["target"] if "explanation" in tasks else None
    )
    text = _text_tokens(texts.to_pylist() if texts else [], _template_words(shards, tasks))
    tails = _tails(max(shards.n_items, shards.n_users), id_digits) if id_digits else []
    items = _heads("item_", shards.n_items, id_digits)
    users = _heads("user_", shards.n_users, id_digits)
    ids = dict.fromkeys((*tails, *items, *users), ID_LOGP)
    tokens = [(p, s) for p, s in text if p not in ids] + list(ids.items())
    learned = Tokenizer(models.Unigram(tokens, unk_id=SPECIALS.index(UNKNOWN)))
    learned.pre_tokenizer = _words()
    learned.decoder = decoders.Metaspace()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=learned, pad_token=PAD, eos_token=END, unk_token=UNKNOWN
    )
    return wrapped, len(tokens) - len(users)


def _heads(kind: str, n: int, digits: int) -> list[str]:
    """Return the first tokens of the ids 1 to n; an id no longer than a token is one."""
    last = min(n, 10**digits - 1) if digits else n
    return [f"{MARK}{kind}{i}" for i in range(1, last + 1)]


def _tails(n: int, digits: int) -> list[str]:
    """Return the tokens that follow the first in ids up to n: none where all ids are short."""
    return [f"{i:0{digits}}" for i in range(min(10**digits, n + 1 - 10**digits))]


def _words() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])


def _template_words(shards: Shards, tasks: tuple[str, ...]) -> list[str]:
    texts = [t["text"] for t in shards.manifest["inputs"]["templates"] if t["task"] in tasks]
    words = {w for text in texts for w in text.split() if not w.startswith("{")}
    return sorted(words | ({SEPARATOR} if "explanation" in tasks else set()))


def _text_tokens(texts: list[str], whole: list[str]) -> list[tuple[str, float]]:
    """Return Unigram tokens with log-probabilities, special tokens first, in a fixed order.

    Byte-pair encoding chooses the tokens, because it counts in whole numbers. The library's Unigram
    trainer adds floats in the order of a hash: no two vocabularies were the same, and an
    explanation took 17.3 tokens where these take 10.4 (the mean of 81,507).
    """
    texts = [*texts, *whole]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = _words()
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=TEXT_TOKENS, min_frequency=MIN_FREQUENCY, show_progress=False
        ),
    )
    counts: Counter[str] = Counter()
    for word, n in Counter(word for text in texts for word in text.split()).items():
        for token in learner.encode(word).tokens:
            counts[token] += n
    total = counts.total()
    tokens = {
        token: min(math.log(n / total), WORD_LOGP)
        for token, n in counts.items()
        if token not in SPECIALS
    }
    floor = min(tokens.values(), default=WORD_LOGP)
    characters = (token for token in learner.get_vocab() if len(token) == 1)
    for character in (
        MARK,
        *"0123456789",
        *characters,
    ):  # for words not in the templates or explanations, and for numbers
        tokens.setdefault(character, floor)
    # every prompt has these words: one token each
    tokens |= {MARK + word: WORD_LOGP for word in whole}
    specials = [(token, ID_LOGP) for token in SPECIALS]
    return specials + sorted(tokens.items(), key=lambda x: (-x[1], x[0]))
