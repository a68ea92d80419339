"""The embedded sample: same bytes for a seed, and the properties the demo and docs rely on."""

import ast
import gzip
import hashlib
import json
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from podprep.raw.sample import write_sample, write_sample_meta

# Of the decompressed content: zlib builds may compress the same content to different bytes.
# A change here changes the figures of the demo; make it on purpose.
GOLDEN_REVIEWS = "dd7a140e036cc492f1755b1e30cbc60cff7136f4994a91273e4fdd92ddd32005"
GOLDEN_META = "394dd74006761c8209622f3eef7857eb2b8e2be202046f16366c4f15e81793e0"

KEYS = [
    "reviewerID",
    "asin",
    "reviewerName",
    "helpful",
    "reviewText",
    "overall",
    "summary",
    "unixReviewTime",
    "reviewTime",
]

Row = dict[str, Any]
History = list[tuple[str, int]]  # (product, time), in time order


def reviews(folder: Path, seed: int = 0) -> bytes:
    write_sample(folder / "reviews.json.gz", seed)
    return gzip.decompress((folder / "reviews.json.gz").read_bytes())


def meta(folder: Path, seed: int = 0) -> bytes:
    write_sample_meta(folder / "meta.json.gz", seed)
    return gzip.decompress((folder / "meta.json.gz").read_bytes())


def defect(line: bytes) -> str | None:
    """Why a line is malformed, or None when it is sound."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return "encoding"
    except json.JSONDecodeError:
        return "cut short" if line.startswith(b"{") else "not JSON"
    if not row.get("asin"):
        return "no asin"
    if not row.get("reviewerID"):
        return "no reviewer"
    if not isinstance(row["overall"], float):
        return "rating"
    return "time" if row["unixReviewTime"] < 0 else None


def five_core(rows: list[Row]) -> dict[str, History]:
    """Histories of the users left when every user and every product has five purchases."""
    first: dict[tuple[str, str], int] = {}
    for row in sorted(rows, key=lambda row: row["unixReviewTime"]):
        first.setdefault((row["reviewerID"], row["asin"]), row["unixReviewTime"])
    while True:
        users, items = Counter(user for user, _ in first), Counter(item for _, item in first)
        kept = {p: t for p, t in first.items() if users[p[0]] >= 5 and items[p[1]] >= 5}
        if len(kept) == len(first):
            break
        first = kept
    histories: dict[str, History] = defaultdict(list)
    for (user, item), time in first.items():
        histories[user].append((item, time))
    return histories


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return reviews(tmp_path_factory.mktemp("sample")).splitlines()


@pytest.fixture(scope="module")
def rows(lines: list[bytes]) -> list[Row]:
    return [json.loads(line) for line in lines if defect(line) is None]


@pytest.fixture(scope="module")
def core(rows: list[Row]) -> dict[str, History]:
    return five_core(rows)


@pytest.fixture(scope="module")
def meta_lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return meta(tmp_path_factory.mktemp("meta")).decode("utf-8").splitlines()


@pytest.mark.parametrize("write", [write_sample, write_sample_meta])
def test_the_seed_alone_decides_the_bytes(write: Any, tmp_path: Path) -> None:
    for name, seed in (("one.gz", 0), ("two.json.gz", 0), ("other.gz", 1)):
        write(tmp_path / name, seed)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.json.gz").read_bytes()
    assert (tmp_path / "one.gz").read_bytes() != (tmp_path / "other.gz").read_bytes()


def test_the_content_of_seed_zero_is_pinned(tmp_path: Path) -> None:
    assert hashlib.sha256(reviews(tmp_path)).hexdigest() == GOLDEN_REVIEWS
    assert hashlib.sha256(meta(tmp_path)).hexdigest() == GOLDEN_META


def test_counts(lines: list[bytes], rows: list[Row]) -> None:
    assert len(lines) == 4078
    assert len({row["reviewerID"] for row in rows}) == 456
    assert len({row["asin"] for row in rows}) == 264
    assert len(rows) - len({(row["reviewerID"], row["asin"]) for row in rows}) == 3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_seven_lines_are_malformed_each_in_its_own_way(seed: int, tmp_path: Path) -> None:
    defects = [defect(line) for line in reviews(tmp_path, seed).splitlines()]
    assert sorted(filter(None, defects)) == sorted(
        ["encoding", "cut short", "not JSON", "no asin", "no reviewer", "rating", "time"]
    )


def test_rows_have_the_form_of_the_2014_release(rows: list[Row]) -> None:
    for row in rows:
        assert list(row) == KEYS
        assert re.fullmatch(r"A[0-9A-Z]{12,13}", row["reviewerID"])
        assert re.fullmatch(r"B0[0-9A-Z]{8}", row["asin"])
        assert 0 <= row["helpful"][0] <= row["helpful"][1]
        assert row["overall"] in {1.0, 2.0, 3.0, 4.0, 5.0}
        assert row["unixReviewTime"] % 86_400 == 0
        date = datetime.fromtimestamp(row["unixReviewTime"], UTC)
        assert 2010 <= date.year <= 2014
        assert row["reviewTime"] == f"{date:%m} {date.day}, {date.year}"


def test_rows_stand_by_product_and_then_by_time(rows: list[Row]) -> None:
    order = [(row["asin"], row["unixReviewTime"]) for row in rows]
    assert order == sorted(order)


def test_texts_have_the_flaws_of_real_ones(rows: list[Row]) -> None:
    texts = [row["reviewText"] for row in rows]
    flaws = {
        "empty": sum(not text for text in texts),
        "short": sum(0 < len(text) < 12 for text in texts),
        "glued": sum(bool(re.search(r"[a-z]\.[A-Z]", text)) for text in texts),
        "entity": sum("&#34;" in text or "&amp;" in text for text in texts),
        "not ASCII": sum(not text.isascii() for text in texts),
        "shouted": sum(bool(re.search(r"[A-Z]{4} [A-Z]{2}", text)) for text in texts),
    }
    # Each is there to be met, and none is so common that it becomes the sample's subject.
    assert {name: n for name, n in flaws.items() if not 0.01 < n / len(texts) < 0.2} == {}


def test_the_five_core_keeps_most_and_drops_some(rows: list[Row], core: dict[str, History]) -> None:
    users, items = {row["reviewerID"] for row in rows}, {row["asin"] for row in rows}
    kept = {item for history in core.values() for item, _ in history}
    assert 0.90 * len(users) <= len(core) < len(users)
    assert 0.85 * len(items) <= len(kept) < len(items)


def test_lengths_and_ties_are_like_those_of_the_real_files(core: dict[str, History]) -> None:
    lengths = [len(history) for history in core.values()]
    assert min(lengths) == 5
    assert 8.5 < sum(lengths) / len(lengths) < 10
    assert 0.28 < sum(n <= 6 for n in lengths) / len(lengths) < 0.42
    assert 0.02 < sum(n >= 20 for n in lengths) / len(lengths) < 0.07
    steps = [(a[1], b[1]) for h in core.values() for a, b in pairwise(h)]
    assert 0.30 < sum(a == b for a, b in steps) / len(steps) < 0.45


def test_the_last_purchase_can_be_learned_from_the_one_before(core: dict[str, History]) -> None:
    popular: Counter[str] = Counter()
    after: dict[str, Counter[str]] = defaultdict(Counter)
    orders = [[item for item, _ in history] for history in core.values()]
    for order in orders:
        popular.update(order[:-1])
        for item, following in pairwise(order[:-1]):
            after[item][following] += 1
    ranking = [item for item, _ in popular.most_common()]
    by_popularity = by_markov = 0
    for order in orders:
        follow = after[order[-2]]
        guesses = sorted(ranking, key=lambda item: -follow[item])  # stable: popularity breaks ties
        by_popularity += order[-1] in ranking[:10]
        by_markov += order[-1] in guesses[:10]
    assert 0.04 < by_popularity / len(orders) < 0.11
    assert by_markov / len(orders) > 0.35
    assert by_markov >= 3 * by_popularity


def test_users_keep_to_their_kinds(core: dict[str, History], meta_lines: list[str]) -> None:
    entries = [ast.literal_eval(line) for line in meta_lines]
    kind = {entry["asin"]: entry["categories"][0][1] for entry in entries}
    same = sizes = 0
    for history in core.values():
        kinds = [kind.get(item) for item, _ in history]
        same += Counter(kinds[:-1]).most_common(1)[0][0] == kinds[-1]
        sizes += 1
    assert len(set(kind.values())) == 8
    assert same / sizes > 0.4  # chance: 1 in 8


def test_metadata_is_python_and_not_json(meta_lines: list[str]) -> None:
    for line in meta_lines:
        assert set(ast.literal_eval(line)) <= {"asin", "title", "brand", "categories", "price"}
        with pytest.raises(json.JSONDecodeError):
            json.loads(line)


def test_metadata_covers_the_products_with_gaps(rows: list[Row], meta_lines: list[str]) -> None:
    entries = [ast.literal_eval(line) for line in meta_lines]
    known, bought = {entry["asin"] for entry in entries}, {row["asin"] for row in rows}
    assert 0.95 <= len(known & bought) / len(bought) < 1
    assert all(any(key not in entry for entry in entries) for key in ("title", "brand", "price"))
    titles = [entry.get("title", "") for entry in entries]
    assert any("'" in title for title in titles)
    assert any("'" in title and '"' in title for title in titles)  # repr must escape one of them
