"""podtrain as people type it: the whole way on the sample, and one line for what is wrong."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from podprep.cli import app as prep
from podtrain import api
from podtrain.cli import app, main
from podtrain.report.results import result_rows

RUNNER = CliRunner()


def typed(*arguments: object) -> str:
    """Run a command in this process; it must succeed."""
    done = RUNNER.invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODPREP_DATA", str(folder))
        out = folder / "shards"
        done = RUNNER.invoke(
            prep, ["build", "--dataset", "sample", "--rounds", "2", "--out", str(out)]
        )
    assert done.exit_code == 0, done.output
    return out


def model_row(results: dict[str, Any], method: str = "exact", seen: bool = False) -> dict[str, Any]:
    """The model's row of a task's results."""
    [found] = [
        row
        for row in results["rows"]
        if (row["kind"], row["method"], row["exclude_seen"]) == ("model", method, seen)
    ]
    return dict(found)


@pytest.fixture(scope="module")
def run(shards: Path) -> Path:
    """A run of all tasks, trained for one epoch and evaluated."""
    out = shards.parent / "run"
    typed("fit", shards, "--out", out, "--base", "tiny", "--epochs", 1, "--lr", "4e-3")
    typed("evaluate", out)
    return out


@pytest.fixture(scope="module")
def seeds(shards: Path) -> Path:
    """Two runs of the T5 by itself, evaluated."""
    out = shards.parent / "seeds"
    typed("fit", shards, "--out", out, "--base", "tiny", "--epochs", 1, "--tasks", "sequential",
          "--seeds", 2, "--batch-size", 256, "--no-memory")  # fmt: skip
    for seed in (0, 1):
        typed("evaluate", out / f"seed-{seed}")
    return out


def test_evaluation_writes_what_the_views_read(shards: Path, run: Path) -> None:
    def ask(sql: str) -> list[dict[str, Any]]:
        answer = RUNNER.invoke(
            prep, ["query", str(shards), sql, "--run", str(run), "--format", "json"]
        )
        assert answer.exit_code == 0, answer.output
        return [dict(row) for row in json.loads(answer.stdout)]

    counted = ask(
        "SELECT task, method, count(DISTINCT user_id) AS users, max(rank) AS places"
        " FROM predictions GROUP BY ALL ORDER BY ALL"
    )
    assert [(c["task"], c["method"], c["users"], c["places"]) for c in counted[1:]] == [
        ("sequential", "exact", 430, 10),
        ("sequential", "exclude-seen", 430, 10),
        ("sequential", "item-knn", 430, 10),
        ("sequential", "item-knn-exclude-seen", 430, 10),
        ("topn", "exact", 430, 10),
        ("topn", "item-knn", 430, 10),
    ]
    assert counted[0]["task"] == "explanation"
    # the metric in results.json is the one that SQL finds in the predictions
    found = json.loads((run / "results.json").read_text())["test"]["sequential"]
    for row in found["rows"]:
        if row["label"] in ("exact", "exclude-seen", "item-knn", "item-knn-exclude-seen"):
            hits = ask(
                "SELECT count(*) / 430 AS hit FROM predictions AS p JOIN interactions AS i"
                " USING (user_id, split, item_id) WHERE p.task = 'sequential'"
                f" AND p.method = '{row['label']}'"
            )
            # a tie is counted by expectation there, and in the order of ids here
            near = 1e-9 if row["kind"] == "model" else 0.01
            assert hits[0]["hit"] == pytest.approx(row["metrics"]["hit@10"], abs=near)
    # of the ways to rank, the metrics tell what a shop would show
    named = ask("SELECT event, value FROM metrics WHERE task = 'sequential' AND name = 'hit@10'")
    shop = model_row(found, seen=True)["metrics"]["hit@10"]
    assert named == [{"event": "test", "value": pytest.approx(shop, abs=1e-9)}]
    bought_again = ask(
        "SELECT count(*) AS n FROM predictions AS p JOIN interactions AS i USING (user_id, item_id)"
        " WHERE p.method LIKE '%exclude-seen' AND i.split <> 'test'"
    )
    assert bought_again == [{"n": 0}]
    lists = ask(
        "SELECT user_id, count(DISTINCT item_id) AS items, count(*) AS rows FROM predictions"
        " WHERE method <> 'beam' AND task <> 'explanation'"
        " GROUP BY task, method, user_id HAVING items <> rows"
    )
    assert lists == []
    # whom the run serves worst: of none of them any list has the item
    worst = RUNNER.invoke(
        prep, ["query", str(shards), "--name", "worst-users", "--run", str(run), "--format", "json"]
    )
    served = ask(
        "SELECT DISTINCT user_id FROM predictions AS p JOIN interactions AS i"
        " USING (user_id, split, item_id)"
        " WHERE p.task <> 'explanation' AND p.method NOT LIKE 'item-knn%'"
    )
    missed = {row["user_id"] for row in json.loads(worst.stdout)}
    assert missed == set(range(1, 431)) - {row["user_id"] for row in served}


def test_topn_recommends_candidates_only(shards: Path, run: Path) -> None:
    table = pq.read_table(run / "predictions" / "topn-test-exact.parquet")
    folder = shards / "samples" / "task=topn" / "split=test" / "round=0"
    samples = pq.read_table(folder / "part-00000.parquet", partitioning=None)
    candidates = dict(
        zip(samples["user_id"].to_pylist(), samples["candidates"].to_pylist(), strict=True)
    )
    for user, item in zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True):
        assert item in candidates[user]


def test_a_beam_as_wide_as_the_catalogue_is_exact(run: Path, seeds: Path) -> None:
    alone = seeds / "seed-0"
    beams = ["--task", "sequential", "--rank", "beam", "--beams", 239]
    typed("evaluate", alone, *beams)
    exact, beam = (
        pq.read_table(alone / "predictions" / f"sequential-test-{method}.parquet").to_pydict()
        for method in ("exact", "beam")
    )
    assert exact["item_id"] == beam["item_id"]
    assert exact["score"] == pytest.approx(beam["score"], abs=1e-4)
    # with a memory beside it, a beam search is the T5's
    found = json.loads(typed("evaluate", run, *beams, "--json"))["sequential"]
    kept = json.loads((run / "results.json").read_text())["test"]["sequential"]
    [t5] = [r for r in kept["rows"] if (r["name"], r["exclude_seen"]) == ("T5 alone", False)]
    assert model_row(found, "beam")["metrics"] == pytest.approx(t5["metrics"])


def test_the_published_evaluation(run: Path) -> None:
    results = json.loads(typed("evaluate", run, "--compat", "pod", "--json"))
    assert set(results) == {"sequential", "topn", "explanation"}
    assert "hit_pod@10" in model_row(results["sequential"], "pod")["metrics"]
    assert model_row(results["topn"], "pod")["random_items"] >= 0
    # it stands beside what was found before, and its table has a row for each
    kept = json.loads((run / "results.json").read_text())["test"]["topn"]
    assert {row["label"] for row in kept["rows"]} >= {"exact", "pod", "item-knn"}
    assert kept["against"]
    names = [row.name for row in result_rows(kept, exclude_seen=False)]
    assert names[:2] == ["model", "model, as published"]


def test_one_user_asked(run: Path) -> None:
    [asked] = json.loads(typed("recommend", run, "--user", 7, "-n", 5, "--json"))
    bought = {p["item_id"] for p in asked["history"]}
    assert [p["rank"] for p in asked["recommended"]] == [1, 2, 3, 4, 5]
    assert not bought & {p["item_id"] for p in asked["recommended"]}
    # by the names of the dump, the same
    again = json.loads(typed("recommend", run, "--user", asked["reviewer_id"], "-n", 5, "--json"))
    assert again == [asked]
    asins = ",".join(p["asin"] for p in asked["history"])
    told = json.loads(typed("recommend", run, "--user", 7, "-n", 5, "--history", asins, "--json"))
    assert told == [asked]
    chosen = json.loads(
        typed("recommend", run, "--user", 7, "--candidates", "5,6,7,6", "-n", 9, "--json")
    )
    assert {p["item_id"] for p in chosen[0]["recommended"]} == {5, 6, 7} - bought
    table = typed("recommend", run, "--user", 7, "-n", 5)
    assert "History of user 7" in table
    assert asked["recommended"][0]["asin"] in table
    why = json.loads(typed("explain", run, "--user", 7, "--item", 12, "--json"))
    assert why["text"]
    assert why["text"] in typed("explain", run, "--user", 7, "--item", why["asin"])


def test_everybody_asked_at_once_is_asked_alike(run: Path, tmp_path: Path) -> None:
    for name in ("recs.parquet", "recs.csv", "recs.jsonl"):
        said = json.loads(typed("recommend", run, "--all", "-n", 3, "--out", tmp_path / name))
        assert said == {"file": str(tmp_path / name), "users": 430, "rows": 1290}
    table = pq.read_table(tmp_path / "recs.parquet")
    names = ["user_id", "reviewer_id", "rank", "item_id", "asin", "title", "score"]
    assert table.column_names == names
    [asked] = json.loads(typed("recommend", run, "--user", 7, "-n", 3, "--json"))
    own = [row for row in table.to_pylist() if row["user_id"] == 7]
    assert [row["asin"] for row in own] == [p["asin"] for p in asked["recommended"]]
    assert [row["score"] for row in own] == pytest.approx(
        [p["score"] for p in asked["recommended"]], abs=1e-4
    )
    lines = (tmp_path / "recs.csv").read_text().splitlines()
    assert (len(lines), lines[0]) == (1291, ",".join(names))
    rows = [json.loads(line) for line in (tmp_path / "recs.jsonl").read_text().splitlines()]
    assert [row["item_id"] for row in rows] == table["item_id"].to_pylist()


def test_somebody_new_is_asked_and_told_why(run: Path) -> None:
    [asked] = json.loads(typed("recommend", run, "--history", "3,4", "-n", 2, "--why", "--json"))
    assert (asked["user_id"], asked["reviewer_id"]) == (None, None)
    assert [p["item_id"] for p in asked["history"]] == [3, 4]
    assert all(p["why"] for p in asked["recommended"])
    table = typed("recommend", run, "--history", "3,4", "-n", 2, "--why")
    assert "Recommended to somebody new" in table


def test_a_user_for_whom_nothing_is_left_is_named(run: Path) -> None:
    [asked] = json.loads(typed("recommend", run, "--user", 7, "-n", 1, "--json"))
    bought = asked["history"][0]["item_id"]
    [left] = json.loads(typed("recommend", run, "--user", 7, "--candidates", bought, "--json"))
    assert left == {**asked, "recommended": []}
    assert "nothing is left" in typed("recommend", run, "--user", 7, "--candidates", bought)
    [with_it] = json.loads(
        typed("recommend", run, "--user", 7, "--candidates", bought, "--include-seen", "--json")
    )
    assert [p["item_id"] for p in with_it["recommended"]] == [bought]


def test_baselines_are_those_beside_the_model(shards: Path, run: Path) -> None:
    alone = json.loads(typed("baselines", shards, "--json"))
    beside = json.loads((run / "results.json").read_text())["test"]
    for task in ("sequential", "topn"):
        own, others = (
            {
                (row["name"], row["exclude_seen"]): row["metrics"]
                for row in found[task]["rows"]
                if row["kind"] == "baseline"
            }
            for found in (alone, beside)
        )
        assert own == others
        assert len(own) == (10 if task == "sequential" else 5)
    table = typed("baselines", shards, "--split", "valid")
    assert "430 among all items but those bought before" in table
    assert "430 among the candidates" in table
    assert not re.search(r"\b0 (among|sentences)", table)


def test_models_are_listed_with_what_they_are_for() -> None:
    table = typed("models")
    for entry in json.loads(typed("models", "--json")):
        assert entry["name"] in table
        assert entry["summary"].split()[1] in table
        assert set(entry["tasks"]) <= {"sequential", "topn", "explanation"}
        assert entry["trained"] == (entry["name"] == "pod" or "toy" in entry["name"])


def test_seeds_and_comparison(run: Path, seeds: Path) -> None:
    baseline, other = json.loads(typed("compare", run, seeds, "--json"))
    assert (baseline["seeds"], other["seeds"]) == (1, 2)
    assert other["sd"] > 0
    found = [
        json.loads((seeds / f"seed-{s}" / "results.json").read_text())["test"]["sequential"]
        for s in (0, 1)
    ]
    means = [model_row(f)["metrics"]["ndcg@10"] for f in found]
    assert other["mean"] == pytest.approx(sum(means) / 2)
    table = typed("compare", run, seeds, "--method", "exclude-seen")
    means = [model_row(f, seen=True)["metrics"]["ndcg@10"] for f in found]
    assert f"{sum(means) / 2:.4f}" in table


ERRORS: dict[str, tuple[list[str], str]] = {
    "no dataset": (["fit", "NOWHERE"], "podprep build"),
    "an unknown task": (["fit", "SHARDS", "--tasks", "sequel", "--out", "NEW"], "sequential"),
    "a folder that is no T5": (["fit", "SHARDS", "--base", "NOWHERE", "--out", "NEW"], "--base"),
    "no GPU": (["fit", "SHARDS", "--device", "cuda", "--out", "NEW"], "--device cuda"),
    "a run already there": (["fit", "SHARDS", "--out", "RUN"], "--resume"),
    "no run": (["evaluate", "NOWHERE"], "podtrain fit"),
    "few beams": (["evaluate", "RUN", "--rank", "beam", "--beams", "3"], "beams"),
    "an unknown user": (["recommend", "RUN", "--user", "nobody"], "1 to 430"),
    "an unknown item": (["recommend", "RUN", "--user", "1", "--history", "240"], "1 to 239"),
    "an unknown candidate": (["recommend", "RUN", "--user", "1", "--candidates", "B0"], "B0"),
    "an unknown item to explain": (["explain", "RUN", "--user", "1", "--item", "0"], "1 to 239"),
    "an unknown metric": (["compare", "RUN", "NOWHERE", "--metric", "auc"], "ndcg@10"),
    "one run to compare": (["compare", "RUN"], "two runs"),
    "one run twice": (["compare", "RUN", "RUN/../run"], "each once"),
    "sentences to compare": (["compare", "RUN", "NOWHERE", "--task", "explanation"], "no ranks"),
    "a model that counts": (["fit", "SHARDS", "--model", "markov"], "podtrain baselines"),
    "nobody named": (["recommend", "RUN"], "--all, or --history"),
    "everybody and one": (["recommend", "RUN", "--all", "--user", "3"], "leave out --user"),
    "two with one history": (
        ["recommend", "RUN", "--user", "3", "--user", "4", "--history", "1"],
        "one --user",
    ),
    "a history of nothing": (["recommend", "RUN", "--history", " , "], "--history names nothing"),
    "a file of no kind": (["recommend", "RUN", "--all", "--out", "x.xls"], ".parquet, .csv"),
    "a user named by digits": (["recommend", "RUN", "--user", "id:7"], "reviewer_id '7'"),
    "another dataset": (["evaluate", "RUN", "--shards", "NOWHERE"], "podprep build"),
    "a page in place of a folder": (["report", "RUN", "--to", "RUN"], "not a file"),
}


@pytest.mark.parametrize("what", ERRORS)
def test_errors_are_one_line(
    what: str,
    shards: Path,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments, hint = ERRORS[what]
    places = {
        "SHARDS": shards, "RUN": run, "NOWHERE": tmp_path / "no", "NEW": tmp_path / "new",
        "RUN/../run": f"{run}/../run",
    }  # fmt: skip
    (tmp_path / "no").mkdir()
    monkeypatch.setattr(sys, "argv", ["podtrain", *(str(places.get(a, a)) for a in arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    assert stopped.value.code in (1, 2)
    assert hint in said.err
    if stopped.value.code == 1:
        assert said.err.startswith("podtrain: ")
        assert said.err.count("\n") == 1


def test_a_library_that_is_not_there_is_told(
    shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "podtrain.api", None)
    monkeypatch.setattr(sys, "argv", ["podtrain", "fit", str(shards)])
    with pytest.raises(ModuleNotFoundError):  # ours: a fault, not to be talked away
        main()
    monkeypatch.setitem(sys.modules, "podtrain.api", api)
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    for module in ("podtrain.watch", "podprep.ui.progress"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == (
        "podtrain: rich.progress is not installed: pip install -c constraints.txt '.[train]'\n"
    )


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['podtrain', '--help']; import podtrain.cli\n"
        "try: podtrain.cli.main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'pyarrow', 'numpy', 'duckdb', 'jinja2', 'rich.progress'}\n"
        "sys.exit(bool(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_podtrain_knows_of_podprep_the_contract_and_the_ui_and_no_duckdb() -> None:
    """The law of its imports: podprep.contract, podprep.ui and the version they share."""
    folder, seen = Path(__file__).parent.parent / "podtrain", set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, path
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                top, second = [*name.split("."), ""][:2]
                assert top != "duckdb", path
                if top == "podprep":
                    seen.add(second)
                    assert second in ("contract", "ui", "__version__"), (path, name)
    assert seen == {"contract", "ui", "__version__"}
