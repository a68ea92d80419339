"""The command line as people type it: one-line errors, JSON beside tables, kill and go on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import SHARED, needs_shared


def podprep(*arguments: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "podprep", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample dataset built in it."""
    folder = tmp_path_factory.mktemp("sample")
    podprep("build", "--dataset", "sample", cwd=folder)
    return folder


def test_the_sample_builds_and_says_what_became_of_it(sample: Path) -> None:
    done = podprep("build", "--dataset", "sample", "--threads", 1, cwd=sample)
    for words in ("Rows kept and dropped", "7", "not JSON", "explanation samples", "tied"):
        assert words in done.stdout
    assert done.stderr == ""  # quiet in a pipe


def test_json_beside_the_tables(sample: Path) -> None:
    manifest = json.loads(podprep("build", "--dataset", "sample", "--json", cwd=sample).stdout)
    assert manifest["stages"][0]["out"]["kept"] + 7 == manifest["stages"][0]["in"]
    shown = podprep("show", "shards", "--task", "topn", "-n", 1, "--json", cwd=sample)
    [row] = json.loads(shown.stdout)["topn"]
    assert int(row["target"]) in row["candidates"]
    listed = json.loads(podprep("datasets", "--json", cwd=sample).stdout)
    assert {"beauty", "2018/All_Beauty", "2023/All_Beauty", "sample"} <= {d["name"] for d in listed}


def test_samples_are_shown_as_prompt_and_target(sample: Path) -> None:
    done = podprep("show", "shards", "--split", "test", "-n", 1, cwd=sample)
    for words in ("sequential, test", "topn, test", "explanation, test", "user_1", "more words"):
        assert words in done.stdout


def test_the_same_bytes_on_other_threads_and_memory(sample: Path, tmp_path: Path) -> None:
    expected = tree(sample / "shards")
    for threads, memory in ((1, "512MB"), (2, "4GB")):
        out = tmp_path / f"{threads}-{memory}"
        options = ("--threads", threads, "--memory", memory, "--out", out)
        podprep("build", "--dataset", "sample", *options, cwd=sample)
        assert tree(out) == expected


HEAVY = {"torch", "transformers", "duckdb", "pyarrow", "numpy", "pandas", "rich.progress"}
REAL_DUMPS = ["All_Beauty_5.json.gz", "reviews_Musical_Instruments_first_5050.json.gz"]
ERRORS = {
    "no such dataset": (["build", "--dataset", "beuaty"], "did you mean"),
    "no such dump": (["build", "--dataset", "beauty", "--raw", "none.gz"], "none.gz"),
    "a folder as dump": (["build", "--dataset", "beauty", "--raw", "."], "no file ."),
    "no such task": (["build", "--dataset", "sample", "--tasks", "rating"], "choose from"),
    "no tasks": (["build", "--dataset", "sample", "--tasks", ","], "names no task"),
    "negative core": (["build", "--dataset", "sample", "--core", "0"], "--core 0"),
    "impossible core": (
        ["build", "--dataset", "sample", "--core", "500", "--out", "x"],
        "500-core",
    ),
    "strange memory": (["build", "--dataset", "sample", "--memory", "lots"], "such as 512MB"),
    "little memory": (["build", "--dataset", "sample", "--memory", "9MB"], "at least 512MB"),
    "no threads": (["build", "--dataset", "sample", "--threads", "-1"], "--threads -1"),
    "no templates": (["build", "--dataset", "sample", "--templates", "no.toml"], "no.toml"),
    "no metadata": (["build", "--dataset", "beauty", "--raw", "x", "--meta", "no.gz"], "x"),
    "no sentiment": (["build", "--dataset", "sample", "--sentiment", "no.pickle"], "no.pickle"),
    "unwritable": (["build", "--dataset", "sample", "--out", "/proc/shards"], "/proc"),
    "out is a file": (
        ["build", "--dataset", "sample", "--out", "data/sample.json.gz"],
        "is a file",
    ),
    "another dataset": (["build", "--dataset", "sample", "--seed", "9"], "--force"),
    "show nothing": (["show", "nowhere"], "not a dataset"),
    "export nothing": (["export", "nowhere", "--format", "pod", "--to", "x"], "not a dataset"),
    "export into a file": (
        ["export", "shards", "--format", "pod", "--to", "data/sample.json.gz"],
        "could not be written",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_a_user_did_is_one_line(sample: Path, name: str) -> None:
    arguments, words = ERRORS[name]
    before = sorted(p.name for p in sample.iterdir())
    done = podprep(*arguments, cwd=sample, code=1)
    assert done.stderr.startswith("podprep: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert sorted(p.name for p in sample.iterdir()) == before


def test_a_wrong_option_is_one_line_and_code_2(sample: Path) -> None:
    for arguments, words in (
        (("show", "shards", "--split", "dev"), "'dev' is not one of"),
        (("show", "shards", "--splt", "dev"), "--split"),
        (("shwo",), "No such command"),
        (("show",), "Missing argument"),
    ):
        done = podprep(*arguments, cwd=sample, code=2)
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert words in done.stderr
        assert " --help" in done.stderr


@pytest.mark.parametrize("delay", [0.4, 0.6, 0.8, 1.0])
def test_killed_anywhere_the_next_build_gives_the_same_bytes(sample: Path, delay: float) -> None:
    expected = tree(sample / "shards")
    out = sample / f"killed-{delay}"
    command = [sys.executable, "-m", "podprep", "build", "--dataset", "sample", "--out", str(out)]
    process = subprocess.Popen(command, cwd=sample, stdout=subprocess.DEVNULL)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists() or tree(out) == expected  # whole or not at all
    podprep("build", "--dataset", "sample", "--out", out, cwd=sample)
    assert tree(out) == expected
    assert not list(sample.glob(".killed*"))


@pytest.mark.parametrize("program", ["podprep", "podtrain"])
def test_help_imports_nothing_heavy(program: str) -> None:
    """Of the program and of every command; what they need is imported once a command runs."""
    code = f"""
import sys
from importlib import import_module
app = import_module("{program}.cli").app
commands = [c.name or c.callback.__name__ for c in app.registered_commands]
assert len(commands) >= 5, commands
for arguments in [[], *([command] for command in commands)]:
    try:
        app([*arguments, "--help"])
    except SystemExit as end:
        assert end.code == 0, arguments
heavy = {HEAVY!r} & sys.modules.keys()
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_shared
@pytest.mark.parametrize("protocol", ["clean", "pod"])
@pytest.mark.parametrize("dump", REAL_DUMPS)
def test_real_dumps_build_in_both_protocols(tmp_path: Path, dump: str, protocol: str) -> None:
    options = ["--compat", "pod"] if protocol == "pod" else []
    raw = SHARED / "data" / "raw" / dump
    if "first" in dump:  # cut short: it has no 5-core
        options += ["--core", "2"]
    done = podprep("build", "--dataset", "beauty", "--raw", raw, *options, "--json", cwd=tmp_path)
    manifest = json.loads(done.stdout)
    assert manifest["release"] == ("2018" if "All" in dump else "2014")
