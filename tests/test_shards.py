"""The contract: a dataset appears whole or not at all, and a changed one is refused."""

import errno
import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from podprep.contract.errors import PodError
from podprep.contract.manifest import read_manifest, write_manifest
from podprep.contract.schema import SCHEMA_VERSION
from podprep.contract.shards import Shards, new_dataset
from podprep.contract.writing import evenly
from podprep.recipe import samples
from tests.conftest import Build, arithmetic_rows

INPUTS = {"dataset": "tiny"}


def make(
    out: Path, inputs: dict[str, Any] = INPUTS, *, force: bool = False, mark: str = "x"
) -> None:
    with new_dataset(out, inputs, force=force) as folder:
        (folder / "part").write_text(mark)
        write_manifest(folder, {"schema_version": SCHEMA_VERSION, "inputs": inputs})


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_dataset_appears_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    make(tmp_path / "deep" / "shards")
    assert names(tmp_path / "deep") == ["shards"]
    assert names(tmp_path / "deep" / "shards") == ["manifest.json", "part"]


def test_a_body_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "shards"
    make(out)
    with pytest.raises(FileNotFoundError), new_dataset(out, INPUTS) as folder:
        (folder / "no such folder" / "part").touch()
    assert names(tmp_path) == ["shards"]
    assert (out / "part").read_text() == "x"


def test_the_same_inputs_may_be_built_again_others_only_by_force(tmp_path: Path) -> None:
    out = tmp_path / "shards"
    make(out, mark="first")
    make(out, mark="second")
    assert (out / "part").read_text() == "second"
    with pytest.raises(PodError, match="another dataset: --force"):
        make(out, {"dataset": "other"})
    assert names(tmp_path) == ["shards"]
    make(out, {"dataset": "other"}, force=True, mark="third")
    assert (out / "part").read_text() == "third"


def test_what_is_no_dataset_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    (tmp_path / "file").write_text("x")
    with pytest.raises(PodError, match="not a dataset"):
        make(tmp_path / "home", force=True)
    with pytest.raises(PodError, match="is a file"):
        make(tmp_path / "file", force=True)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years"
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty")


def test_what_a_killed_build_left_is_cleared(tmp_path: Path) -> None:
    out = tmp_path / "shards"
    make(out)
    for leftover in (".shards.building", ".shards.replaced"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "part").write_text("half")
    make(out, mark="again")
    assert names(tmp_path) == ["shards"]
    assert (out / "part").read_text() == "again"


def test_a_build_killed_between_the_renames_is_mended(tmp_path: Path) -> None:
    out = tmp_path / "shards"
    make(out, {"dataset": "old"})
    out.rename(tmp_path / ".shards.replaced")
    with pytest.raises(PodError, match="another dataset"):
        make(out, {"dataset": "new"})
    assert (out / "part").read_text() == "x"


def _hold(out: Path, started: Any, finish: Any) -> None:
    with new_dataset(out, INPUTS) as folder:
        started.set()
        finish.wait(30)
        write_manifest(folder, {"schema_version": 1, "inputs": INPUTS})


def test_two_builds_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started, finish = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "shards", started, finish))
    other.start()
    try:
        assert started.wait(30)
        with pytest.raises(PodError, match="another build is writing"):
            make(tmp_path / "shards")
    finally:
        finish.set()
        other.join(30)
    assert other.exitcode == 0
    assert names(tmp_path / "shards") == ["manifest.json"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "shards").symlink_to(tmp_path / "disk" / "shards")
    make(tmp_path / "shards")
    assert (tmp_path / "shards").is_symlink()
    assert names(tmp_path / "disk") == ["shards"]


def test_reading_refuses_another_version_and_a_damaged_manifest(tmp_path: Path) -> None:
    with pytest.raises(PodError, match=r"not a dataset .* podprep build"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema_version": 99}')
    with pytest.raises(PodError, match="version 99, this version reads 1"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema_ver')
    with pytest.raises(PodError, match="damaged"):
        read_manifest(tmp_path)


def test_reading_refuses_a_missing_and_a_changed_file(build_rows: Build) -> None:
    folder = build_rows(arithmetic_rows())
    name = "catalog/users.parquet"
    shards = Shards.open(folder)
    assert shards.open_file(name).metadata.num_rows == shards.rows(name)
    content = bytearray((folder / name).read_bytes())
    for position in (0, len(content) // 2, len(content) - 1):
        flipped = content.copy()
        flipped[position] ^= 1
        (folder / name).write_bytes(flipped)
        with pytest.raises(PodError, match="was changed after the build: podprep build"):
            Shards.open(folder).open_file(name)
    (folder / name).unlink()
    with pytest.raises(PodError, match="is missing: podprep build"):
        Shards.open(folder).open_file(name)
    with pytest.raises(PodError, match="built without it"):
        Shards.open(folder).open_file("catalog/other.parquet")


def test_the_manifest_accounts_for_every_file(build_rows: Build) -> None:
    folder = build_rows(arithmetic_rows())
    manifest = json.loads((folder / "manifest.json").read_text())
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert there == {*manifest["files"], "manifest.json"}


@pytest.mark.parametrize("sizes", [[], [5], [1, 1, 1], [7, 2, 9, 0, 1], [10], [20], [3, 17]])
def test_cutting_evenly_keeps_the_rows_in_order(sizes: list[int]) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for size in sizes:
            yield pa.record_batch({"n": pa.array(range(start, start + size), pa.int64())})
            start += size

    tables = list(evenly(batches(), 5))
    assert [n for table in tables for n in table["n"].to_pylist()] == list(range(sum(sizes)))
    assert all(table.num_rows == 5 for table in tables[:-1])


def test_a_full_disk_is_one_line_and_leaves_nothing(
    build_rows: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(samples, "write_parquet", full)
    with pytest.raises(PodError, match=r"No space left|no space left.*make room"):
        build_rows(arithmetic_rows())
    assert [p.suffix for p in tmp_path.iterdir()] == [".gz"]
