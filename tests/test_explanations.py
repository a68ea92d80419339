"""Explanations: the invariants of what the SQL chooses, and what --sentiment reads and refuses."""

import builtins
import datetime
import gzip
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from podprep.contract.errors import PodError
from podprep.contract.manifest import read_manifest
from podprep.engine import sql_text
from podprep.recipe.lexicon import load_lexicon, word_list_hashes
from podprep.recipe.sentiment import read_sentiment
from tests.conftest import Build, arithmetic_rows

SHARED = Path(__file__).parent.parent.parent / "shared" / "data" / "raw"
DUMPS = ("All_Beauty_5.json.gz", "reviews_Musical_Instruments_first_5050.json.gz")

THINGS = ("handle", "straps", "zipper", "lid", "color", "battery", "hinges", "smell")
SAID = (
    "The {} {} sturdy and I would buy it again.",
    "I bought it for my husband.It has a really nice {}.",
    "Arrived on time! I love the {}, but the box was torn.",
    "My sister says the {} {} awful...  She sent it back.",
    "what a great {}\nand then a second line without an end",
    'She said "the {} {} lovely" &#34;twice&#34; (or so).',
    "Visit www.example.com for the best {} ever.",
    "I don\u2019t think the {} {}n't good; it's a wonderful {} for the price.",
    "GREAT {} AND A VERY GOOD DEAL FOR EVERYONE.",
    "If only the {} {} soft, I wish I could keep the thing.",
)
Explained = list[tuple[int, str, str]]


def made_up(count: int = 240) -> list[str | None]:
    """Reviews in which every thing is said everything about, with empty ones in between."""
    texts: list[str | None] = []
    for n in range(count):
        thing = THINGS[n % len(THINGS)]
        verb = "are" if thing.endswith("s") else "is"
        said = SAID[(n // len(THINGS)) % len(SAID)]
        slots = (thing, verb, thing) if said.count("{}") > 1 else (thing,)
        texts.append((None, "", "  \n ")[n % 3] if n % 10 == 9 else said.format(*slots))
    return texts


def explain(
    texts: list[str | None], lexicon: pa.Table, *, threads: int = 1, lines: int = 1_000_000
) -> tuple[Explained, list[tuple[Any, ...]]]:
    """Run the real SQL over the texts, `lines` of them at a time."""
    con = duckdb.connect(config={"threads": threads})
    given = pa.table({"line_number": pa.array(range(1, len(texts) + 1), pa.int64()), "text": texts})
    con.register("given", given.cast(pa.schema([("line_number", pa.int64()), ("text", "string")])))
    con.execute("CREATE TABLE reviews AS FROM given")
    con.register("words", lexicon)
    con.execute("CREATE TABLE lexicon AS FROM words")
    con.execute(sql_text("build/09_features.sql"))
    found: Explained = []
    for first in range(1, len(texts) + 1, lines):
        con.execute(
            "CREATE OR REPLACE TEMP TABLE block AS "
            f"SELECT {first} AS first_line, {first + lines - 1} AS last_line"
        )
        found += con.execute(sql_text("build/10_sentences.sql")).fetchall()
    return sorted(found), con.execute("FROM features ORDER BY word").fetchall()


@pytest.fixture(scope="module")
def lexicon() -> pa.Table:
    return load_lexicon()


def check_invariants(
    texts: list[str | None], found: Explained, features: list[tuple[Any, ...]]
) -> None:
    forms: dict[str, list[str]] = {}
    for feature, word, *_ in features:
        forms.setdefault(feature, []).append(word)
    assert len({line for line, _, _ in found}) == len(found), "one row per review"
    for line, feature, sentence in found:
        assert sentence in (texts[line - 1] or "")
        assert sentence == sentence.strip()
        words = re.findall(r"[a-z']+", sentence.lower())
        assert set(words) & set(forms[feature]), (feature, sentence)
        assert 2 <= len(sentence.split(" ")) <= 28
        assert not re.search(r"http|www|&#|[?()\"]", sentence)


def test_made_up_reviews_keep_the_invariants(lexicon: pa.Table) -> None:
    texts = made_up()
    found, features = explain(texts, lexicon)
    check_invariants(texts, found, features)
    assert {f for _, f, _ in found} >= {"handle", "strap", "zipper", "lid", "hinge"}
    assert len(found) > 0.4 * sum(bool(t and t.strip()) for t in texts)
    assert "It has a really nice handle." in {s for _, _, s in found}, "glued sentences part"


@pytest.mark.parametrize(("threads", "lines"), [(1, 7), (2, 1_000_000), (2, 1)])
def test_threads_and_blocks_change_nothing(lexicon: pa.Table, threads: int, lines: int) -> None:
    texts = made_up(40)
    assert explain(texts, lexicon, threads=threads, lines=lines) == explain(texts, lexicon)


@pytest.mark.parametrize("texts", [[], [None, "", "  "], ["Great!"], ["...", "!!! ???", "é" * 50]])
def test_nothing_said_is_nothing_explained(lexicon: pa.Table, texts: list[str | None]) -> None:
    assert explain(texts, lexicon)[0] == []


def test_generic_nouns_are_no_features(lexicon: pa.Table) -> None:
    generic = ("thing", "product", "day", "husband", "way", "lot", "one", "amazon", "star")
    texts: list[str | None] = [f"This is a great {w}, and the {w} is nice." for w in generic * 9]
    found, features = explain(texts, lexicon)
    assert found == []
    assert not {f[0] for f in features} & set(generic)


def test_names_are_no_features(lexicon: pa.Table) -> None:
    texts: list[str | None] = [f"I got a nice Zuvonic {w} and it is good." for w in THINGS * 9]
    texts += [f"This great Zuvonic has a {w}." for w in THINGS * 9]
    assert "zuvonic" not in {f[1] for f in explain(texts, lexicon)[1]}


@pytest.mark.parametrize(
    ("plain", "vague"),
    [
        ("The lid is sturdy.", "I put it in a new lid for my old cup last year."),
        ("I love the color.", "If the color is good, I wish for two."),
        ("It smells wonderful.", "I smell good when the smell is there: 5/10 - maybe."),
    ],
)
def test_the_plainer_sentence_is_chosen(lexicon: pa.Table, plain: str, vague: str) -> None:
    background = made_up()
    found, _ = explain([f"{vague} {plain}", f"{plain} {vague}", *background], lexicon)
    assert [s for line, _, s in found if line <= 2] == [plain, plain]


@pytest.mark.parametrize("name", DUMPS)
def test_half_of_the_reviews_of_a_real_dump_are_explained(lexicon: pa.Table, name: str) -> None:
    if not (SHARED / name).is_file():
        pytest.skip("no ../shared beside the checkout")
    with gzip.open(SHARED / name, "rt", encoding="utf-8") as file:
        texts = [json.loads(line).get("reviewText") for line in file]
    found, features = explain(texts, lexicon, threads=2)
    check_invariants(texts, found, features)
    assert len(found) >= 0.5 * sum(bool(t and t.strip()) for t in texts)


def test_the_lexicon_has_one_row_a_word(lexicon: pa.Table) -> None:
    words = lexicon["word"].to_pylist()
    assert len(set(words)) == len(words) > 50_000


RECORDS = [
    {"user": "U1", "item": "I1", "feature": "lid", "sentence": "The lid is tight."},
    {"reviewerID": "U2", "asin": "I2", "feature": "lid", "sentence": "A tight lid."},
    {"user_id": 3, "item_id": 4, "feature": "lid", "sentence": "Loose lid."},
]
ROWS = [
    {"reviewer_id": "U1", "asin": "I1", "feature": "lid", "sentence": "The lid is tight."},
    {"reviewer_id": "U2", "asin": "I2", "feature": "lid", "sentence": "A tight lid."},
    {"reviewer_id": "3", "asin": "4", "feature": "lid", "sentence": "Loose lid."},
]
TEMPLATES = [
    {**{k: RECORDS[0][k] for k in ("user", "item")}, "rating": 5, "predicted": "lid",
     "template": ("lid", "tight", "The lid is tight.", 1)},
]  # fmt: skip
LISTS = [
    {"user": "U1", "item": "I1", "sentence": [("lid", "tight", "The lid is tight.", 1)]},
    {"user": "U2", "item": "I2", "sentence": [["lid", "tight", "A tight lid.", 1]]},
]


def write_lines(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def test_json_lines_by_any_of_the_names(tmp_path: Path) -> None:
    table, problems = read_sentiment(write_lines(tmp_path / "s.jsonl", RECORDS))
    assert (table.to_pylist(), problems) == (ROWS, [])


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_pickles_of_both_kinds(
    tmp_path: Path, protocol: int, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "reviews.pickle"
    for records, rows in ((TEMPLATES, ROWS[:1]), (LISTS, ROWS[:2]), (RECORDS, ROWS)):
        path.write_bytes(pack(pickle.dumps(records, protocol)))
        table, problems = read_sentiment(path)
        assert (table.to_pylist(), problems) == (rows, [])


def test_bad_records_are_counted(tmp_path: Path) -> None:
    lines = [*map(json.dumps, RECORDS[:1]), "{", "[]", '{"user": "U"}', "", json.dumps(RECORDS[1])]
    path = tmp_path / "s.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    table, problems = read_sentiment(path)
    assert table.to_pylist() == ROWS[:2]
    assert problems == [(2, "not JSON"), (3, "no object"), (4, "no item")]


class Calls:
    """Pickles as a call of a function with an argument."""

    def __init__(self, function: Callable[..., Any], argument: str) -> None:
        self.call = (function, (argument,))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return self.call


HOSTILE = {
    "system": Calls(os.system, "touch pwned"),
    "eval": Calls(builtins.eval, "open('pwned', 'w')"),
    "instance": datetime.date(2024, 1, 1),
    "set-like": [{"user": "U", "item": "I", "template": datetime.timedelta(1)}],
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", HOSTILE)
def test_a_pickle_that_names_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "reviews.pickle"
    path.write_bytes(pickle.dumps(HOSTILE[name], protocol))
    with pytest.raises(PodError, match=r"reviews\.pickle: pickle refused, it names .* code") as e:
        read_sentiment(path)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.pickle", b"\x80\x04X", "pickle refused"),
        ("b.pickle", b"\x80\x04Pab\n.", "pickle refused"),
        ("c.pickle", pickle.dumps({"a": 1}), "a pickled dict, not a list"),
        ("d.jsonl", b"", "it is empty"),
        ("e.jsonl", b"{}\n", "record 1: no user"),
        ("f.jsonl.gz", gzip.compress(b"{}", mtime=0)[:-9], "give a readable file"),
        ("g.pickle", pickle.dumps([{"user": "U", "item": "I", "template": ()}]), "record 1"),
    ],
)
def test_errors_say_what_where_and_what_next(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(PodError, match=re.escape(message)) as e:
        read_sentiment(path)
    assert str(e.value).startswith(f"{path}: ")
    assert "\n" not in str(e.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PodError, match=r"none\.jsonl: No such file"):
        read_sentiment(tmp_path / "none.jsonl")


def test_the_manifest_names_the_word_lists_where_they_were_used(build_rows: Build) -> None:
    rows = arithmetic_rows()
    for tasks, used in ((("explanation", "topn"), True), (("topn",), False)):
        manifest = read_manifest(build_rows(rows, tasks=tasks, negatives=5, rounds=1))
        expected = word_list_hashes() if used else None
        assert manifest["inputs"].get("word_lists") == expected
