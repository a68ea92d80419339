"""The build against plain Python, and the invariants that hold for every dataset."""

import gzip
import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podprep.contract.errors import PodError
from podprep.recipe.options import Duplicates, NegativeSampling, Protocol, Task
from podprep.recipe.templates import load_templates
from tests import oracle
from tests.conftest import SHARED, Build, Row, arithmetic_rows, needs_shared, review, write_dump

EPOCH = datetime(1970, 1, 1)  # (times of a dataset are UTC without saying so)
PROTOCOLS = list(Protocol)
BOTH = pytest.mark.parametrize("protocol", PROTOCOLS)


def catalog(shards: Path, name: str) -> list[Row]:
    return list(pq.read_table(shards / "catalog" / f"{name}.parquet").to_pylist())


def samples(shards: Path, task: str, split: str) -> list[Row]:
    files = sorted(shards.glob(f"samples/task={task}/split={split}/round=*/part-*.parquet"))
    return [
        {**row, "round": int(file.parent.name.partition("=")[2])}
        for file in files
        for row in pq.ParquetFile(file).read().to_pylist()
    ]


def manifest_of(shards: Path) -> dict[str, Any]:
    return dict(json.loads((shards / "manifest.json").read_text()))


def dropped(shards: Path, stage: str) -> dict[str, int]:
    return dict(next(s for s in manifest_of(shards)["stages"] if s["stage"] == stage)["dropped"])


# ------------------------------------------------------------------ against plain Python

histories = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 9), st.integers(1, 6)), min_size=20, max_size=90
)
slow = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@BOTH
@pytest.mark.parametrize("duplicates", list(Duplicates))
@slow
@given(bought=histories)
def test_core_ties_numbers_and_split_equal_plain_python(
    build_rows: Build,
    bought: list[tuple[int, int, int]],
    protocol: Protocol,
    duplicates: Duplicates,
) -> None:
    rows = [review(f"U{u}", f"I{i}", day) for u, i, day in bought]
    core = oracle.core(oracle.purchases(rows, duplicates), 3)
    options = {"protocol": protocol, "duplicates": duplicates, "core": 3, "negatives": 2, "seed": 5}
    if not core:
        with pytest.raises(PodError, match="no 3-core is left"):
            build_rows(rows, **options)
        return
    ordered = oracle.sequences(core, protocol, 5)
    users, items = oracle.numbers(rows, ordered, protocol, 5)
    shards = build_rows(rows, **options, tasks=("sequential", "topn"), rounds=1)
    assert [r["reviewer_id"] for r in catalog(shards, "users")] == users
    assert [r["asin"] for r in catalog(shards, "items")] == items
    expected = []
    for user_id, user in enumerate(users, 1):
        own = ordered[user]
        times = [p[3] for p in own]
        for position, p in enumerate(own, 1):
            left = len(own) - position
            expected.append(
                {
                    "user_id": user_id,
                    "position": position,
                    "item_id": items.index(p[2]) + 1,
                    "seconds": p[3],
                    "tied": times.count(p[3]) > 1,
                    "split": {0: "test", 1: "valid"}.get(left, "train"),
                }
            )
    got = [
        {**{k: r[k] for k in expected[0] if k != "seconds"}, "seconds": r["timestamp"]}
        for r in catalog(shards, "interactions")
    ]
    for row in got:
        row["seconds"] = int((row["seconds"] - EPOCH).total_seconds())
    assert [dict(sorted(r.items())) for r in got] == [dict(sorted(r.items())) for r in expected]


def test_negatives_equal_plain_python(build_rows: Build) -> None:
    shards = build_rows(arithmetic_rows(), seed=3, negatives=4, tasks=("topn",), rounds=1)
    interactions = catalog(shards, "interactions")
    n_items = len(catalog(shards, "items"))
    a, b = oracle.sides(n_items)
    for row in catalog(shards, "negatives"):
        own = {r["item_id"] for r in interactions if r["user_id"] == row["user_id"]}
        k = oracle.key(3, f"negatives/{row['split']}", row["user_id"], 0)
        drawn = [v + 1 for v in oracle.permuted(k, a * b, a, b) if v < n_items]
        assert row["item_ids"] == [item for item in drawn if item not in own][:4]


# ------------------------------------------------------------------ invariants


def check_invariants(shards: Path) -> None:
    """Everything the contract promises of any dataset, from its files alone."""
    manifest = manifest_of(shards)
    inputs, options = manifest["inputs"], manifest["inputs"]["options"]
    clean = inputs["reading"] == "clean"
    bare = {t["task"]: t["id"] for t in inputs["templates"] if t["bare"]}
    history: dict[int, list[Row]] = {}
    for row in catalog(shards, "interactions"):
        history.setdefault(row["user_id"], []).append(row)
    items = {r["item_id"] for r in catalog(shards, "items")}
    own = {u: [r["item_id"] for r in rows] for u, rows in history.items()}
    train = {
        u: [r["item_id"] for r in rows if r["split"] == "train"] for u, rows in history.items()
    }
    held = [(u, r["item_id"]) for u, rows in history.items() for r in rows if r["split"] != "train"]
    # train + valid + test = the history, in order, disjoint
    for user, rows in history.items():
        assert [r["position"] for r in rows] == list(range(1, len(rows) + 1))
        assert [r["timestamp"] for r in rows] == sorted(r["timestamp"] for r in rows)
        splits = [r["split"] for r in rows]
        held_out = ["valid", "test"] if len(rows) >= 3 else []
        assert splits == ["train"] * (len(rows) - len(held_out)) + held_out, user
    # negatives are products, distinct, disjoint from the history
    frozen = {(r["user_id"], r["split"]): r["item_ids"] for r in catalog(shards, "negatives")}
    assert frozen.keys() == {(u, s) for u in own if len(own[u]) >= 3 for s in ("valid", "test")}
    for (user, _), negatives in frozen.items():
        assert set(negatives) <= items - set(own[user])
        assert len(set(negatives)) == len(negatives) <= options["negatives"]
        if options["negative_sampling"] == "uniform":
            free = len(items) - len(set(own[user]))
            assert len(negatives) == min(options["negatives"], free)
    sample_ids: set[int] = set()
    for task in options["tasks"]:
        for split in ("train", "valid", "test"):
            rows = samples(shards, task, split)
            assert not sample_ids & {r["sample_id"] for r in rows}
            sample_ids |= {r["sample_id"] for r in rows}
            if task != "explanation":
                fewest = {"sequential": 2, "topn": 1}[task]
                able = sum(len(t) >= fewest for t in train.values()) * options["rounds"]
                assert len(rows) == (able if split == "train" else len(held) // 2)
            for row in rows:
                check_sample(row, task, split, own, train, clean)
                if split != "train":
                    assert row["template_id"] == bare[task]
                if task == "topn" and split != "train":
                    assert sorted(row["candidates"]) == sorted(
                        [row["item_id"], *frozen[row["user_id"], split]]
                    )
                # no validation or test purchase inside any training sample, of any task
                if clean and split == "train" and options["duplicates"] != "all":
                    bought = {row["item_id"], *row.get("history", [])}
                    assert not {(row["user_id"], item) for item in bought} & set(held)
    assert len(sample_ids) == sum(
        f["rows"] for p, f in manifest["files"].items() if p.startswith("samples/")
    )


def check_sample(
    row: Row,
    task: str,
    split: str,
    own: dict[int, list[int]],
    train: dict[int, list[int]],
    clean: bool,
) -> None:
    user = row["user_id"]
    words = row["prompt"].split()
    assert words.count(f"user_{user}") == 1
    named = [int(w.removeprefix("item_")) for w in words if w.startswith("item_")]
    place = {"train": None, "valid": -2, "test": -1}[split]
    if task == "sequential":
        assert named == row["history"]
        assert row["target"] == str(row["item_id"])
        run = [*row["history"], row["item_id"]]
        if place is None:  # a run of the training purchases
            starts = range(len(train[user]) - len(run) + 1)
            assert any(train[user][s : s + len(run)] == run for s in starts)
        else:
            whole = own[user][: len(own[user]) + place + 1]
            assert run == whole[-len(run) :]
            assert len(row["history"]) == min(20, len(whole) - 1)
    elif task == "topn":
        assert named == row["candidates"]
        assert row["target"] == str(row["item_id"])
        assert len(set(named)) == len(named)
        negatives = set(named) - {row["item_id"]}
        assert row["item_id"] in (train[user] if place is None else [own[user][place]])
        assert not negatives & set(train[user] if clean and place is None else own[user])
    else:
        assert named == [row["item_id"]]
        assert row["item_id"] in own[user]


@BOTH
@pytest.mark.parametrize("sampling", list(NegativeSampling))
@slow
@given(bought=histories, seed=st.integers(0, 9), core=st.integers(1, 3))
def test_every_dataset_keeps_the_invariants(
    build_rows: Build,
    bought: list[tuple[int, int, int]],
    seed: int,
    core: int,
    protocol: Protocol,
    sampling: NegativeSampling,
) -> None:
    rows = [review(f"U{u}", f"I{i}", day) for u, i, day in bought]
    options = {"protocol": protocol, "seed": seed, "core": core, "negatives": 5, "rounds": 2}
    if not oracle.core(oracle.purchases(rows, "first" if protocol == "clean" else "all"), core):
        with pytest.raises(PodError, match="-core is left"):
            build_rows(rows, **options)
        return
    check_invariants(build_rows(rows, **options, negative_sampling=sampling))


@BOTH
def test_a_larger_dataset_keeps_the_invariants(build_rows: Build, protocol: Protocol) -> None:
    rows = arithmetic_rows(users=60, items=40, length=30)
    check_invariants(build_rows(rows, protocol=protocol, rounds=3, negatives=9))


def test_time_negatives_existed_by_then(build_rows: Build) -> None:
    rows = [
        review(f"U{u}", f"I{i}", 10 * (i // 3) + u + 1) for u in range(9) for i in range(u % 3, 20)
    ]
    shards = build_rows(rows, negative_sampling="time", negatives=8, core=2)
    bought = catalog(shards, "interactions")
    first = {
        r["item_id"]: r["timestamp"] for r in sorted(bought, key=lambda r: r["timestamp"])[::-1]
    }
    at = {(r["user_id"], r["split"]): r["timestamp"] for r in bought if r["split"] != "train"}
    lists = catalog(shards, "negatives")
    assert sum(len(r["item_ids"]) for r in lists) > 0
    for row in lists:
        assert all(first[i] <= at[row["user_id"], row["split"]] for i in row["item_ids"])


def test_popular_products_are_drawn_more_often(build_rows: Build) -> None:
    # everybody buys I0..I4; each user also one of thirty rare products, twice over all users
    rows = [review(f"U{u:02}", f"I{i}", 1 + i) for u in range(60) for i in (*range(5), 10 + u // 2)]
    rows += [review(f"V{n}", f"I{10 + n * 5 + i}", 50 + i) for n in range(6) for i in range(5)]
    shards = build_rows(rows, negative_sampling="popularity", negatives=3, core=2)
    names = {r["item_id"]: r["asin"] for r in catalog(shards, "items")}
    users = {r["user_id"]: r["reviewer_id"] for r in catalog(shards, "users")}
    drawn = Counter(
        names[i]
        for r in catalog(shards, "negatives")
        if users[r["user_id"]].startswith("V")
        for i in r["item_ids"]
    )
    popular = sum(drawn[f"I{i}"] for i in range(5))
    assert popular > 0.6 * sum(drawn.values())


def test_training_negatives_avoid_the_test_item_only_as_pod(build_rows: Build) -> None:
    """The absence leak: as pod a user's held-out items are never negatives; clean they may be."""
    rows = arithmetic_rows(users=40, items=20, length=6)
    seen = {}
    for protocol in PROTOCOLS:
        shards = build_rows(rows, protocol=protocol, rounds=6, negatives=6, tasks=("topn",))
        held = {
            (r["user_id"], r["item_id"])
            for r in catalog(shards, "interactions")
            if r["split"] != "train"
        }
        drawn = Counter(
            (row["user_id"], item) in held
            for row in samples(shards, "topn", "train")
            for item in row["candidates"]
            if item != row["item_id"]
        )
        seen[protocol] = drawn[True] / drawn.total()
    assert seen[Protocol.POD] == 0
    # 2 of the 16 products that are no training purchases: an eighth
    assert seen[Protocol.CLEAN] == pytest.approx(1 / 8, abs=0.02)


# ------------------------------------------------------------------ what draws and options do


def test_what_was_not_asked_for_is_not_accounted_for(build_rows: Build) -> None:
    stages = manifest_of(build_rows(arithmetic_rows(), tasks=("sequential",)))["stages"]
    assert [s["stage"] for s in stages] == ["read", "deduplicate", "core", "split"]


def test_rounds_differ_and_held_out_samples_do_not(build_rows: Build) -> None:
    shards = build_rows(arithmetic_rows(users=60, items=20), rounds=3, negatives=9)
    for task in Task:
        rounds: dict[int, list[str]] = {}
        for row in samples(shards, task, "train"):
            rounds.setdefault(row["round"], []).append(row["prompt"])
        assert sorted(rounds) == [0, 1, 2]
        assert rounds[0] != rounds[1] != rounds[2]
        assert {r["round"] for r in samples(shards, task, "test")} == {0}


def test_every_template_and_every_segment_is_drawn(build_rows: Build) -> None:
    shards = build_rows(arithmetic_rows(users=80, items=20, length=6), rounds=8, negatives=9)
    manifest = manifest_of(shards)
    for task in Task:
        used = {row["template_id"] for row in samples(shards, task, "train")}
        assert used == {t["id"] for t in manifest["inputs"]["templates"] if t["task"] == task}
    # four training purchases have 3 + 2 + 1 segments of two or more
    own: dict[int, list[int]] = {}
    for row in catalog(shards, "interactions"):
        own.setdefault(row["user_id"], []).append(row["item_id"])
    spans = {
        (own[r["user_id"]].index(r["history"][0]), own[r["user_id"]].index(r["item_id"]))
        for r in samples(shards, "sequential", "train")
    }
    assert spans == {(s, e) for s in range(3) for e in range(s + 1, 4)}


CHANGES: dict[str, Any] = {
    "protocol": "pod",
    "tasks": ("topn",),
    "seed": 1,
    "core": 7,
    "negatives": 8,
    "negative_sampling": "popularity",
    "history": 2,
    "rounds": 2,
    "duplicates": "last",
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_option_changes_the_dataset(build_rows: Build, name: str) -> None:
    rows = arithmetic_rows(users=40, items=25, length=9)
    rows += [review(r["reviewerID"], r["asin"], 300) for r in rows[:5]]
    rows += [review("U001", f"I{i:03}", 400) for i in range(25)]
    rows += [review(f"X{n}", f"I{n + i:03}", 500 + i) for n in range(9) for i in range(6)]
    base = {"rounds": 1, "negatives": 9}
    plain = build_rows(rows, **base)
    changed = build_rows(rows, **{**base, name: CHANGES[name]})
    assert files_of(plain) != files_of(changed)


def files_of(shards: Path) -> dict[str, str]:
    return {name: f["sha256"] for name, f in manifest_of(shards)["files"].items()}


@BOTH
def test_same_bytes_whatever_the_threads_and_the_memory(
    build_rows: Build, protocol: Protocol
) -> None:
    rows = arithmetic_rows(users=50, items=40, length=12)
    runs = [
        build_rows(rows, protocol=protocol, rounds=2, negatives=9, threads=threads, memory=memory)
        for threads, memory in ((1, 512 << 20), (2, 512 << 20), (2, 4 << 30), (3, 4 << 30))
    ]
    manifests = [manifest_of(run) for run in runs]
    for manifest in manifests:
        manifest["inputs"].pop("sources")
        manifest.pop("manifest_sha256")
    assert manifests[0] == manifests[1] == manifests[2] == manifests[3]
    for name in manifests[0]["files"]:
        assert len({(run / name).read_bytes() for run in runs}) == 1


def test_clean_does_not_depend_on_the_order_of_the_dump(build_rows: Build) -> None:
    rows = arithmetic_rows(users=30, items=30, length=8)
    there, back = build_rows(rows), build_rows(rows[::-1])
    assert files_of(there) == files_of(back)


# ------------------------------------------------------------------ bad lines

BAD_LINES = {
    "not JSON": b'{"reviewerID": "A", "asin": ',
    "not UTF-8": b'{"reviewerID": "A", "asin": "\xff\xfe"}',
    "empty line": b"  ",
    "no JSON object": b"[1, 2]",
    "a key given twice": b'{"asin": "B", "asin": "C", "reviewerID": "A"}',
    "no reviewer": b'{"reviewerID": {"id": null}, "asin": "B"}',
    "no product": b'{"reviewerID": "A", "asin": null}',
    "id longer than 256": b'{"reviewerID": "' + b"A" * 300 + b'", "asin": "B"}',
    "no rating": b'{"reviewerID": "A", "asin": "B", "overall": null}',
    "rating is no number": b'{"reviewerID": "A", "asin": "B", "overall": "5.0"}',
    "rating outside 0 to 5": b'{"reviewerID": "A", "asin": "B", "overall": 1e300}',
    "no time": b'{"reviewerID": "A", "asin": "B", "overall": 5}',
    "time is no number": b'{"reviewerID": "A", "asin": "B", "overall": 5, "unixReviewTime": []}',
    "time outside 1970 to 2100": (
        b'{"reviewerID": "A", "asin": "B", "overall": 5, "unixReviewTime": -86400}'
    ),
    "text is no string": (
        b'{"reviewerID": "A", "asin": "B", "overall": 5, "unixReviewTime": 1e9, '
        b'"reviewText": {"deep": null}}'
    ),
}
TOO_LARGE = b'{"reviewerID": "A", "asin": "B", "overall": 5, "unixReviewTime": 1%s}' % (b"0" * 400)


def test_every_kind_of_bad_line_is_counted_and_kept(build_rows: Build, tmp_path: Path) -> None:
    good = [json.dumps(r).encode() for r in arithmetic_rows()]
    path = tmp_path / "bad"
    lines = good[:7] + list(BAD_LINES.values()) + [TOO_LARGE] + good[7:]
    path.write_bytes(b"\n".join(lines) + b"\n")
    shards = build_rows(path, max_bad=0.5)
    counts = dropped(shards, "read")
    expected = dict.fromkeys(BAD_LINES, 1)
    expected["time is no number"] += 1  # a number too large for any machine type
    assert counts == expected
    rejects = pq.read_table(shards / "rejects.parquet").to_pylist()
    assert [r["line_number"] for r in rejects] == list(range(8, 9 + len(BAD_LINES)))
    kept = {r["reason"]: r["line"] for r in rejects[:-1]}
    for reason, line in BAD_LINES.items():
        assert kept[reason] == line.decode(errors="backslashreplace")
    # and the good ones are as if the bad ones had never been
    without = tmp_path / "good"
    without.write_bytes(b"\n".join(good) + b"\n")
    same = [n for n in files_of(shards) if n != "rejects.parquet"]
    alone = files_of(build_rows(without))
    assert [files_of(shards)[n] for n in same] == [alone[n] for n in same]


def test_too_many_bad_lines_stop_the_build(build_rows: Build, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    good = [json.dumps(r).encode() for r in arithmetic_rows()]
    path.write_bytes(b"\n".join([*good, b"no", b"no", b"[]"]) + b"\n")
    with pytest.raises(
        PodError, match=r"3 of 183 lines .* 2 not JSON \(first: line 181\)"
    ) as error:
        build_rows(path)
    assert "--max-bad 0.01" in str(error.value)
    assert list(tmp_path.iterdir()) == [path]


def test_no_valid_line_is_said_whatever_max_bad(build_rows: Build, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(b"nothing\n")
    with pytest.raises(PodError, match="1 of 1 lines are not reviews"):
        build_rows(path, max_bad=1.0)


def test_a_line_of_ten_megabytes_is_read(build_rows: Build) -> None:
    rows = arithmetic_rows()
    rows[3]["reviewText"] = "It is long. " * 900_000
    shards = build_rows(rows, tasks=("sequential",))
    assert dropped(shards, "read") == {}


# ------------------------------------------------------------------ forms of dumps


def test_all_three_releases_give_the_same_catalogue(build_rows: Build, tmp_path: Path) -> None:
    rows = arithmetic_rows()
    newest = [
        {
            "rating": r["overall"],
            "title": "Fine",
            "text": r["reviewText"],
            "asin": "variant of " + r["asin"],
            "parent_asin": r["asin"],
            "user_id": r["reviewerID"],
            "timestamp": 1000 * r["unixReviewTime"],
            "verified_purchase": True,
        }
        for r in rows
    ]
    middle = [{**r, "verified": True, "style": {"Size:": "7 oz"}, "vote": "2"} for r in rows]
    loose = tmp_path / "loose"
    loose.write_text("".join(f"{r!r}\n" for r in rows), encoding="utf-8")
    builds = {"2014": rows, "2018": middle, "2023": newest, "2014 loose": loose}
    made = {name: build_rows(source) for name, source in builds.items()}
    for name, shards in made.items():
        assert manifest_of(shards)["release"] == name.split()[0]
        assert files_of(shards) == files_of(made["2014"]), name


def test_metadata_gives_title_brand_and_categories(build_rows: Build, tmp_path: Path) -> None:
    meta = tmp_path / "meta.gz"
    entries = [
        {
            "asin": "I000",
            "title": "Kid&#39;s &amp; more",
            "brand": "Acme",
            "categories": [["A", "B"], ["A"]],
        },
        {"asin": "I000", "title": "again"},
        {"asin": "I001", "title": "flat", "category": ["C"]},
        {"parent_asin": "I002", "store": "Shop", "categories": []},
        {"asin": "elsewhere", "title": "not in the catalogue"},
    ]
    write_dump(meta, entries)
    with meta.open("ab") as file:  # a second member, with what is not JSON
        file.write(gzip.compress(b"{'asin': 'I003', 'title': 'literal'}\n'asin' broken\n"))
    shards = build_rows(arithmetic_rows(), metadata=meta)
    items = {r["asin"]: r for r in catalog(shards, "items")}
    fields = ("title", "brand", "categories")
    assert [items["I000"][f] for f in fields] == ["Kid's & more", "Acme", ["A", "B"]]
    assert [items["I001"][f] for f in fields] == ["flat", None, ["C"]]
    assert [items["I002"][f] for f in fields] == [None, "Shop", []]
    assert [items["I003"][f] for f in fields] == ["literal", None, None]
    assert [items["I004"][f] for f in fields] == [None, None, None]
    stage = next(s for s in manifest_of(shards)["stages"] if s["stage"] == "metadata")
    assert stage["in"] == 6  # the one elsewhere is no row of this build
    assert stage["out"] == {"kept": 4}
    assert sum(stage["dropped"].values()) == 2


def test_explanations_from_outside_take_the_place_of_mined_ones(
    build_rows: Build, tmp_path: Path
) -> None:
    rows = arithmetic_rows()
    bought = [(r["reviewerID"], r["asin"]) for r in rows]
    lines = [
        {"user": u, "item": i, "feature": "grip", "sentence": f"A grip like no other, {n}."}
        for n, (u, i) in enumerate(bought[:40])
    ]
    stranger = {"user": "nobody", "item": "I000", "feature": "x", "sentence": "Never bought."}
    again = {**lines[0], "sentence": "Said twice."}
    path = tmp_path / "sentiment.jsonl"
    text = "".join(json.dumps(line) + "\n" for line in [*lines, again, stranger])
    path.write_text(text + "not JSON\n", encoding="utf-8")
    shards = build_rows(rows, sentiment=path)
    check_invariants(shards)
    got = {(r["user_id"], r["item_id"]): r["sentence"] for r in catalog(shards, "explanations")}
    users = {r["reviewer_id"]: r["user_id"] for r in catalog(shards, "users")}
    items = {r["asin"]: r["item_id"] for r in catalog(shards, "items")}
    assert got == {(users[x["user"]], items[x["item"]]): x["sentence"] for x in lines}
    assert dropped(shards, "sentiment") == {
        "no such purchase, or explained before": 2,
        "not JSON": 1,
    }


def test_the_users_own_templates_make_the_prompts(build_rows: Build, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        "".join(
            f'[[template]]\nid = "{task}-{n}"\ntask = "{task}"\ntext = "{words}{fields}"\n{bare}\n'
            for task, fields in (
                ("sequential", "{history} for {user}"),
                ("topn", "{candidates} for {user}"),
                ("explanation", "{item} for {user}"),
            )
            for n, (words, bare) in enumerate((("Mine: ", ""), ("", "bare = true")))
        ),
        encoding="utf-8",
    )
    shards = build_rows(arithmetic_rows(), templates=load_templates(path), rounds=2)
    check_invariants(shards)
    for task in Task:
        prompts = {r["prompt"].startswith("Mine: ") for r in samples(shards, task, "train")}
        assert prompts == {True, False}
        assert {r["template_id"] for r in samples(shards, task, "test")} == {f"{task}-1"}


@needs_shared
@BOTH
@pytest.mark.parametrize(
    ("dump", "core"),
    [("All_Beauty_5.json.gz", 5), ("reviews_Musical_Instruments_first_5050.json.gz", 3)],
)
def test_real_dumps_equal_plain_python(
    build_rows: Build, dump: str, core: int, protocol: Protocol
) -> None:
    path = SHARED / "data" / "raw" / dump
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    kept = oracle.core(oracle.purchases(rows, "first" if protocol == "clean" else "all"), core)
    ordered = oracle.sequences(kept, protocol, 0)
    users, items = oracle.numbers(rows, ordered, protocol, 0)
    shards = build_rows(path, protocol=protocol, core=core, rounds=1)
    check_invariants(shards)
    got: dict[int, list[int]] = {}
    for row in catalog(shards, "interactions"):
        got.setdefault(row["user_id"], []).append(row["item_id"])
    numbers = {asin: n for n, asin in enumerate(items, 1)}
    assert got == {n: [numbers[p[2]] for p in ordered[user]] for n, user in enumerate(users, 1)}
