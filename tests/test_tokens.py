"""Tokens: prompts put together from words equal prompts tokenised whole; learned vocabularies."""

import json
import re
import string
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, T5Tokenizer

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podprep.contract.tasks import SPLITS, TASKS
from podprep.recipe.templates import load_templates
from podtrain.data import tokenizer as learning
from podtrain.data.tokenizer import END, MARK, PAD, UNKNOWN, default_id_digits, learn
from podtrain.data.tokens import TokenizedPrompts, Tokens
from tests.conftest import Build, arithmetic_rows
from tests.test_stream import build_sample

TEMPLATES = load_templates()
KINDS = ("whole", "1 digit", "2 digits", "3 digits", "t5", "bpe")
ID = re.compile("(user|item)_[0-9]+")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return build_sample(tmp_path_factory.mktemp("sample"))


def t5_tokenizer(*more: str) -> Any:
    """T5's own class; its vocabulary has pieces that cut ids in several ways."""
    pieces = [f"{MARK}item", f"{MARK}user", "_", "_1", "12", f"{MARK}1", "item", "▁a", "▁to", *more]
    single = [MARK, *string.ascii_letters, *string.digits, *",.?:"]
    scored = [(p, -2.0 - n / 7) for n, p in enumerate(pieces)] + [(c, -9.0) for c in single]
    specials = [(special, 0.0) for special in (PAD, END, UNKNOWN)]
    return T5Tokenizer(vocab=specials + scored, extra_ids=0)


def bpe_tokenizer(texts: list[str]) -> Any:
    """A space belongs to the word after it, so that the first word is cut otherwise."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=learner)


@pytest.fixture(scope="module")
def made(sample: Shards) -> dict[str, Any]:
    learned = {kind: learn(sample, TASKS, n)[0] for n, kind in enumerate(KINDS[:4])}
    prompts = sample.sample_table("sequential", "train")["prompt"].to_pylist()
    return {**learned, "t5": t5_tokenizer(), "bpe": bpe_tokenizer(prompts)}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest, made: dict[str, Any]) -> Any:
    return made[request.param]


# Words of any template, and such as no vocabulary has; ids in and outside the catalogue.
words = st.text(string.ascii_lowercase + "AZ_019.,'-éß日😀▁", min_size=1, max_size=6)
words = words.filter(lambda word: not ID.search(word))
item_ids = st.integers(1, 1300).map("item_{}".format)


@st.composite
def prompts(draw: st.DrawFn) -> str:
    """A prompt of any task."""
    template = draw(st.sampled_from(TEMPLATES)).text
    listed = " ".join(draw(st.lists(item_ids, min_size=1, max_size=9)))
    values = {"user": f"user_{draw(st.integers(1, 1300))}", "item": draw(item_ids)}
    prompt = template.format(**values, history=listed, candidates=listed).split(" ")
    for word in draw(st.lists(words, max_size=3)):
        prompt.insert(draw(st.integers(0, len(prompt))), word)
    return " ".join(prompt)


def whole(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]


def whole_words(tokenizer: Any, prompt: str) -> list[int]:
    """Whole-word numbers: tokenise ever more words, look which tokens each one adds."""
    numbers: list[int] = []
    ids, parts = 0, prompt.split(" ")
    for n, word in enumerate(parts, 1):
        ids += (is_id := ID.fullmatch(word) is not None)
        tokens = len(whole(tokenizer, " ".join(parts[:n])))
        numbers += [ids if is_id else 0] * (tokens - len(numbers))
    return numbers


def rows(prompts: TokenizedPrompts) -> list[tuple[list[int], list[int]]]:
    assert len(prompts.ids) == len(prompts.whole_word_ids)
    both = (prompts.ids, prompts.whole_word_ids)
    return [(both[0].row(i).tolist(), both[1].row(i).tolist()) for i in range(len(prompts.ids))]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(prompts(), max_size=4))
def test_putting_words_together_equals_tokenising_whole(tokenizer: Any, texts: list[str]) -> None:
    expected = [(whole(tokenizer, text), whole_words(tokenizer, text)) for text in texts]
    tokens = Tokens(tokenizer)
    assert rows(tokens.prompts(texts[:2])) == expected[:2]  # then some words are known already
    assert rows(tokens.prompts(texts)) == expected
    cut = pa.array(["x y", *texts, "z"], pa.string())[1:-1]
    assert rows(tokens.prompts(cut)) == expected
    assert rows(tokens.prompts(pa.chunked_array([cut, cut]))) == expected * 2
    tokens.check(texts)


def test_the_samples_own_prompts(sample: Shards, tokenizer: Any) -> None:
    tokens = Tokens(tokenizer)
    for task in TASKS:
        column = sample.sample_table(task, "train")["prompt"].slice(0, 10)
        assert rows(tokens.prompts(column)) == [
            (whole(tokenizer, text), whole_words(tokenizer, text)) for text in column.to_pylist()
        ]


def test_the_tokenizers_differ_as_the_tests_need(made: dict[str, Any]) -> None:
    cuts = {kind: tokenizer.tokenize("a item_123 item_17") for kind, tokenizer in made.items()}
    assert cuts["t5"] == ["▁a", "▁item", "_", "12", "3", "▁item", "_1", "7"]
    assert cuts["1 digit"][-2:] == ["▁item_1", "7"]
    bpe = made["bpe"]
    assert bpe.tokenize("item_12") != bpe.tokenize("a item_12")[-len(bpe.tokenize("item_12")) :]
    assert made["whole"].unk_token_id in whole(made["whole"], "日")


# Whatever people write: runs of spaces, other white space, ids with something at them, specials.
texts = st.text(string.ascii_lowercase + "AZ_019.,'-éß日😀▁ \t\n\u2009", max_size=40)
texts = st.lists(
    st.one_of(
        texts, st.sampled_from([END, "x</s>y", "item_3, user_1's", " ", "", "  ab  item_7 "])
    ),
    max_size=4,
).map(" ".join)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(texts, max_size=4))
def test_any_text_is_tokenised_as_if_whole(tokenizer: Any, texts: list[str]) -> None:
    tokens = Tokens(tokenizer)
    for column in (texts[:1], texts, pa.chunked_array([texts, texts], pa.string())):
        found = tokens.texts(column)
        expected = column if isinstance(column, list) else column.to_pylist()
        assert [found.row(i).tolist() for i in range(len(found))] == [
            whole(tokenizer, text) for text in expected
        ]


@pytest.mark.parametrize(
    ("kind", "harm", "by_word"),
    [
        ("whole", None, True),
        ("t5", None, True),
        ("bpe", None, False),  # it keeps spaces, and may join several
        ("t5", "normalizer", False),
        ("t5", "no words", False),
        ("t5", "spaced piece", False),
    ],
)
def test_texts_go_by_word_only_where_nothing_crosses_a_space(
    made: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    harm: str | None,
    by_word: bool,
) -> None:
    """For the others each text is tokenised whole, and no word is learned from it."""
    tokenizer = t5_tokenizer() if kind == "t5" else made[kind]
    if harm == "normalizer":
        tokenizer.backend_tokenizer.normalizer = normalizers.Replace("e a", "ea")
    elif harm == "no words":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    elif harm == "spaced piece":
        tokenizer.add_tokens(["e a"])
    tokens, text = Tokens(tokenizer), "we are here"
    monkeypatch.setattr(tokens, "_words", lambda _: pytest.fail("by word"))
    if by_word:
        with pytest.raises(pytest.fail.Exception, match="by word"):
            tokens.texts([text])
    else:
        assert tokens.texts([text]).row(0).tolist() == whole(tokenizer, text)


def test_a_tokenizer_that_cuts_or_fills_up_tells_no_less() -> None:
    tokenizer, text = t5_tokenizer(), "item_12 to user_3"
    expected = whole(tokenizer, text)
    tokenizer.backend_tokenizer.enable_truncation(2)
    tokenizer.backend_tokenizer.enable_padding(length=30)
    assert Tokens(tokenizer).texts([text]).row(0).tolist() == expected


def joining(piece: str) -> Any:
    """A tokenizer that prefers a piece of two words to whatever else cuts them."""
    tokenizer = t5_tokenizer()
    pieces = [*vocabulary(tokenizer), (piece, 0.0)]
    tokenizer.backend_tokenizer.model = models.Unigram(pieces, unk_id=2)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return tokenizer


@pytest.mark.parametrize("piece", ["▁a▁item_7", "▁to▁user_3"])
def test_a_tokenizer_that_joins_words_is_refused(piece: str) -> None:
    """Whether it joins a word with the one it is tried after, or with another."""
    prompts = ["explain item_7 to user_3 ."]
    with pytest.raises(PodError, match="choose a --base whose tokenizer keeps words apart"):
        Tokens(joining(piece)).check(prompts)
    Tokens(joining("▁of▁user_3")).check(prompts)


def test_refused_once_is_refused_again() -> None:
    tokens = Tokens(joining("▁a▁b"))
    for _ in range(2):
        with pytest.raises(PodError, match="joins 'b' with the word before it"):
            tokens.prompts(["c b"])
    assert rows(tokens.prompts(["c c"])) == [(whole(tokens.tokenizer, "c c"), [0] * 4)]


@pytest.mark.parametrize("word", ["user_12,", "(item_3", "item_3\nuser_12", "item_3's"])
def test_an_id_with_something_at_it_is_refused(made: dict[str, Any], word: str) -> None:
    with pytest.raises(PodError, match=r"put spaces around the ids in the templates"):
        Tokens(made["whole"]).prompts([f"Tell {word} this"])


@given(st.integers(1, 2**31), st.sampled_from(["{}", "item_{}", "<{}>", "1{}1"]))
def test_parse_reads_what_item_writes(item_id: int, render: str) -> None:
    tokens = Tokens(t5_tokenizer(), render)
    assert tokens.parse(tokens.item(item_id)) == item_id


def test_parse_lets_nothing_else_through() -> None:
    bad = [
        "+5",
        "-5",
        "05",
        "0",
        "1_2",
        "",
        " 3",
        "3 ",
        "3\n",
        "5.0",
        "٣",
        "²",
        "1e3",
        "five",
        "1٣",
    ]
    bare, named = Tokens(t5_tokenizer()), Tokens(t5_tokenizer(), "item_{}")
    for text in bad:
        assert bare.parse(text) is None, text
        assert named.parse(f"item_{text}") is None, text
    for text in ("item_", "user_3", "3", "item_3 item_4", "Item_3", " item_3", "item_item_3"):
        assert named.parse(text) is None, text


def test_every_item_survives_writing_and_reading(tokenizer: Any) -> None:
    """No two have the same tokens, and their text names them again."""
    tokens = Tokens(tokenizer, "item_{}")
    items = tokens.items(300)
    lists = [items.row(i).tolist() for i in range(300)]
    assert len(set(map(tuple, lists))) == 300
    assert [tokens.parse(tokens.text(row)) for row in lists] == list(range(1, 301))


# The learned vocabulary


def vocabulary(tokenizer: Any) -> list[tuple[str, float]]:
    vocab = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["vocab"]
    return [(piece, score) for piece, score in vocab]


def test_learned_twice_it_is_the_same(sample: Shards) -> None:
    first, second = (learn(sample, TASKS, 0) for _ in range(2))
    assert vocabulary(first[0]) == vocabulary(second[0])
    assert first[1] == second[1]
    pieces = [piece for piece, _ in vocabulary(first[0])]
    assert len(set(pieces)) == len(pieces)
    assert pieces[:3] == [PAD, END, UNKNOWN]
    assert [first[0].pad_token_id, first[0].eos_token_id, first[0].unk_token_id] == [0, 1, 2]


def test_more_words_than_pieces_are_cut_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where equally frequent pieces compete for the last places."""
    monkeypatch.setattr(learning, "TEXT_TOKENS", 90)
    texts = [f"{a}{b}{c} {c}{a}" for a in "abcdef" for b in "abcdef" for c in "abcdef"]
    learned = [learning._text_tokens(order, ["Write"]) for order in (texts, texts, texts[::-1])]
    assert learned[0] == learned[1] == learned[2]
    text = learned[0][3:]
    assert text == sorted(text, key=lambda x: (-x[1], x[0]))
    assert len(text) < 110  # the words of templates and digits come on top


def test_a_text_with_a_special_token_teaches_no_second_one() -> None:
    text = " ".join(f"{c}{end}" for c in string.ascii_letters for end in (END, PAD, UNKNOWN))
    pieces = [piece for piece, _ in learning._text_tokens([text], ["So"])]
    assert [pieces.count(special) for special in (PAD, END, UNKNOWN)] == [1, 1, 1]


def test_nothing_to_learn_from_leaves_characters() -> None:
    assert {MARK, *string.digits} < {piece for piece, _ in learning._text_tokens([], [])}


def test_words_of_held_out_explanations_are_not_learned(build_rows: Build) -> None:
    """Every user's last two purchases, the validation's and the test's, are called wuzzleful."""
    rows = arithmetic_rows()
    for row in rows:
        if row["unixReviewTime"] >= 86_400 * 104:
            row["reviewText"] = row["reviewText"].replace("sturdy", "sturdy wuzzleful")
    shards = Shards.open(build_rows(rows, tasks=("explanation",), rounds=1))
    texts = {s: shards.sample_table("explanation", s)["target"].to_pylist() for s in SPLITS}
    assert [all("wuzzleful" in text for text in texts[s]) for s in SPLITS] == [False, True, True]
    assert not any("wuzzleful" in text for text in texts["train"])
    tokenizer, _ = learn(shards, ("explanation",), 0)
    assert tokenizer.tokenize("very sturdy.") == [f"{MARK}very", f"{MARK}sturdy."]
    assert len(tokenizer.tokenize("wuzzleful")) > 4
    assert "wuzz" not in " ".join(piece for piece, _ in vocabulary(tokenizer))


@pytest.mark.parametrize("id_digits", [0, 1, 2, 3])
def test_users_pieces_come_last_and_are_not_written(sample: Shards, id_digits: int) -> None:
    tokenizer, writable = learn(sample, TASKS, id_digits)
    pieces = [piece for piece, _ in vocabulary(tokenizer)]
    assert len(tokenizer) == len(pieces)
    assert pieces[writable:]
    assert all(piece.startswith(f"{MARK}user_") for piece in pieces[writable:])
    assert not any(piece.startswith(f"{MARK}user_") for piece in pieces[:writable])
    tokens = Tokens(tokenizer, "item_{}")
    assert tokens.items(sample.n_items).values.max() < writable
    targets = sample.sample_table("explanation", "train")["target"].to_pylist()
    written = tokens.texts(targets)
    assert written.values.max() < writable
    assert [tokens.text(written.row(i).tolist()) for i in range(len(targets))] == targets
    if not id_digits:
        assert pieces[writable:] == [f"{MARK}user_{i}" for i in range(1, sample.n_users + 1)]
        for kind, n in {"item": sample.n_items, "user": sample.n_users}.items():
            ids = [f"{kind}_{i}" for i in range(1, n + 1)]
            assert [tokenizer.tokenize(i) for i in ids] == [[MARK + i] for i in ids]


@pytest.mark.parametrize(
    ("id_digits", "cut"),
    [(1, "item_1 2 3 4 5"), (2, "item_1 23 45"), (3, "item_12 345"), (0, "item_12345")],
)
def test_ids_are_cut_from_the_right(sample: Shards, id_digits: int, cut: str) -> None:
    files = sample.manifest["files"]
    many = {
        name: {**files[f"catalog/{name}.parquet"], "rows": 12_345} for name in ("items", "users")
    }
    catalog = {f"catalog/{name}.parquet": entry for name, entry in many.items()}
    shards = replace(sample, manifest={**sample.manifest, "files": {**files, **catalog}})
    tokenizer, _ = learn(shards, TASKS, id_digits)
    for kind in ("item", "user"):
        pieces = (MARK + cut.replace("item", kind)).split(" ")
        assert tokenizer.tokenize(f"{kind}_12345") == pieces
    for i in (*range(1, 130), 999, 1000, 1001, 9_999, 10_000, 12_344):
        digits = str(i)
        tails = range(len(digits), 0, -id_digits) if id_digits else [len(digits)]
        parts = [digits[max(0, end - id_digits) if id_digits else 0 : end] for end in tails][::-1]
        assert tokenizer.tokenize(f"item_{i}") == [f"{MARK}item_{parts[0]}", *parts[1:]]


def test_no_piece_for_digits_that_no_id_has(sample: Shards) -> None:
    """The ids of the sample have at most 3 digits; others are cut by hand."""
    whole, cut = (learn(sample, TASKS, n)[0] for n in (0, 3))
    assert vocabulary(cut) == vocabulary(whole)
    for digits, n in product((1, 2, 3), (5, 9, 10, 12, 99, 100, 123, 199, 200, 1500, 12_345)):
        numbers = [str(i) for i in range(1, n + 1)]
        first = [len(i) % digits or digits for i in numbers]
        heads = {i[:k] for i, k in zip(numbers, first, strict=True)}
        tails = {i[m : m + digits] for i, k in zip(numbers, first, strict=True)
                 for m in range(k, len(i), digits)}  # fmt: skip
        assert learning._tails(n, digits) == sorted(tails)
        assert learning._heads("", n, digits) == [MARK + i for i in sorted(heads, key=int)]


def test_ids_are_whole_while_the_vocabulary_is_small(sample: Shards) -> None:
    assert default_id_digits(sample) == 0
    count = partial(dict.__or__, sample.manifest["files"])
    for users, digits in ((200_000 - sample.n_items, 0), (200_001 - sample.n_items, 3)):
        files = count({"catalog/users.parquet": {"rows": users}})
        many = replace(sample, manifest={**sample.manifest, "files": files})
        assert default_id_digits(many) == digits


def test_a_saved_vocabulary_reads_the_same(made: dict[str, Any], tmp_path: Path) -> None:
    made["whole"].save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "Tell user_3 why item_12 , item_9999 and 日 are worth a look ."
    assert whole(again, text) == whole(made["whole"], text)
    assert again.eos_token_id == made["whole"].eos_token_id
