"""The figures against plain Python, and the page as a browser without network reads it."""

import json
import math
import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from podprep.commands import exchange as commands_exchange
from podprep.commands.tables import stats_tables
from podprep.contract.errors import PodError
from podprep.dataset import Dataset
from podprep.engine import Machine
from podprep.exchange.imports import folder_inputs, import_folder
from podprep.recipe.inputs import Inputs
from podprep.recipe.options import BuildOptions
from podprep.recipe.pipeline import build
from podprep.recipe.templates import load_templates
from podprep.stats.figures import QUERIES
from podprep.stats.flow import levels
from podprep.stats.page import page, write_page
from podprep.ui.svg import linear, logarithmic, percent, short
from tests.conftest import Row, arithmetic_rows, review, write_dump

MACHINE = Machine(threads=1, memory=1 << 30)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rows = tmp_path_factory.mktemp("stats"), arithmetic_rows(users=24, items=12)
    rows += [review(f"U{u:03}", "I999", 300 + u) for u in range(24)]  # everybody bought it
    inputs = Inputs(
        dataset="tiny",
        options=BuildOptions(negatives=4, rounds=2),
        templates=load_templates(),
        dump=write_dump(folder / "dump", rows),
    )
    build(inputs, MACHINE, folder / "shards", progress=lambda *_: None)
    return folder / "shards"


def catalog(shards: Path, name: str) -> list[Row]:
    return list(pq.read_table(shards / "catalog" / f"{name}.parquet").to_pylist())


def test_figures_equal_plain_python(shards: Path) -> None:
    found = Dataset.open(shards).stats()
    bought = catalog(shards, "interactions")
    lengths = Counter(Counter(r["user_id"] for r in bought).values())
    assert {r["length"]: r["users"] for r in found["lengths"]} == lengths
    popularity = sorted(Counter(r["item_id"] for r in bought).values())
    n, total = len(popularity), len(bought)
    figures = found["figures"][0]
    assert (figures["items"], figures["purchases"]) == (n, total)
    assert figures["top_share"] == pytest.approx(sum(popularity[-math.ceil(n / 10) :]) / total)
    gini = sum((2 * i - n - 1) * x for i, x in enumerate(popularity, 1)) / (n * total)
    assert figures["gini"] == pytest.approx(gini)
    assert [r["purchases"] for r in found["popularity"]] == popularity[::-1]  # few: none left out
    assert found["popularity"][-1]["purchase_share"] == pytest.approx(1)
    days = Counter((r["user_id"], r["timestamp"]) for r in bought)
    sizes = Counter(size for size in days.values() for _ in range(size))
    assert {r["size"]: r["purchases"] for r in found["ties"]} == sizes
    tied = sum(n for size, n in sizes.items() if size > 1)
    assert figures["tied_share"] == pytest.approx(tied / total)
    assert sum(r["purchases"] for r in found["months"]) == total
    assert {r["year"]: r["purchases"] for r in found["years"]} == Counter(
        r["timestamp"].year for r in bought
    )
    prompts = [
        (task, len(row["prompt"].split()), len(row["prompt"]))
        for task in ("sequential", "topn", "explanation")
        for file in shards.glob(f"samples/task={task}/split=*/round=0/*")
        for row in pq.ParquetFile(file).read().to_pylist()
    ]
    words = {(r["task"], r["words"]): (r["samples"], r["characters"]) for r in found["prompts"]}
    assert {k: v[0] for k, v in words.items()} == Counter((t, w) for t, w, _ in prompts)
    assert sum(v[1] for v in words.values()) == sum(c for _, _, c in prompts)
    for kind in ("negatives", "positives"):
        assert sum(r[kind] for r in found["negatives"]) == pytest.approx(1)
    # everybody's last purchase, of the one item that no one bought before
    assert figures["items_never_trained"] == 1
    assert found["negatives"][0]["positives"] == 1
    assert found["manifest"]["statistics"]["samples"]["topn"] == {
        r["split"]: r["samples"] for r in found["samples"] if r["task"] == "topn"
    }


class Checked(HTMLParser):
    """Collects what a page would load, and checks that its elements are nested."""

    VOID = ("meta", "link", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loads += [str(v) for k, v in attrs if k in ("src", "href", "srcset", "xlink:href")]
        if tag == "svg":
            assert given["role"] == "img"
            self.names.append(str(given["aria-label"]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(text: str) -> Checked:
    parser = Checked()
    parser.feed(text)
    assert parser.open == []
    assert parser.loads == ["data:,"]  # the icon, that no browser may ask for
    assert not re.search(r"url\(|@import|<script|https?:", text)
    assert not re.search(r"\b(nan|inf|None)\b", text)
    return parser


def test_the_page_stands_alone_and_its_pictures_have_titles_and_units(shards: Path) -> None:
    text = page(Dataset.open(shards).stats())
    names = checked(text).names
    assert len(names) == len(set(names)) + 1  # the flow is drawn for wide and narrow windows
    assert len(names) >= 10
    units = re.findall(r'class="unit"[^>]*>([^<]+)<', text)
    assert len(units) == 2 * (len(names) - 2)
    for unit in ("purchases of a user", "users", "purchases (log)", "words, topn prompts"):
        assert unit in units


def test_what_came_without_times_has_no_pictures_of_them(shards: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "pod", tmp_path / "back"
    Dataset.open(shards).export("pod", folder)
    inputs = folder_inputs(folder, "pod", load_templates(), rounds=1)
    import_folder(inputs, MACHINE, out, progress=lambda *_: None)
    found = Dataset.open(out).stats()
    text = page(found)
    assert not [name for name in checked(text).names if "tie" in name or "month" in name]
    assert "imported from pod" in text
    assert stats_tables(found)


def test_a_name_cannot_write_into_the_page(shards: Path) -> None:
    found = Dataset.open(shards).stats()
    found["manifest"]["inputs"]["dataset"] = "<script>alert(1)</script> & $about"
    text = page(found)
    checked(text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; $about" in text


def test_the_flow_accounts_for_every_row(shards: Path) -> None:
    manifest = Dataset.open(shards).stats()["manifest"]
    stages = {s["stage"]: s for s in manifest["stages"]}
    flow = levels(manifest)
    assert [level.total for level in flow] == [
        stages[name]["in"] for name in ("read", "deduplicate", "core", "split", "explain")
    ]
    for before, after in pairwise(flow[:-1]):
        assert before.kept == after.total


@pytest.mark.parametrize(("high", "whole"), [(1, 1), (7, 1), (0.31, 0), (1, 0), (204, 1), (9e6, 1)])
def test_ticks_are_few_round_and_inside(high: float, whole: int) -> None:
    ticks = linear("", high, whole=whole).ticks
    assert 2 <= len(ticks) <= 8
    assert ticks[0] == 0
    assert ticks[-1] <= high * (1 + 1e-9)
    if whole:
        assert all(tick == int(tick) for tick in ticks)


def test_logarithmic_ticks_and_short_numbers() -> None:
    assert logarithmic("", 50).ticks == (1, 2, 5, 10, 20, 50)
    assert logarithmic("", 1e6).ticks == tuple(10.0**n for n in range(7))
    assert [short(n) for n in (0, 999, 1000, 2500, 1.25e6)] == ["0", "999", "1k", "2.5k", "1.25M"]
    assert [percent(n) for n in (0, 0.5, 0.0734e-2)] == ["0%", "50%", "0.0734%"]


# ------------------------------------------------------------------ the commands


def run(*arguments: object, code: int = 0) -> str:
    app = typer.Typer()
    commands_exchange.register(app)
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if code:
        assert isinstance(done.exception, PodError)
        return str(done.exception)
    assert done.exit_code == 0, done.output
    return done.output


def test_stats_prints_tables_and_json_and_writes_the_page(shards: Path, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "stats.html"
    shown = run("stats", shards, "--html", file)
    for words in ("Rows kept and dropped", "Gini", "tie of", "Use of templates", "topn"):
        assert words in shown
    checked(file.read_text())
    assert list(file.parent.iterdir()) == [file]
    found: dict[str, Any] = json.loads(run("stats", shards, "--json"))
    assert {*QUERIES, "manifest"} == found.keys()
    assert "not a dataset" in run("stats", tmp_path, code=1)
    assert "only read" in run("stats", shards, "--html", shards / "stats.html", code=1)
    with pytest.raises(PodError, match="is not a file"):
        write_page(found, tmp_path)


def test_export_and_import_as_commands(shards: Path, tmp_path: Path) -> None:
    to, out = tmp_path / "to", tmp_path / "out"
    files = json.loads(run("export", shards, "--to", to, "--format", "recbole", "--json"))
    assert all(Path(f["file"]).stat().st_size == f["bytes"] for f in files)
    options = ("--tasks", "topn", "--negatives", 3, "--rounds", 1, "--dataset", "other")
    shown = run("import", to, "--format", "recbole", "--out", out, *options)
    assert "deduplicate" in shown
    again = ("import", to, "--format", "recbole", "--out", out, *options, "--json")
    manifest = json.loads(run(*again))
    assert manifest["inputs"]["dataset"] == "other"
    assert manifest["inputs"]["options"]["tasks"] == ["topn"]
    assert "holds another dataset" in run(*again, "--seed", 7, code=1)
