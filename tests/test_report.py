"""The page of a run: its figures are those of the files, and it needs nothing beside itself."""

import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podprep.contract.tasks import TASKS
from podprep.contract.writing import write_json
from podprep.engine import Machine
from podprep.recipe.inputs import Inputs
from podprep.recipe.options import BuildOptions
from podprep.recipe.pipeline import build
from podprep.recipe.templates import load_templates
from podprep.ui.svg import MOST_POINTS, curves, thinned, ticks
from podtrain.cli import app
from podtrain.data.interactions import Interactions
from podtrain.evaluate.evaluate import Results, Row
from podtrain.evaluate.files import write_lists, write_ranks, write_results, write_texts
from podtrain.evaluate.published import PUBLISHED
from podtrain.metrics.ranking import ranking_metrics, ranks_of
from podtrain.recommenders.queries import Pairs
from podtrain.recommenders.ranking import best, candidates_of
from podtrain.recommenders.registry import entries
from podtrain.report import page as report_page
from podtrain.report.facts import read_facts, read_values
from podtrain.report.gallery import USERS, draw_users, rank_words
from podtrain.report.page import write_report
from podtrain.report.results import METHODS, TEXT_COLUMNS
from podtrain.run import BEST, LAST, RUN, RUN_VERSION, Run
from podtrain.train.checkpoint import write_checkpoint
from podtrain.train.config import make_config
from podtrain.train.log import read_lines, write_metric
from podtrain.train.loop import Progress
from tests.conftest import arithmetic_rows, write_dump

TITLE = '<b>&"$about" '
SEEN = "Said the <model> & 'all'"
KINDS = ("losses", "results", "predictions", "ranks")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder, rows = tmp_path_factory.mktemp("report"), arithmetic_rows(users=40, items=40, length=11)
    titled = [{"asin": f"I{n:03}", "title": f"{TITLE}{n}"} for n in range(0, 40, 2)]
    inputs = Inputs(
        dataset="tiny",
        options=BuildOptions(negatives=6, rounds=1),
        templates=load_templates(),
        dump=write_dump(folder / "dump", rows),
        metadata=write_dump(folder / "meta", titled),
    )
    build(inputs, Machine(threads=1, memory=1 << 30), folder / "s", progress=lambda *_: None)
    return Shards.open(folder / "s")


def make_run(
    folder: Path,
    shards: Shards,
    kinds: tuple[str, ...] = KINDS,
    tasks: tuple[str, ...] = TASKS,
    seed: int = 0,
    published: str = "",
    **described: Any,
) -> Run:
    """A run by hand: random scores, written by what writes those of a model."""
    folder.mkdir()
    draw = np.random.default_rng(seed)
    t5 = {"num_layers": 1, "num_decoder_layers": 1, "d_model": 8, "num_heads": 2, "vocab_size": 99}
    description = {
        "run_version": RUN_VERSION,
        "config": make_config({"base": "tiny", "tasks": TASKS, "seed": seed}).flat(),
        "shards": str(shards.folder),
        "dataset": "tiny",
        "protocol": shards.protocol,
        "manifest_sha256": shards.sha256,
        "parameters": 12_345,
        "model": {"t5": t5},
        "versions": {"podtrain": "0"},
    }
    write_json(folder / RUN, description | described)
    run = Run.open(folder)
    write_checkpoint(folder / BEST, {"w": torch.zeros(1)}, {"step": 60})
    stop(run, best=60 if "losses" in kinds else 0)
    if "losses" in kinds:
        log(run, [(step, 4 + abs(step - 60) / 50) for step in (20, 40, 60, 80)])
    for task in tasks:
        _evaluate(run, shards, task, kinds, draw, published)
    return run


def stop(run: Run, best: int, *, finished: bool = True) -> None:
    state = asdict(Progress(step=80, best_step=best, finished=finished))
    write_checkpoint(run.folder / LAST, {"w": torch.zeros(1)}, state)


def log(run: Run, means: list[tuple[int, float]]) -> None:
    for step, mean in means:
        for n, task in enumerate(TASKS):
            for event in ("train", "valid"):
                write_metric(run.folder, event, step, task, "loss", mean + n - 1)
        write_metric(run.folder, "valid", step, "all", "score", 1 / mean)


def _evaluate(
    run: Run,
    shards: Shards,
    task: str,
    kinds: tuple[str, ...],
    draw: np.random.Generator,
    published: str,
) -> None:
    table = shards.sample_table(task, "test")
    users, targets = table["user_id"].to_numpy(), table["item_id"].to_numpy()
    if task == "explanation":
        if "predictions" in kinds:
            write_texts(run, "test", "exact", Pairs(users, targets), [SEEN] * len(users))
    elif "predictions" in kinds:
        ids = candidates_of(shards, "test", users)
        if task == "sequential":
            ids = np.broadcast_to(np.arange(1, shards.n_items + 1), (len(users), shards.n_items))
        scores = np.log(draw.dirichlet(np.ones(ids.shape[1]), len(users)))
        scores[::3] = np.round(scores[::3])  # ties
        write_lists(run, task, "test", "exact", users, *best(scores, ids, 10))
        if "ranks" in kinds:
            ranks = ranks_of(scores, (ids == targets[:, None]).argmax(1))
            write_ranks(run, task, "test", "exact", users, ranks)
    if "results" in kinds:
        names = TEXT_COLUMNS if task == "explanation" else ranking_metrics(ranks_of(RAMP, ZEROS))
        called = [("model", "model", method) for method in METHODS if method != "pod"]
        called += [(name, "baseline", "exact") for name in baselines(task)]
        rows = [
            Row(name, kind, {n: draw.random() for n in names}, len(users), 1.0, method)
            for name, kind, method in called
        ]
        add(
            run,
            Results(task, "test", "tiny", run.description["protocol"], "finished", published, rows),
        )


def add(run: Run, results: Results) -> None:
    results.environment = {"weights_sha256": run.weights_sha256, "step": run.best_step}
    write_results(run, results.as_json(), [row.label for row in results.rows])


def baselines(task: str) -> list[str]:
    return [entry.name for entry in entries() if not entry.trained and task in entry.tasks]


RAMP, ZEROS = np.zeros((1, 2)), np.zeros(1, np.int64)


class Read(HTMLParser):
    """What a page says: tables, users, commands; and that it is whole and loads nothing."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.pictures: list[str] = []
        self.sections: list[dict[str, Any]] = []
        self.tips: list[str] = []
        self.words = ""
        self.feed(text)
        assert self.open == []
        assert self.loads == ["data:,"]  # the icon, that no browser may ask for
        assert not re.search(r"url\(|@import|<script|https?:", text)
        assert not re.search(r"\b(nan|None|undefined)\b|>inf<", text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {k: v or "" for k, v in attrs}
        self.loads += [v for k, v in given.items() if k in ("src", "href", "srcset")]
        assert not any(k.startswith("on") for k in given)
        self.tips.append(given.get("title", ""))
        if tag == "svg":
            self.pictures.append(given["aria-label"])
        if tag == "section":
            self.sections.append({"rows": [], "users": [], "pre": [], "words": ""})
        if tag == "tr":
            self.sections[-1]["rows"].append([])
        if tag in ("td", "th"):
            self.sections[-1]["rows"][-1].append("")
        if tag == "article":
            self.sections[-1]["users"].append({"lists": []})
        if tag in ("ul", "ol"):
            self.sections[-1]["users"][-1]["lists"].append([])
        if tag == "li":
            self.sections[-1]["users"][-1]["lists"][-1].append(
                {"held": "held-out" in given.values()}
            )
        if tag == "pre":
            self.sections[-1]["pre"].append("")
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.sections:
            self.sections[-1]["words"] += data
        if "td" in self.open or "th" in self.open:
            self.sections[-1]["rows"][-1][-1] += data
        if "pre" in self.open:
            self.sections[-1]["pre"][-1] += data
        if "li" in self.open:
            line = self.sections[-1]["users"][-1]["lists"][-1][-1]
            line[self.open[-1]] = line.get(self.open[-1], "") + data
        if "article" in self.open and data.startswith("held-out item"):
            self.sections[-1]["users"][-1]["lists"][-1].append(data)

    def section(self, start: str) -> dict[str, Any]:
        [found] = [s for s in self.sections if s["words"].lstrip().startswith(start)]
        return found

    def table(self, start: str) -> dict[str, dict[str, str]]:
        """A table as {row: {column: cell}}."""
        head, *rows = self.section(start)["rows"]
        return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def page(run: Run) -> str:
    return report_page.page(read_facts(run))


def shown(run: Run) -> Read:
    return Read(page(run))


NAMES = {
    "sequential": "Sequential, test",
    "topn": "Top-N, test",
    "explanation": "Explanations, test",
}


@pytest.mark.parametrize("seed", [1, 2])
def test_the_figures_are_those_of_the_results(shards: Shards, tmp_path: Path, seed: int) -> None:
    run = make_run(tmp_path / "run", shards, seed=seed)
    read = shown(run)
    for task, found in json.loads((run.folder / "results.json").read_text())["test"].items():
        table = read.table(NAMES[task])
        assert list(table) == ["model", "model, beam search", *baselines(task)]
        for row, shown_row in zip(found["rows"], table.values(), strict=True):
            cells = {column: cell for column, cell in shown_row.items() if column}
            wanted = row["metrics"]
            if task == "explanation":
                figures = list(map(float, cells.values()))
                assert figures == pytest.approx([wanted[c] for c in TEXT_COLUMNS], abs=0.005)
            else:
                assert list(cells) == ["HR@10", "NDCG@10", "HR@5", "NDCG@5", "HR@1"]
                for column, cell in cells.items():
                    assert cell == f"{wanted[column.lower().replace('hr', 'hit')]:.4f}"
                assert f"HR@10 {wanted['hit@10']:.4f}" in read.tips
    assert "12,345" in read.words


def test_bars_are_as_long_as_their_figures(shards: Shards, tmp_path: Path) -> None:
    text = page(make_run(tmp_path / "run", shards, tasks=("topn",)))
    bars = re.findall(r'width:([\d.]+)%" title="[A-Z]+@10 ([\d.]+)"', text)
    assert len(bars) == 2 * (2 + len(baselines("topn")))
    widths, values = np.array(bars, float).T
    assert widths.max() == 100
    assert widths == pytest.approx(100 * values / values.max(), abs=0.06)


@pytest.mark.parametrize("kinds", [k for n in product((0, 1), repeat=4) for k in [n]])
def test_a_run_that_has_only_begun_has_a_page_too(
    shards: Shards, tmp_path: Path, kinds: tuple[int, ...]
) -> None:
    own = tuple(kind for kind, there in zip(KINDS, kinds, strict=True) if there)
    run = make_run(tmp_path / "a run", shards, own)
    read = shown(run)
    assert len(read.pictures) == (3 if "losses" in own else 0)
    commands = [line for s in read.sections for line in s["pre"]]
    assert commands == ([] if "results" in own else [f"podtrain evaluate '{run.folder}'"])
    users = [u for s in read.sections for u in s["users"]]
    assert len(users) == (USERS if "predictions" in own else 0)
    ranked = "predictions" in own and "ranks" in own
    assert ("held-out item: rank" in read.words) == ranked


def test_each_task_that_was_left_out_is_hinted_at(shards: Shards, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", shards, tasks=("topn",))
    hint = shown(run).section("Not evaluated yet")
    start = f"podtrain evaluate {run.folder} --task "
    assert hint["pre"] == [f"{start}sequential", f"{start}explanation"]


def test_what_people_wrote_cannot_write_into_the_page(shards: Shards, tmp_path: Path) -> None:
    name = "<script>alert(1)</script> & $title"
    run = make_run(tmp_path / "<i>run", shards, dataset=name)
    text = page(run)
    read = Read(text)
    assert name in read.words
    assert SEEN in read.words
    assert TITLE in read.words
    assert "<b>&" not in text
    assert "<model>" not in text
    assert "<i>run" not in page(make_run(tmp_path / "<i>run2", shards, ()))


def test_published_figures_say_what_they_are_worth(shards: Shards, tmp_path: Path) -> None:
    for reading, leaky in (("clean", ", leaky data"), ("pod", "")):
        run = make_run(tmp_path / reading, shards, published="beauty", protocol=reading)
        read = shown(run)
        for task, start in NAMES.items():
            row = read.table(start)[f"POD as published{leaky}"]
            figures = {float(cell) for cell in row.values() if cell}
            assert figures == {
                float(f"{v:.2f}") if task == "explanation" else v
                for v in PUBLISHED[task]["beauty"].values()
            }
            assert ("not comparable" in read.section(start)["words"]) == (reading == "clean")
    assert "POD as" not in shown(make_run(tmp_path / "other", shards)).words
    # the figures are of the test
    run = make_run(tmp_path / "valid", shards, published="beauty")
    results = json.loads((run.folder / "results.json").read_text())
    valid = {task: {**found, "split": "valid"} for task, found in results["test"].items()}
    write_json(run.folder / "results.json", {"valid": valid})
    read = shown(run)
    assert read.table("Top-N, valid")
    assert "POD as" not in read.words


def test_the_published_way_to_count_has_its_row(shards: Shards, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", shards, tasks=("topn",))
    metrics = {f"{name}_pod@{k}": k / 16 for name in ("hit", "ndcg") for k in (1, 5, 10)}
    row = Row("model", "model", metrics, 24, 1.0, "pod", random_items=1234)
    add(run, Results("topn", "test", "tiny", "pod", "finished", rows=[row]))
    read = shown(run)
    cells = read.table(NAMES["topn"])["model, as published"]
    assert (cells["HR@10"], cells["NDCG@5"]) == ("0.6250", "0.3125")
    assert "1,234 answers" in read.section(NAMES["topn"])["words"]


def test_results_of_older_weights_are_called_so(shards: Shards, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", shards)
    assert "changed since" not in shown(run).words
    stop(run, best=100, finished=False)
    words = shown(run).section(NAMES["topn"])["words"]
    assert "Training has not ended" in words
    assert (
        f"Measured at step 60; the weights have changed since: podtrain evaluate {run.folder}"
        in words
    )


def test_the_gallery_is_what_was_predicted(shards: Shards, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", shards, seed=3)
    read = shown(run)
    bought, found = Interactions.read(shards), 0
    items = shards.table("catalog/items.parquet")
    names = [
        t or a for t, a in zip(*(items[c].to_pylist() for c in ("title", "asin")), strict=True)
    ]
    numbers = [int(n) for n in re.findall(r"User ([\d,]+) ", read.words)]
    users = read.section("Gallery")["users"]
    assert len(users) == len(numbers) == USERS
    for number, user in zip(numbers, users, strict=True):
        history, *lists = user["lists"]
        own = bought.history(number)
        wanted = [*bought.history(number, "test")[-8:], own[-1]]
        assert [line["span"] for line in history] == [names[i - 1] for i in wanted]
        assert [line["held"] for line in history] == [False] * (len(wanted) - 1) + [True]
        assert len(lists) == 2
        for (*lines, rank), most in zip(lists, (5, 3), strict=True):
            assert len(lines) == most
            shares = [float(line["b"].strip("<%")) for line in lines]
            assert all(a >= b for a, b in pairwise(shares))
            for place, line in enumerate(lines, 1):
                assert line["held"] == (line["span"] == names[own[-1] - 1])
                assert ("has it" in line.get("em", "")) == (
                    line["span"] in [names[i - 1] for i in own[:-1]]
                )
                if line["held"]:
                    low, *high = map(int, re.findall(r"\d+", rank))
                    assert low <= place <= (high or [low])[0]
                    found += 1
    assert found  # else nothing was tested of it
    sentences = shards.table("catalog/explanations.parquet").to_pylist()
    told = [s["sentence"] for s in sentences if (s["user_id"], s["split"]) == (numbers[0], "test")]
    assert told
    assert all(sentence in read.words for sentence in told)


def test_the_gallery_shows_nonsense_as_it_came(shards: Shards, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", shards, ())
    table = shards.sample_table("sequential", "test")
    users, targets = table["user_id"].to_numpy(), table["item_id"].to_numpy()
    items = np.array([[0, 999, 0]] * len(users))
    write_lists(run, "sequential", "test", "pod", users, items, np.zeros(items.shape))
    others = np.array([Interactions.read(shards).history(int(user))[0] for user in users])
    write_texts(run, "test", "pod", Pairs(users, others), ["so"] * len(users))
    read = shown(run)
    for user in read.section("Gallery")["users"]:
        _, (nothing, unknown) = user["lists"]
        assert nothing == {"held": False, "span": "no item"}  # no share: the score is of the text
        assert unknown == {"held": False, "span": "item 999, which is none"}
    assert (others != targets).all()
    assert len(re.findall(r"On .*?:\s*so", read.words)) == USERS


@given(st.lists(st.sets(st.integers(1, 99), min_size=1), min_size=1, max_size=3))
@settings(deadline=None)
def test_users_are_drawn_evenly_from_those_of_all_tasks(sets: list[set[int]]) -> None:
    rows = [np.repeat(np.array(sorted(s), np.int32), 3) for s in sets]  # a user has many
    users, of = draw_users(rows)
    common = sorted(set.intersection(*sets) or sets[0])
    assert of == len(common)
    assert len(users) == min(USERS, len(common))
    places = [common.index(user) for user in users]
    gaps = [b - a for a, b in pairwise([*places, len(common)])]
    assert places[0] == 0
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


@given(st.lists(st.integers(0, 4), min_size=2, max_size=12), st.data())
def test_a_rank_is_where_sorting_puts_it(scores: list[int], data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    words = rank_words(ranks_of(np.array([scores], float), np.array([target])), 0)
    order = sorted(scores, reverse=True)
    places = [n for n, score in enumerate(order, 1) if score == scores[target]]
    numbers = [int(n) for n in re.findall(r"\d+", words)]
    assert numbers == sorted({places[0], places[-1]})
    assert ("tied" in words) == (len(places) > 1)


# ------------------------------------------------------------------ curves


def test_losses_and_the_best_step_are_read_as_they_were_logged(
    shards: Shards, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", shards)
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"event": "valid", "step": 99, "task": "all", "name": "loss", "value": NaN}\n')
        file.write('{"event": "valid", "st')  # being written
    losses = read_values(read_lines(run.folder), "loss")
    assert losses["valid", TASKS[1]] == [(20, 4.8), (40, 4.4), (60, 4.0), (80, 4.4)]
    assert {task for event, task in losses if event == "train"} == set(TASKS)
    assert ("valid", "all") not in losses
    assert "best weights at step 60; later validations without gain: 1" in shown(run).words


@given(st.lists(st.floats(0, 10), min_size=1, max_size=50), st.integers(1, 20))
def test_thinning_keeps_the_mean_the_order_and_the_end(values: list[float], most: int) -> None:
    points = [(float(step), value) for step, value in enumerate(values)]
    few = thinned(points, most)
    assert len(few) <= most
    assert few[-1][0] == points[-1][0]
    assert all(a[0] < b[0] for a, b in pairwise(few))
    ends = [int(step) for step, _ in few]
    starts = [-1, *ends[:-1]]
    for (_, mean), start, end in zip(few, starts, ends, strict=True):
        assert mean == pytest.approx(np.mean(values[start + 1 : end + 1]))
    if len(points) <= most:
        assert few == points


@given(st.floats(0, 100), st.floats(1e-3, 1e6))
def test_ticks_are_few_round_and_inside(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 7
    assert low - 1e-6 * width <= found[0]
    assert found[-1] <= low + width * (1 + 1e-6)
    gaps = [b - a for a, b in pairwise(found)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps), rel=1e-4)


@given(st.integers(1, 900), st.integers(0, 99), st.booleans())
@settings(max_examples=25, deadline=None)
def test_curves_stay_on_their_sheet(n: int, seed: int, marked: bool) -> None:
    values = np.random.default_rng(seed).uniform(0.1, 20, n).tolist()
    points = [(50.0 * n, value) for n, value in enumerate(values, 1)]
    svg = curves("a & b", {"train": points, "valid": []}, points[-1] if marked else None)
    assert "a &amp; b" in svg
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())  # type: ignore[union-attr]
    [path] = re.findall(r'points="([^"]+)"', svg)
    places = np.array([p.split(",") for p in path.split()], float)
    assert len(places) <= MOST_POINTS
    assert (places >= 0).all()
    assert (places <= (width, height)).all()
    assert (np.diff(places[:, 0]) >= 0).all()
    kept = np.array([y for _, y in thinned(points)])
    # the larger the loss, the higher it stands: a smaller y
    assert (np.diff(places[:, 1][np.argsort(kept, kind="stable")]) <= 0.11).all()


# ------------------------------------------------------------------ the command


def test_report_writes_whole_pages_or_none(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", shards)
    write_report(run, file := tmp_path / "deep" / "page.html")
    first = file.read_bytes()
    write_report(run, file)
    assert file.read_bytes() == first
    assert list(file.parent.iterdir()) == [file]
    with pytest.raises(PodError, match="is not a file: name another"):
        write_report(run, tmp_path)
    with pytest.raises(PodError, match="could not be written"):
        write_report(run, file / "under-a-file.html")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", _full)
        with pytest.raises(PodError, match="could not be written: full"):
            write_report(run, file)
    (run.folder / "predictions" / "topn-test-exact.parquet").write_bytes(b"PAR1")
    with pytest.raises(PodError, match=r"is damaged: podtrain evaluate .* --task topn"):
        write_report(run, file)
    assert file.read_bytes() == first
    assert list(file.parent.iterdir()) == [file]


def _full(*_: Path) -> None:
    raise OSError(28, "full")


def test_report_as_a_command(shards: Shards, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", shards)
    done = CliRunner().invoke(app, ["report", str(run.folder)])
    assert done.exit_code == 0, done.output
    text = (run.folder / "report.html").read_text()
    assert text == page(run)
