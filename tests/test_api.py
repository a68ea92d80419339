"""The library: its examples run, its options are those of the commands, its frames are whole."""

import doctest
import inspect
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from typer.main import get_command

import podprep
from podprep import api, cli, dataset
from podprep.contract.tasks import SPLITS, TASKS
from podprep.recipe import options
from podprep.recipe.options import DEFAULTS, BuildOptions
from tests.conftest import Build, arithmetic_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample dataset in shards/."""
    folder = tmp_path_factory.mktemp("library")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        podprep.build("sample", out="shards")
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> podprep.Dataset:
    """The sample dataset, by a relative path."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("POLARS_FMT_MAX_ROWS", "8")
    return podprep.open("shards")


@pytest.mark.parametrize("module", [api, dataset, options])
def test_every_example_runs(module: Any, here: podprep.Dataset) -> None:
    scope = {"podprep": podprep, "ds": here, "pl": pl}
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    runner = doctest.DocTestRunner(optionflags=flags)
    for example in doctest.DocTestFinder().find(module, extraglobs=scope):
        runner.run(example)
    assert runner.tries > 0
    assert runner.failures == 0


def test_all_public_functions_have_examples() -> None:
    needs_network = {"fetch"}
    for name in set(podprep.__all__) - {"__version__", "PodError", "Dataset"} - needs_network:
        assert ">>> " in (getattr(podprep, name).__doc__ or ""), name
    for name, member in inspect.getmembers(podprep.Dataset):
        if (
            name in vars(podprep.Dataset)
            and not name.startswith("_")
            and inspect.isfunction(member)
        ):
            assert ">>> " in (member.__doc__ or ""), name


@pytest.mark.parametrize(("command", "function"), [("build", "build"), ("import", "import_folder")])
def test_the_function_and_the_command_have_the_same_options(command: str, function: str) -> None:
    commands = get_command(cli.app).commands  # type: ignore[attr-defined]
    theirs = {p.name: p.default for p in commands[command].params}
    for shown in ("as_json", "help"):
        theirs.pop(shown, None)
    ours = {
        name: parameter.default
        for name, parameter in inspect.signature(getattr(podprep, function)).parameters.items()
        if name != "progress"
    }
    assert ours.keys() == theirs.keys()
    for name, default in ours.items():
        if name == "tasks" and default is not None:
            assert options.parse_tasks(theirs[name]) == default
        elif default is not inspect.Parameter.empty:
            assert str(theirs[name]) == str(default), name
    names = {field.name for field in fields(BuildOptions)} - {"protocol"}
    if command == "build":
        assert names <= ours.keys()
        for name in names - {"duplicates"}:
            assert ours[name] == getattr(DEFAULTS, name)


def test_tasks_and_splits_are_those_of_the_contract() -> None:
    assert tuple(options.Task) == TASKS
    assert tuple(options.Split) == SPLITS


def test_frames_are_the_files(here: podprep.Dataset) -> None:
    for name in ("users", "items", "interactions", "negatives", "explanations"):
        frame = getattr(here, name).lazy().collect()
        assert (
            frame.to_arrow().to_pylist()
            == pq.read_table(here.folder / "catalog" / f"{name}.parquet").to_pylist()
        )
    assert isinstance(here.users, pl.DataFrame)
    assert isinstance(here.interactions, pl.LazyFrame)


def test_samples_are_those_of_the_views(here: podprep.Dataset) -> None:
    for task, own in (("sequential", "history"), ("topn", "candidates")):
        for split, rounds in (("train", (None, 0, 3)), ("test", (None, 0))):
            for r in rounds:
                found = here.samples(task, split, r).collect()
                where = f"task = '{task}' AND split = '{split}'"
                where += "" if r is None else f" AND round = {r}"
                columns = f"sample_id, user_id, item_id, template_id, prompt, target, {own}"
                expected = here.sql(
                    f"SELECT {columns}, task, split, round FROM samples WHERE {where}"
                ).pl()
                assert found.sort("sample_id").equals(expected.sort("sample_id"))


REFUSED: dict[str, tuple[Callable[[podprep.Dataset], Any], str]] = {
    "task": (lambda ds: ds.samples("rating"), "choose from sequential"),
    "split": (lambda ds: ds.samples("topn", "tset"), "choose from train"),
    "round": (lambda ds: ds.samples("topn", round=4), "it has 4"),
    "held-out round": (lambda ds: ds.samples("topn", "test", round=1), "it has 1"),
    "sql": (lambda ds: ds.sql("COPY users TO 'x.csv'"), "is not allowed"),
    "outside": (lambda ds: ds.sql("FROM read_csv('/etc/passwd')"), "reads the views"),
    "variable": (lambda ds: ds.sql("FROM users", user=3), "no variable user"),
    "question": (lambda ds: ds.question("none"), "choose from"),
    "question of a run": (lambda ds: ds.question("worst-users"), "--run"),
    "layout": (lambda ds: ds.export("csv", "out"), "choose from pod"),
    "import": (lambda _: podprep.import_folder("x", "csv"), "choose from pod"),
    "compat": (lambda _: podprep.build("sample", out="x", compat="p5"), "choose from pod"),
    "sampling": (
        lambda _: podprep.build("sample", out="x", negative_sampling="hard"),
        "choose from uniform",
    ),
    "tasks": (lambda _: podprep.build("sample", out="x", tasks=["rating"]), "choose from seq"),
    "pandas": (lambda ds: ds.sql("SELECT 1 AS one").df(), "pandas is not installed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_one_line(
    here: podprep.Dataset, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    call, words = REFUSED[name]
    with pytest.raises(podprep.PodError, match=words) as error:
        call(here)
    assert "\n" not in str(error.value)


def test_a_task_for_which_no_review_had_an_explanation_is_empty(build_rows: Build) -> None:
    rows = [{**row, "reviewText": ""} for row in arithmetic_rows()]
    ds = podprep.open(build_rows(rows, negatives=5, rounds=1))
    assert ds.tasks == ("sequential", "topn")
    found = ds.samples("explanation").collect()
    assert found.is_empty()
    assert found.columns[-3:] == ["task", "split", "round"]
    assert ds.explanations.collect().is_empty()
    assert list(ds.first_samples(None, "train", 1)) == ["sequential", "topn"]
