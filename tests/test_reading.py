"""Reading shards: refused unless they are what was built, and then equal to a plain reading."""

import hashlib
import json
import shutil
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podprep.contract.tasks import SPLITS, TASKS
from podprep.recipe.options import Task
from podtrain.data.interactions import Interactions
from tests.conftest import Build, arithmetic_rows
from tests.tamper import rewrite
from tests.test_stream import ROUNDS, build_sample

USERS = "catalog/users.parquet"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return build_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def copied(sample: Shards, tmp_path: Path) -> Path:
    """A copy that may be harmed."""
    return Path(shutil.copytree(sample.folder, tmp_path / "shards"))


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(
            PodError, match=r"is not a dataset .*: make one with podprep build"
        ) as error:
            Shards.open(folder)
        assert str(error.value).startswith(str(folder))


@pytest.mark.parametrize("text", ['{"schema_ver', "", "[1]", "1", "{}", '"schema_version"', "\xff"])
def test_a_damaged_manifest_is_refused(copied: Path, text: str) -> None:
    (copied / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(PodError, match=r"manifest\.json is damaged: podprep build --force"):
        Shards.open(copied)


@pytest.mark.parametrize("version", [0, 2, 99, "1", None])
def test_another_version_is_refused_with_both_numbers(copied: Path, version: Any) -> None:
    path = copied / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": version}))
    with pytest.raises(PodError, match="this version reads 1: build it again") as error:
        Shards.open(copied)
    assert f"{path} has schema version {version!r}, " in str(error.value)


@pytest.mark.parametrize("harm", ["a number", "a key more", "a key less", "no seal"])
def test_a_changed_manifest_is_refused(copied: Path, harm: str) -> None:
    """What it says of the files and the options is taken at its word."""
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text())
    match harm:
        case "a number":
            manifest["inputs"]["options"]["rounds"] += 1
        case "a key more":
            manifest["note"] = "mine"
        case "a key less":
            del manifest["files"][USERS]
        case _:
            del manifest["manifest_sha256"]
    path.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    with pytest.raises(
        PodError, match=r"manifest\.json was changed after the build: podprep build"
    ):
        Shards.open(copied)


def ways_to_read(shards: Shards) -> list[Callable[[], Any]]:
    part = shards.sample_files("topn", "test")[0]
    return [
        lambda: shards.open_file(part),
        lambda: shards.table(part),
        lambda: shards.table(part, ["prompt"]),
        lambda: shards.sample_table("topn", "test"),
    ]


def test_one_flipped_bit_is_refused(copied: Path) -> None:
    shards = Shards.open(copied)
    path = copied / shards.sample_files("topn", "test")[0]
    content = path.read_bytes()
    for position in (0, len(content) // 3, len(content) - 1):
        flipped = bytearray(content)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        for read in ways_to_read(shards):
            with pytest.raises(
                PodError, match="was changed after the build: podprep build"
            ) as error:
                read()
            assert str(error.value).startswith(str(path))
    path.write_bytes(content)
    for read in ways_to_read(shards):
        read()


def test_a_missing_file_is_refused(copied: Path) -> None:
    shards = Shards.open(copied)
    path = copied / shards.sample_files("topn", "test")[0]
    path.unlink()
    for read in ways_to_read(shards):
        with pytest.raises(PodError, match="is missing: podprep build --force") as error:
            read()
        assert str(error.value).startswith(str(path))
    (copied / "catalog" / "interactions.parquet").write_bytes(b"")
    with pytest.raises(PodError, match=r"interactions\.parquet was changed"):
        Interactions.read(shards)


def test_an_unknown_file_is_refused(sample: Shards) -> None:
    (sample.folder / "catalog" / "other.parquet").write_bytes((sample.folder / USERS).read_bytes())
    for name in ("catalog/other.parquet", "manifest.json", "../shards/" + USERS):
        with pytest.raises(PodError, match=f"has no {name}: it was built without it"):
            sample.open_file(name)
    with pytest.raises(PodError, match="no topn samples of split all: name other tasks"):
        sample.sample_table("topn", "all")


def test_a_file_is_hashed_once_until_it_is_touched(
    sample: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    hashed: list[str] = []
    digest = hashlib.file_digest

    def counting(file: Any, name: str) -> Any:
        hashed.append(str(Path(file.name).relative_to(sample.folder)))
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    shards = Shards.open(sample.folder)
    assert hashed == []
    for _ in range(2):
        shards.open_file(USERS)
        shards.table(USERS)
        shards.sample_table("topn", "valid")
        Interactions.read(shards)
    parts = shards.sample_files("topn", "valid")
    assert sorted(hashed) == sorted([USERS, "catalog/interactions.parquet", *parts])
    Shards.open(sample.folder).open_file(USERS)  # another reader believes the cache
    assert hashed.count(USERS) == 1
    (sample.folder / USERS).touch()
    Shards.open(sample.folder).open_file(USERS)
    assert hashed.count(USERS) == 2


def purchases(folder: Path) -> dict[int, list[tuple[int, str]]]:
    """(item, split) of each user's purchases in order, from Parquet by plain Python."""
    rows = pq.ParquetFile(folder / "catalog/interactions.parquet").read().to_pylist()
    rows.sort(key=lambda row: (row["user_id"], row["position"]))
    by_user = groupby(rows, key=lambda row: row["user_id"])
    return {user: [(r["item_id"], r["split"]) for r in own] for user, own in by_user}


def check_interactions(folder: Path) -> None:
    shards = Shards.open(folder)
    found, plain = Interactions.read(shards), purchases(folder)
    assert found.n_users == shards.n_users == len(plain)
    assert found.n_items == shards.n_items
    assert list(plain) == list(range(1, found.n_users + 1))
    assert found.items.tolist() == [item for own in plain.values() for item, _ in own]
    assert [SPLITS[s] for s in found.split] == [split for own in plain.values() for _, split in own]
    for user, own in plain.items():
        assert found.history(user) == [item for item, _ in own]
        for split, known in {"train": (), "valid": ("train",), "test": ("train", "valid")}.items():
            assert found.history(user, split) == [item for item, s in own if s in known]


def test_interactions_equal_a_plain_reading(sample: Shards) -> None:
    check_interactions(sample.folder)
    lengths = {len(own) for own in purchases(sample.folder).values()}
    assert len(lengths) > 5


def test_interactions_are_put_in_order(copied: Path) -> None:
    """Nothing relies on the order of the rows in the file."""

    def shuffle(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]

    before = Interactions.read(Shards.open(copied))
    rewrite(copied, "catalog/interactions.parquet", shuffle)
    check_interactions(copied)
    after = Interactions.read(Shards.open(copied))
    assert after.items.tolist() == before.items.tolist()
    assert after.split.tolist() == before.split.tolist()


def test_what_the_manifest_says(sample: Shards) -> None:
    manifest = json.loads((sample.folder / "manifest.json").read_text())
    assert sample.tasks == TASKS
    assert sample.rounds == ROUNDS
    assert sample.protocol == "clean"
    assert sample.sha256 == manifest["manifest_sha256"]
    assert (sample.n_users, sample.n_items) == tuple(
        pq.read_metadata(sample.folder / f"catalog/{name}.parquet").num_rows
        for name in ("users", "items")
    )
    for name in manifest["files"]:
        assert sample.rows(name) == pq.read_metadata(sample.folder / name).num_rows


def test_samples_are_all_parts_of_their_round(sample: Shards) -> None:
    for task in TASKS:
        for split, rounds in {"train": ROUNDS, "valid": 1, "test": 1}.items():
            tables = []
            for round_ in range(rounds):
                under = sample.folder / f"samples/task={task}/split={split}/round={round_}"
                parts = sorted(under.iterdir())
                assert [
                    sample.folder / f for f in sample.sample_files(task, split, round_)
                ] == parts
                rows = [row for part in parts for row in pq.ParquetFile(part).read().to_pylist()]
                tables.append(sample.sample_table(task, split, round_).to_pylist())
                assert tables[-1] == rows
            assert sample.sample_table(task, split).to_pylist() == tables[0]
            assert sample.sample_files(task, split, rounds) == []
    assert sample.sample_table("topn", "train", 0) != sample.sample_table("topn", "train", 1)
    names = [f"samples/task=topn/split=test/round=0/part-{n:05}.parquet" for n in range(3)]
    listed = Shards(sample.folder, {"files": dict.fromkeys(reversed(names))})
    assert listed.sample_files("topn", "test") == names


def test_tasks_are_those_that_can_be_trained(build_rows: Build) -> None:
    rows = arithmetic_rows()
    shards = Shards.open(build_rows(rows, tasks=(Task.TOPN, Task.EXPLANATION), rounds=1))
    assert shards.tasks == ("topn", "explanation")
    for row in rows:
        row["reviewText"] = ""
    shards = Shards.open(build_rows(rows, rounds=1))
    assert shards.tasks == ("sequential", "topn")
    with pytest.raises(PodError, match=r"no explanation samples of split train: name other tasks"):
        shards.sample_table("explanation", "train")
