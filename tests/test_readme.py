"""The README says what is there: the tree, the stages, the commands of both packages."""

import re
from pathlib import Path

from typer.main import get_command

import podprep.cli
import podtrain.cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


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
    there = {"podprep", "podtrain", "sql", "tests", "bench"}
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


def test_every_command_and_option_in_the_readme_exists() -> None:
    for package, needed in (
        (podprep, {"build", "query", "audit", "verify", "stats"}),
        (podtrain, {"fit", "evaluate", "recommend", "explain", "baselines", "compare", "report"}),
    ):
        commands = get_command(package.cli.app).commands  # type: ignore[attr-defined]
        pattern = rf"(?:^    |`){package.__name__} ([a-z-]+)([^`\n#]*)"
        used = re.findall(pattern, README, re.MULTILINE)
        assert {name for name, _ in used} >= needed
        for name, rest in used:
            parameters = commands[name].params
            known = {o for p in parameters for o in (*p.opts, *p.secondary_opts)} | {"--help"}
            assert set(re.findall(r"--[a-z][a-z-]+", rest)) <= known, (name, rest)
