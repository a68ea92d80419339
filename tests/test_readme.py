"""README and docs/ say what is there: the tree, the stages, the commands, what was measured."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import podprep.cli
import podtrain.cli
from bench import quality, tables

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {page.name: page.read_text(encoding="utf-8") for page in tables.PAGES}


def test_the_tree_is_the_tree() -> None:
    block = README.partition("## The tree")[2].partition("## Words")[0]
    named = set()
    parent = ""
    for indent, name in re.findall(r"^( +)(\w+)/ ", block, re.MULTILINE):
        if len(indent) == 4:
            parent = name
            named.add(name)
        else:
            named.add(f"{parent}/{name}")
    there = {"podprep", "podtrain", "sql", "tests", "bench", "docs"}
    for top in ("podprep", "podtrain", "sql"):
        folders = (p for p in (ROOT / top).iterdir() if p.is_dir() and p.name != "__pycache__")
        there |= {f"{top}/{p.name}" for p in folders}
    assert named == there


def test_every_stage_is_in_the_table() -> None:
    numbers = {f.name[:2] for f in (ROOT / "sql" / "build").glob("*.sql")} - {"00", "18"}
    table = README.partition("| stage | file |")[2].partition("\n\n")[0]
    named = set()
    for cell in re.findall(r"^\| \w+ \| ([^|]+) \|", table, re.MULTILINE):
        first, to, last = cell.partition(" to ")
        listed = range(int(first), int(last) + 1) if to else map(int, cell.split(", "))
        named |= {f"{n:02}" for n in listed}
    assert named == numbers


@pytest.mark.parametrize("package", [podprep, podtrain])
def test_every_command_and_option_exists_and_every_command_is_shown(package: Any) -> None:
    commands = get_command(package.cli.app).commands  # type: ignore[attr-defined]
    pattern = rf"(?:^    |`){package.__name__} ([a-z-]+)([^`\n#]*)"
    used = [found for page in PAGES.values() for found in re.findall(pattern, page, re.MULTILINE)]
    assert {name for name, _ in used} >= set(commands) - {"fetch"}
    for name, rest in used:
        parameters = commands[name].params
        known = {o for p in parameters for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        assert set(re.findall(r"--[a-z][a-z-]+", rest)) <= known, (name, rest)


@pytest.mark.parametrize("name", PAGES)
def test_links_and_recipes_exist(name: str) -> None:
    folder = ROOT if name == "README.md" else ROOT / "docs"
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGES[name]):
        assert link.startswith("https://") or (folder / link).exists(), link
    for file in re.findall(r"(?<=--config )\S+", PAGES[name]):
        assert (ROOT / file).exists(), file
    for module, recipe in re.findall(r"python -m (bench\.\w+)(?: ([a-z-]+))?", PAGES[name]):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module
        assert not recipe or recipe in quality.RECIPES, recipe


@pytest.mark.parametrize("name", PAGES)
def test_pages_have_what_was_measured(name: str) -> None:
    """python -m bench.tables writes them anew from bench/results.json and bench/results/."""
    assert tables.filled(PAGES[name]) == PAGES[name]


def test_every_result_has_a_place() -> None:
    assert set(tables.TITLES) == set(quality.RECIPES)
    places = [found[1] for page in PAGES.values() for found in tables.PLACE.findall(page)]
    assert sorted(places) == sorted([*quality.RECIPES, "speed"])
    found = {file.stem for file in quality.RESULTS.glob("*.json")}
    assert found <= set(quality.RECIPES)


def row_of(name: str, kind: str, metrics: Any, sd: float = 0.0, *, left_out: bool = False) -> Any:
    mean = {metric: 1 / n for n, metric in enumerate(metrics, 8)}
    return {
        "name": name, "kind": kind, "exclude_seen": left_out, "n": 9,
        "mean": mean, "sd": dict.fromkeys(mean, sd),
    }  # fmt: skip


def test_a_result_is_written_as_tables(tmp_path: Path) -> None:
    against = {"difference": 0.01234, "low": -0.002, "high": 0.03, "p": 0.0421, "verdict": "x"}
    found = {
        "dataset": "beauty",
        "protocol": "pod",
        "seeds": [0, 1],
        "parameters": 1234,
        "seconds_of_training": [70.4, 65.0],
        "environment": {"processor": "p", "device": "cpu", "threads": 2, "precision": "fp32"},
        "tasks": {
            "sequential": [
                row_of("model", "model", tables.RANKS, 0.01, left_out=way) for way in (True, False)
            ]
            + [row_of("item-knn", "baseline", tables.RANKS, left_out=True)],
            "explanation": [row_of("model", "model", tables.TEXTS)],
        },
        "against": {"sequential": dict.fromkeys(("hit@10", "ndcg@10"), against)},
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "beauty-pod.json").write_text(json.dumps(found))
    page = "a\n<!-- results:beauty-pod -->\nold\n<!-- /results -->\nb\n<!-- results:sample -->\n"
    written = tables.filled(page + "old\n<!-- /results -->\n", tmp_path)
    assert tables.filled(written, tmp_path) == written
    assert "old" not in written
    lines = written.splitlines()
    for line in (
        "| model | .1250 ± .0100 | .1111 ± .0100 | .1000 ± .0100 | .0909 ± .0100 |",
        "| item-knn | .1250 | .1111 | .1000 | .0909 |",
        "| POD as published, nothing left out | .0537 | .0395 | .0688 | .0443 |",
        "| model | 0.125 | 0.111 | 0.100 | 0.091 | 0.1 | 0.1 | 0.1 | 0.1 |",
    ):
        assert line in lines
    for words in ("--seeds 2`: 9 users, 1,234 parameters, seeds 0 to 1, each trained in 65 to 70 s",
                  "NDCG@10 +.0123 (95% -.0020 to +.0300, p = .042: x)"):  # fmt: skip
        assert words in written
    assert lines[-2:] == ["<!-- results:sample -->", "<!-- /results -->"]
