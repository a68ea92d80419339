"""What leaves: each layout against the dataset, whole files or none, nothing of others touched."""

import csv
import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from podprep.contract.errors import PodError
from podprep.dataset import Dataset
from podprep.engine import Machine
from podprep.exchange.exports import LAYOUTS
from podprep.recipe.inputs import Inputs
from podprep.recipe.options import BuildOptions
from podprep.recipe.pipeline import build
from podprep.recipe.templates import load_templates
from tests.conftest import Build, arithmetic_rows, write_dump

MACHINE = Machine(threads=1, memory=1 << 30)
EPOCH = datetime(1970, 1, 1)
TITLE = 'Lid 12" wide,\tnew'


def export(shards: Path, layout: str, to: Path, *, force: bool = False) -> Path:
    Dataset.open(shards).export(layout, to, force=force)
    return to


def catalog(shards: Path, name: str) -> list[dict[str, Any]]:
    return list(pq.read_table(shards / "catalog" / f"{name}.parquet").to_pylist())


def atomic(path: Path) -> list[dict[str, str]]:
    """Read a tab-separated file as pandas does, with the csv module instead."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rows = tmp_path_factory.mktemp("exports"), arithmetic_rows()
    meta = write_dump(
        folder / "meta",
        [{"asin": "I000", "title": TITLE, "brand": "Acme", "categories": [["Home", "Hair Care"]]}],
    )
    inputs = Inputs(
        dataset="tiny",
        options=BuildOptions(negatives=5, rounds=2),
        templates=load_templates(),
        dump=write_dump(folder / "dump", rows),
        metadata=meta,
    )
    build(inputs, MACHINE, folder / "shards", progress=lambda *_: None)
    return folder / "shards"


def test_pod_files_say_what_the_catalogue_says(shards: Path, tmp_path: Path) -> None:
    to = export(shards, "pod", tmp_path / "pod")
    sequences = {
        int(user): list(map(int, items))
        for user, *items in map(str.split, (to / "sequential.txt").read_text().splitlines())
    }
    expected: dict[int, list[int]] = {}
    for row in catalog(shards, "interactions"):
        expected.setdefault(row["user_id"], []).append(row["item_id"])
    assert list(sequences.items()) == list(expected.items())
    negatives = [
        list(map(int, line.split())) for line in (to / "negative.txt").read_text().splitlines()
    ]
    assert negatives == [
        [row["user_id"], *row["item_ids"]]
        for row in catalog(shards, "negatives")
        if row["split"] == "test"
    ]
    maps = json.loads((to / "datamaps.json").read_text())
    assert maps["id2item"] == {str(r["item_id"]): r["asin"] for r in catalog(shards, "items")}
    assert maps["id2user"] == {
        str(r["user_id"]): r["reviewer_id"] for r in catalog(shards, "users")
    }
    explained = json.loads((to / "explanation.json").read_text())
    assert list(explained) == ["train", "val", "test"]
    assert sum(map(len, explained.values())) == len(catalog(shards, "explanations")) > 0


def test_recbole_files_hold_names_times_and_the_split(shards: Path, tmp_path: Path) -> None:
    to = export(shards, "recbole", tmp_path / "recbole") / "tiny"
    users = {r["user_id"]: r["reviewer_id"] for r in catalog(shards, "users")}
    items = {r["item_id"]: r["asin"] for r in catalog(shards, "items")}
    bought = catalog(shards, "interactions")
    rows = {
        split: [
            {
                "user_id:token": users[r["user_id"]],
                "item_id:token": items[r["item_id"]],
                "rating:float": "5.0",
                "timestamp:float": str(int((r["timestamp"] - EPOCH).total_seconds())),
            }
            for r in bought
            if split in (r["split"], "all")
        ]
        for split in ("all", "train", "valid", "test")
    }
    assert atomic(to / "tiny.inter") == rows["all"]
    for split in ("train", "valid", "test"):
        assert atomic(to / f"tiny.{split}.inter") == rows[split]
    assert [r["user_id:token"] for r in atomic(to / "tiny.user")] == list(users.values())
    told = {r["item_id:token"]: r for r in atomic(to / "tiny.item")}
    assert told.keys() == set(items.values())
    assert told["I000"]["title:token"] == TITLE.replace("\t", " ")
    # a space parts categories, a no-break space is inside one
    assert told["I000"]["categories:token_seq"].split(" ") == ["Home", "Hair\N{NO-BREAK SPACE}Care"]
    assert told["I001"]["title:token"] == ""


def samples(shards: Path, task: str, split: str) -> list[dict[str, Any]]:
    files = sorted(shards.glob(f"samples/task={task}/split={split}/round=*/part-*.parquet"))
    return [
        {**row, "round": int(file.parent.name.partition("=")[2])}
        for file in files
        for row in pq.ParquetFile(file).read().to_pylist()
    ]


def test_jsonl_and_parquet_hold_every_sample_in_order(shards: Path, tmp_path: Path) -> None:
    lines, parquet = (
        export(shards, "jsonl", tmp_path / "jsonl"),
        export(shards, "hf", tmp_path / "hf"),
    )
    for task in ("sequential", "topn", "explanation"):
        for split, theirs in (("train", "train"), ("valid", "validation"), ("test", "test")):
            expected = samples(shards, task, split)
            assert expected
            table = pq.ParquetFile(parquet / task / f"{theirs}.parquet").read()
            assert table.to_pylist() == expected
            text = (lines / f"{task}-{split}.jsonl").read_text(encoding="utf-8")
            got = [json.loads(line) for line in text.splitlines()]
            assert got == [
                {k: v for k, v in row.items() if k != "round" or split == "train"}
                for row in expected
            ]


def test_the_card_names_every_file_once(shards: Path, tmp_path: Path) -> None:
    to = export(shards, "hf", tmp_path / "hf")
    card = (to / "README.md").read_text()
    named = [line.split()[1] for line in card.splitlines() if line.startswith("    path: ")]
    assert sorted(named) == sorted(str(p.relative_to(to)) for p in to.rglob("*.parquet"))
    assert card.count("default: true") == 1


def test_the_library_reads_the_card(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cache = str(tmp_path / "cache")
    read = library.load_dataset(str(export(shards, "hf", tmp_path / "hf")), "topn", cache_dir=cache)
    assert read["validation"].num_rows == len(samples(shards, "topn", "valid"))


def test_what_has_no_rows_is_no_part_of_the_card(build_rows: Build, tmp_path: Path) -> None:
    """The library refuses a split without rows."""
    shards = build_rows(arithmetic_rows(), tasks=("sequential",), rounds=1)
    card = (export(shards, "hf", tmp_path / "hf") / "README.md").read_text()
    assert "explanation" not in card
    assert "sequential/train.parquet" in card


def test_only_files_of_the_same_name_give_way_and_only_by_force(
    shards: Path, tmp_path: Path
) -> None:
    for layout in LAYOUTS:
        to = tmp_path / layout
        to.mkdir()
        (to / "mine.txt").write_text("mine")
        export(shards, layout, to)
        files = {p: p.read_bytes() for p in to.rglob("*") if p.is_file()}
        with pytest.raises(PodError, match=r"already has .*--force replaces it, --to goes else"):
            export(shards, layout, to)
        last = [p for p in files if p.name != "mine.txt"][-1]
        last.write_text("older")
        export(shards, layout, to, force=True)
        assert {p: p.read_bytes() for p in to.rglob("*") if p.is_file()} == files


def test_a_file_that_fails_leaves_the_older_one(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(shards, "pod", tmp_path / "to")
    before = {p.name: p.read_bytes() for p in (tmp_path / "to").iterdir()}

    def half(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setitem(LAYOUTS, "pod", lambda _: {"sequential.txt": half})
    with pytest.raises(PodError, match="No space left"):
        export(shards, "pod", tmp_path / "to", force=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "to").iterdir()} == before


def test_a_changed_shard_and_a_dataset_as_target_are_refused(shards: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(shards, tmp_path / "changed")
    for to in (changed, changed / "inside"):
        with pytest.raises(PodError, match="lies in one: name another folder"):
            export(changed, "pod", to)
    part = next(changed.glob("samples/task=topn/split=test/round=0/*"))
    data = bytearray(part.read_bytes())
    data[100] ^= 1
    part.write_bytes(data)
    with pytest.raises(PodError, match="changed after the build"):
        export(changed, "jsonl", tmp_path / "to")
