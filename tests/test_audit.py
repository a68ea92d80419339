"""The leak suite: plain-Python figures, both protocols, published folders, planted leaks."""

import gzip
import json
import math
import random
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from podprep.audit.leaks import Audit, Figure, audit, audit_table, audit_words, sql_files
from podprep.contract.errors import PodError
from podprep.engine import Machine, sql_text
from podprep.recipe.options import Duplicates, NegativeSampling, Protocol
from podprep.ui.console import print_tables
from tests.conftest import SHARED, Build, Row, arithmetic_rows, needs_shared, review
from tests.tamper import rewrite

MACHINE = Machine(threads=1, memory=1 << 30)
LEAKS_OF_POD = {"numbering", "user number", "tie order", "explanations", "absence", "training"}


def leaks(found: Audit) -> set[str]:
    return {check.name for check in found.checks if check.leaks}


def figures(found: Audit, check: str) -> dict[str, Figure]:
    return {f.figure: f for c in found.checks if c.name == check for f in c.figures}


def tasteful_rows(users: int, items: int, seed: int) -> list[Row]:
    """A dump in product order: users with tastes of their own, half of the purchases tied."""
    rng = random.Random(seed)
    codes = [f"I{n:04}" for n in range(items)]
    rng.shuffle(codes)  # what is popular says nothing about its code
    rows = []
    for u in range(users):
        taste, day = rng.randrange(items), 100
        for item in {(taste + int(rng.paretovariate(0.6))) % items for _ in range(8)}:
            day += rng.random() < 0.5
            rows.append(review(f"U{u:04}", codes[item], day))
    order = rng.sample(range(users), users)  # users appear in an order of their own
    return sorted(rows, key=lambda r: (r["asin"], order[int(r["reviewerID"][1:])]))


def write_pod(folder: Path, sequences: dict[int, list[int]], **more: Any) -> Path:
    """Write sequential.txt; `codes` are product codes, the others whole files by their stem."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [" ".join(map(str, [u, *items])) for u, items in sequences.items()]
    (folder / "sequential.txt").write_text("\n".join(lines) + "\n")
    if codes := more.pop("codes", None):
        maps = {"id2user": {str(u): f"U{u}" for u in sequences}, "id2item": codes}
        (folder / "datamaps.json").write_text(json.dumps(maps))
    if negatives := more.pop("negatives", None):
        text = "".join(" ".join(map(str, [u, *items])) + "\n" for u, items in negatives.items())
        (folder / "negative.txt").write_text(text)
    if explanations := more.pop("explanations", None):
        (folder / "explanation.json").write_text(json.dumps(explanations))
    assert not more
    return folder


def random_sequences(seed: int, users: int = 40, items: int = 60) -> dict[int, list[int]]:
    rng = random.Random(seed)
    return {u: rng.sample(range(1, items + 1), rng.randint(2, 12)) for u in range(1, users + 1)}


# ------------------------------------------------------------------ against plain Python


@pytest.mark.parametrize("seed", range(4))
def test_the_rules_equal_plain_python(tmp_path: Path, seed: int) -> None:
    sequences = random_sequences(seed)
    if seed == 3:  # by first appearance
        seen: dict[int, int] = {}
        sequences = {
            u: [seen.setdefault(i, len(seen) + 1) for i in s] for u, s in sequences.items()
        }
    found = figures(audit(write_pod(tmp_path, sequences), MACHINE), "numbering")
    for split, last in (("test", -1), ("valid", -2)):
        hr1, hr5, ndcg, n = 0.0, 0.0, 0.0, 0
        for s in sequences.values():
            if len(s) < 3:
                continue
            history, target = s[:last], s[last]
            ranked = list(dict.fromkeys([max(history) + 1, history[-1] + 1]))
            n += 1
            hr1 += ranked[0] == target
            if target in ranked:
                hr5 += 1
                ndcg += 1 / math.log2(ranked.index(target) + 2)
        assert found[f"{split}, max+1, HR@1"].value == pytest.approx(hr1 / n)
        assert found[f"{split}, [max+1, last+1], HR@5"].value == pytest.approx(hr5 / n)
        assert found[f"{split}, [max+1, last+1], NDCG@10"].value == pytest.approx(ndcg / n)
        items = len({i for s in sequences.values() for i in s})
        assert found[f"{split}, max+1, HR@1"].chance == pytest.approx(1 / items)


@pytest.mark.parametrize("seed", range(3))
def test_correlation_and_order_equal_plain_python(tmp_path: Path, seed: int) -> None:
    sequences = random_sequences(seed)
    rng = random.Random(seed)
    codes = {str(n): f"{rng.randrange(10**6):06}" for n in range(1, 61)}
    found = audit(write_pod(tmp_path, sequences, codes=codes), MACHINE)
    held = {u: s for u, s in sequences.items() if len(s) >= 3}
    test = figures(found, "user number")["correlation with product number of the test purchase"]
    assert test.value == pytest.approx(pearson(list(held), [s[-1] for s in held.values()]))
    assert test.threshold == pytest.approx(5 / math.sqrt(len(held) - 1))
    trained = [s[:-2] if len(s) >= 3 else s for s in sequences.values()]
    mean = figures(found, "user number")["correlation with mean product number in training"]
    assert mean.value == pytest.approx(pearson(list(sequences), [sum(t) / len(t) for t in trained]))
    pairs = [codes[str(a)] < codes[str(b)] for s in sequences.values() for a, b in pairwise(s)]
    ascending = figures(found, "tie order")["neighbours that ascend"]
    assert ascending.value == pytest.approx(sum(pairs) / len(pairs))


def pearson(xs: list[int], ys: list[float] | list[int]) -> float:
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True))
    return above / math.sqrt(sum((x - mx) ** 2 for x in xs) * sum((y - my) ** 2 for y in ys))


def test_tied_neighbours_equal_plain_python(build_rows: Build) -> None:
    import pyarrow.parquet as pq

    shards = build_rows(tasteful_rows(60, 80, 1), core=1, tasks=("topn",), rounds=1)
    items = pq.read_table(shards / "catalog/items.parquet").to_pylist()
    codes = {r["item_id"]: r["asin"] for r in items}
    rows = pq.read_table(shards / "catalog/interactions.parquet").to_pylist()
    tied = [
        codes[a["item_id"]] < codes[b["item_id"]]
        for a, b in pairwise(rows)
        if a["user_id"] == b["user_id"] and a["timestamp"] == b["timestamp"]
    ]
    found = figures(audit(shards, MACHINE), "tie order")["neighbours tied in time that ascend"]
    assert found.value == pytest.approx(sum(tied) / len(tied))
    assert found.threshold == pytest.approx(0.5 + 2.5 / math.sqrt(len(tied)))


# ------------------------------------------------------------------ both protocols


@pytest.mark.parametrize("protocol", list(Protocol))
def test_pod_builds_leak_and_clean_builds_do_not(build_rows: Build, protocol: Protocol) -> None:
    shards = build_rows(tasteful_rows(400, 1200, 0), protocol=protocol, core=1)
    found = audit(shards, MACHINE)
    verdicts = {f.verdict for c in found.checks for f in c.figures}
    if protocol is Protocol.POD:
        assert leaks(found) == LEAKS_OF_POD
        tied = figures(found, "tie order")["neighbours tied in time that ascend"]
        assert tied.value == 1
        assert all(f.value == 0 for f in figures(found, "absence").values())
    else:
        assert verdicts == {"clean"}, found
    assert found.leaks == len(leaks(found))


@pytest.mark.parametrize("sampling", list(NegativeSampling))
def test_no_way_of_drawing_negatives_is_a_leak(
    build_rows: Build, sampling: NegativeSampling
) -> None:
    rows = tasteful_rows(80, 60, 3)
    shards = build_rows(
        rows, core=2, negatives=9, rounds=2, negative_sampling=sampling, tasks=("topn",)
    )
    assert leaks(audit(shards, MACHINE)) == set()


def test_random_numbers_are_never_called_a_leak(tmp_path: Path) -> None:
    for seed in range(8):
        folder = write_pod(tmp_path / str(seed), random_sequences(seed, 20 + 60 * seed, 60))
        assert leaks(audit(folder, MACHINE)) == set()


def test_a_tiny_dataset_raises_no_alarm_by_chance(build_rows: Build) -> None:
    found = audit(build_rows(arithmetic_rows(9, 7, 5), core=1), MACHINE)
    numbers = [*figures(found, "numbering").values(), *figures(found, "user number").values()]
    assert {f.verdict for f in numbers} == {"too few to tell"}
    assert leaks(found) == set()


def test_repeated_purchases_are_leaks(build_rows: Build) -> None:
    rows = arithmetic_rows(30, 15, 6)
    rows += [
        {**r, "unixReviewTime": 86_400 * 300} for r in rows if r["unixReviewTime"] == 8_640_000
    ]
    shards = build_rows(rows, duplicates=Duplicates.ALL)
    assert {"duplicates", "history", "prompts", "training"} <= leaks(audit(shards, MACHINE))


# ------------------------------------------------------------------ planted leaks


def first_of(task: str, split: str) -> str:
    return f"samples/task={task}/split={split}/round=0/part-00000.parquet"


def name_the_target(row: Row) -> Row:
    return {**row, "prompt": f"{row['prompt']} item_{row['item_id']}"}


def target_at_the_end(row: Row) -> Row:
    others = [c for c in row["candidates"] if c != row["item_id"]]
    return {**row, "candidates": [*others, row["item_id"]]}


Mutate = Callable[[Row], Row]
PLANTED: dict[str, tuple[str, Mutate]] = {
    "prompts": (first_of("sequential", "test"), name_the_target),
    "history": (
        first_of("sequential", "valid"),
        lambda r: {**r, "history": [*r["history"][1:], r["item_id"]]},
    ),
    "candidates": (
        first_of("topn", "test"),
        lambda r: {**r, "candidates": [*r["candidates"], r["item_id"]]},
    ),
    "place": (first_of("topn", "test"), target_at_the_end),
    "negatives": (
        "catalog/negatives.parquet",
        lambda r: {**r, "item_ids": [r["item_ids"][0], *r["item_ids"][:-1]]},
    ),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from podprep.recipe.inputs import Inputs
    from podprep.recipe.options import BuildOptions
    from podprep.recipe.pipeline import build
    from podprep.recipe.templates import load_templates
    from tests.conftest import write_dump

    folder = tmp_path_factory.mktemp("built")
    dump = write_dump(folder / "dump.gz", tasteful_rows(120, 150, 2))
    inputs = Inputs(
        dataset="tiny",
        options=BuildOptions(core=1, negatives=20, rounds=2),
        templates=load_templates(),
        dump=dump,
    )
    build(inputs, MACHINE, folder / "shards", progress=lambda *_: None)
    return folder / "shards"


@pytest.mark.parametrize("check", PLANTED)
def test_a_planted_leak_is_found(built: Path, tmp_path: Path, check: str) -> None:
    assert leaks(audit(built, MACHINE)) == set()
    shards = Path(shutil.copytree(built, tmp_path / "shards"))
    name, mutate = PLANTED[check]
    rewrite(shards, name, lambda rows: [mutate(r) for r in rows])
    assert leaks(audit(shards, MACHINE)) == {check}


def test_published_negatives_and_explanations_are_asked(tmp_path: Path) -> None:
    sequences = random_sequences(5)
    held = {u: s for u, s in sequences.items() if len(s) >= 3}
    known = sorted({i for s in sequences.values() for i in s})
    negatives = {u: [i for i in known if i not in s][:20] for u, s in held.items()}
    told = [
        {"user": u, "item": s[0], "explanation": "It is", "feature": "it"} for u, s in held.items()
    ]
    good: dict[str, Any] = {
        "negatives": negatives,
        "explanations": dict.fromkeys(("train", "val", "test"), told),
    }
    found = audit(write_pod(tmp_path / "good", sequences, **good), MACHINE)
    assert not leaks(found) & {"negatives", "explanations"}
    user = next(iter(held))
    bad = {**negatives, user: [held[user][-1], *negatives[user][1:]]}
    told = [*told, {"user": user, "item": held[user][-1], "explanation": "", "feature": ""}]
    found = audit(
        write_pod(
            tmp_path / "bad",
            sequences,
            negatives=bad,
            explanations={"train": told, "val": [], "test": []},
        ),
        MACHINE,
    )
    assert {"negatives", "explanations"} <= leaks(found)
    assert f"user {user} bought item {held[user][-1]}" in "\n".join(audit_words(found))


# ------------------------------------------------------------------ folders of others


def test_raw_codes_are_asked_about_their_order_only(tmp_path: Path) -> None:
    rng = random.Random(1)
    lines = [
        f"A{u} " + " ".join(sorted(rng.sample([f"B{n:03}" for n in range(90)], 6)))
        for u in range(50)
    ]
    (tmp_path / "user_sequence.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    found = audit(tmp_path, MACHINE)
    assert leaks(found) == {"tie order"}
    assert {f.verdict for f in figures(found, "numbering").values()} == {"not applicable"}
    assert audit(tmp_path / "user_sequence.txt.gz", MACHINE).checks == found.checks


def test_numbers_in_one_file_stay_numbers(tmp_path: Path) -> None:
    sequences = random_sequences(0)
    write_pod(tmp_path / "pod", sequences)
    path = shutil.copy(tmp_path / "pod" / "sequential.txt", tmp_path / "Beauty.txt")
    one = audit(Path(path), MACHINE)
    assert one.checks == audit(tmp_path / "pod", MACHINE).checks
    assert {f.verdict for f in figures(one, "tie order").values()} == {"not applicable"}


BAD_FOLDERS: dict[str, tuple[dict[str, str], str]] = {
    "nothing": ({}, "neither a dataset"),
    "two files": ({"a": "1 2", "b": "1 2"}, "2 files instead of one"),
    "empty": ({"a": ""}, "a is empty"),
    "user alone": ({"a": "u1 i1 i2\nu2\n"}, "a, line 2 has a user and no item"),
    "user twice": (
        {"sequential.txt": "1 2\n\n1 3\n"},
        "sequential.txt, line 3 has user 1 a second",
    ),
    "a word": ({"sequential.txt": "1 2 x\n"}, "line 1 is no 'user item item"),
    "zero": ({"sequential.txt": "1 2 0\n"}, "line 1 has the number 0; numbers count"),
    "too large": ({"sequential.txt": f"1 {9**30}\n"}, "line 1 is no 'user item item"),
    "negatives": (
        {"sequential.txt": "1 2", "negative.txt": "1 7"},
        "negative.txt, line 1 has an item outside",
    ),
    "stranger": (
        {"sequential.txt": "1 2", "negative.txt": "3 2"},
        "negative.txt, line 1 has user 3",
    ),
    "no maps": ({"sequential.txt": "1 2", "datamaps.json": "[]"}, "holds no JSON object"),
    "no code": (
        {"sequential.txt": "1 2", "datamaps.json": '{"id2item": {"1": "B"}}'},
        "has no object 'id2user'",
    ),
    "no JSON": (
        {"sequential.txt": "1 2", "explanation.json": "{"},
        "explanation.json, line 1 is not JSON",
    ),
    "no user": (
        {"sequential.txt": "1 2", "explanation.json": '{"train": [{"item": 2}]}'},
        "explanation.json, entry 1 has no numbers",
    ),
    "binary": ({"a": "\udcff\udcfe"}, "is UTF-16"),
    "cut": ({"a.gz": "\udc8b"}, "cannot be read"),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_what_is_wrong_with_a_folder_is_one_line(tmp_path: Path, name: str) -> None:
    files, words = BAD_FOLDERS[name]
    for file, text in files.items():
        data = text.encode(errors="surrogateescape")
        if file.endswith(".gz"):
            data = gzip.compress(b"1 2 3\n")[:-9]
        (tmp_path / file).write_bytes(data)
    with pytest.raises(PodError) as error:
        audit(tmp_path, MACHINE)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(PodError, match="does not exist"):
        audit(tmp_path / "none", MACHINE)


# ------------------------------------------------------------------ what people see


def test_the_table_names_every_check(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = audit(built, MACHINE)
    print_tables(audit_table(found))
    shown = capsys.readouterr().out
    for check in found.checks:
        assert check.name in shown
        assert check.words
    assert "[max+1, last+1]" in shown
    assert audit_words(found)[0].startswith("No leak found")


@pytest.mark.parametrize("name", sql_files("leak") + sql_files("invariant"))
def test_every_file_says_what_it_asks(name: str) -> None:
    text = sql_text(f"audit/{name}")
    head = text.partition("\n\n")[0]
    assert all(line.startswith("--") for line in head.splitlines())
    assert "-- grain: " in head
    if name.startswith("leak"):
        assert "threshold: " in head


@needs_shared
def test_published_beauty_leaks_to_the_last_digit() -> None:
    found = audit(SHARED / "data" / "published" / "beauty", MACHINE)
    rules = figures(found, "numbering")
    assert f"{rules['test, max+1, HR@1'].value:.4f}" == "0.0441"
    assert f"{rules['test, [max+1, last+1], NDCG@10'].value:.4f}" == "0.0479"
    assert f"{rules['test, [max+1, last+1], HR@5'].value:.4f}" == "0.0501"
    assert f"{rules['valid, max+1, HR@1'].value:.4f}" == "0.0338"
    assert f"{figures(found, 'tie order')['neighbours that ascend'].value:.1%}" == "69.4%"
    assert leaks(found) == {"numbering", "user number", "tie order"}
