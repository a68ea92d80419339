"""What README promises: every command refuses a dataset of which one byte was changed."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from podprep import cli
from tests.conftest import Build, arithmetic_rows

USERS, INTERACTIONS = "catalog/users.parquet", "catalog/interactions.parquet"
TOPN = "samples/task=topn/split=train/round=0/part-00000.parquet"
COMMANDS: dict[str, tuple[list[str], str]] = {  # the command, and a file that it reads
    "show": (["show", "SHARDS", "--task", "topn"], TOPN),
    "query": (["query", "SHARDS", "FROM users LIMIT 1"], USERS),
    "a ready question": (["query", "SHARDS", "--name", "split-sizes"], INTERACTIONS),
    "shell-setup": (["shell-setup", "SHARDS"], INTERACTIONS),
    "stats": (["stats", "SHARDS"], INTERACTIONS),
    "stats as a page": (["stats", "SHARDS", "--html", "OUT"], TOPN),
    "audit": (["audit", "SHARDS"], TOPN),
    "export to pod": (["export", "SHARDS", "--format", "pod", "--to", "OUT"], USERS),
    "export to recbole": (["export", "SHARDS", "--format", "recbole", "--to", "OUT"], INTERACTIONS),
    "export to jsonl": (["export", "SHARDS", "--format", "jsonl", "--to", "OUT"], TOPN),
    "export to hf": (["export", "SHARDS", "--format", "hf", "--to", "OUT"], TOPN),
    "build over it": (["build", "--dataset", "sample", "--out", "SHARDS"], USERS),
}
SELF_CHECKED = {"build over it"}  # refuses any other dataset, sound or not


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "shards"


@pytest.fixture
def shards(build_rows: Build, kept: Path, tmp_path: Path) -> Path:
    """A dataset of its own for each test, built once."""
    if not kept.exists():
        build_rows(arithmetic_rows(), negatives=6, rounds=1).rename(kept)
    return Path(shutil.copytree(kept, tmp_path / "shards"))


@pytest.fixture
def podprep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command line in this process: exit code, stdout, stderr."""

    def run(arguments: list[str], shards: Path) -> tuple[int, str, str]:
        paths = {"SHARDS": str(shards), "OUT": str(shards.parent / "out")}
        monkeypatch.chdir(shards.parent)
        monkeypatch.setattr(sys, "argv", ["podprep", *(paths.get(a, a) for a in arguments)])
        try:
            cli.main()
        except SystemExit as end:
            return (int(end.code or 0), *capsys.readouterr())
        return (0, *capsys.readouterr())

    return run


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, and set its time back."""
    content, status = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("name", COMMANDS)
def test_one_flipped_bit_is_refused_in_one_line(shards: Path, podprep: Any, name: str) -> None:
    arguments, file = COMMANDS[name]
    if name not in SELF_CHECKED:
        assert podprep(arguments, shards)[0] in {0, 2}  # reads it, and remembers its hash
        written = shards.parent / "out"
        written.unlink() if written.is_file() else shutil.rmtree(written, ignore_errors=True)
    flip(shards / file)
    code, _, error = podprep(arguments, shards)
    assert (code, error.count("\n")) == (1, 1), error
    if name not in SELF_CHECKED:
        assert f"{file} was changed after the build: podprep build --force" in error
    assert not (shards.parent / "out").is_file()


@pytest.mark.parametrize("name", COMMANDS)
def test_an_edited_manifest_is_refused_in_one_line(shards: Path, podprep: Any, name: str) -> None:
    manifest = shards / "manifest.json"
    text = manifest.read_text()
    assert '"rounds": 1' in text
    manifest.write_text(text.replace('"rounds": 1', '"rounds": 2'))
    code, _, error = podprep(COMMANDS[name][0], shards)
    assert (code, error.count("\n")) == (1, 1), error
    if name not in SELF_CHECKED:
        assert "manifest.json was changed after the build" in error


def test_every_command_that_reads_a_dataset_is_here() -> None:
    from typer.main import get_command

    commands = set(get_command(cli.app).commands)  # type: ignore[attr-defined]
    others = {"datasets", "fetch", "import", "verify"}  # verify is told of it, see test_verify.py
    assert {arguments[0] for arguments, _ in COMMANDS.values()} == commands - others
