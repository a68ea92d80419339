"""What a model is asked, what evaluation says of the answers, and what runs can be compared by."""

import hashlib
import json
import shutil
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import podtrain
from podprep.contract.errors import PodError
from podprep.contract.schema import EXPLANATIONS, INTERACTIONS, ITEMS, USERS
from podprep.contract.shards import Shards
from podprep.recipe.options import Duplicates, Protocol
from podtrain.commands.evaluate import Method
from podtrain.evaluate import published
from podtrain.evaluate.evaluate import evaluate_baselines
from podtrain.evaluate.files import read_ranks, write_ranks
from podtrain.metrics.ranking import TargetRanks, per_user, ranking_metrics
from podtrain.recommenders.pod.model import Inputs
from podtrain.recommenders.pod.recommender import PodRecommender
from podtrain.recommenders.queries import Pairs, Queries, held_out
from podtrain.recommenders.ranking import candidates_of
from podtrain.report.results import result_rows
from podtrain.run import BEST, Run
from podtrain.train.checkpoint import read_checkpoint, write_checkpoint
from tests.conftest import Build, arithmetic_rows
from tests.tamper import edit_manifest
from tests.test_training import SMALL, tiny_shards

CPU = torch.device("cpu")
ONCE = SMALL | {"epochs": 1}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return tiny_shards(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def runs(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs a and b of two seeds each, evaluated."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed in product("ab", (0, 1)):
        out = folder / name / f"seed-{seed}"
        length = 2 if name == "a" else 3
        podtrain.fit(shards.folder, out, **ONCE, seed=seed, soft_prompt_length=length).evaluate()
    return folder


# What a model reads


@pytest.mark.parametrize("digits", [0, 1])
@pytest.mark.parametrize("history", [3, 20])
def test_prompts_are_those_of_the_shards(
    build_rows: Build, tmp_path: Path, digits: int, history: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, tokens and whole-word ids of every validation and test sample."""
    rows = arithmetic_rows(20, 15, 8)
    shards = Shards.open(build_rows(rows, negatives=3, rounds=1, history=history))
    run = podtrain.fit(shards.folder, tmp_path / "run", **ONCE, id_digits=digits)
    model = run.recommender
    assert isinstance(model, PodRecommender)
    texts: list[str] = []
    tokenized = model.tokens.prompts

    def prompts(given: Any) -> Any:
        texts.extend(given)
        return tokenized(given)

    def asked(task: str, split: str) -> Inputs:
        queries, _ = held_out(model.purchases, split)
        if task == "sequential":
            return model._sequential(queries)
        if task == "topn":
            lists = candidates_of(shards, split, queries.user_id).tolist()
            return model.prompts("topn", queries.user_id, lists)
        table = shards.sample_table(task, split)
        items = [[item] for item in table["item_id"].to_pylist()]
        return model.prompts(task, table["user_id"].to_numpy(), items)

    for task, split in product(shards.tasks, ("valid", "test")):
        texts.clear()
        with monkeypatch.context() as patch:
            patch.setattr(model.tokens, "prompts", prompts)
            found = asked(task, split)
        table = shards.sample_table(task, split)
        assert texts == table["prompt"].to_pylist()
        samples = model.reader.tokenize(task, table)
        wanted = Inputs.of(samples.batch(np.arange(len(samples))), CPU)
        assert torch.equal(found.user, wanted.user)
        assert torch.equal(found.mask, wanted.mask)
        assert torch.equal(found.ids[found.mask], wanted.ids[wanted.mask])
        places = wanted.whole_word_ids[wanted.mask]
        assert torch.equal(found.whole_word_ids[found.mask], places)
        assert found.task == task


def test_a_user_is_asked_alike_in_any_company(runs: Path) -> None:
    """Also by others' embeddings: the history says it all of somebody who is not in the dataset."""
    model = podtrain.load(runs / "a" / "seed-0").recommender
    assert isinstance(model, PodRecommender)
    histories = [[1, 2, 3], [4], [9, 8, 7, 6]]
    new, known = Queries.of(histories), Queries.of(histories, [3, 5, 7])
    among = np.array([[1, 2], [4, 9], [3, 0]])
    pairs = [Pairs.of([(user, 3)]) for user in (0, 3)]

    model.share.fill_(0.5)  # whatever validation has chosen: both parts are heard
    model.history_share.fill_(0.5)

    def answers(queries: Queries, pair: Pairs) -> list[Any]:
        found = [model.scores(queries), model.candidate_scores(queries, among)]
        for q in range(len(queries)):
            alone = queries.take(np.array([q]))
            np.testing.assert_allclose(model.scores(alone), found[0][[q]], atol=1e-4)
            own = model.candidate_scores(alone, among[[q]])
            np.testing.assert_allclose(own, found[1][[q]], atol=1e-4)
        return [*found, model.texts(pair)]

    before = [answers(queries, pair) for queries, pair in ((new, pairs[0]), (known, pairs[1]))]
    vocabulary = model.tokens.tokenizer.get_vocab()
    users = [place for token, place in vocabulary.items() if token.startswith("▁user_")]
    assert len(users) == model.shards.n_users
    tables = [model.pod.input_embedding, model.pod.explanation_embedding]
    with torch.no_grad():
        for table in tables:
            assert table is not None
            table[users] = torch.randn(len(users), table.shape[1])
    after = [answers(queries, pair) for queries, pair in ((new, pairs[0]), (known, pairs[1]))]
    for a, b in zip(before[0], after[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(before[1][0], after[1][0])


@pytest.mark.parametrize("digits", [0, 1])
def test_scores_are_log_probabilities(shards: Shards, tmp_path: Path, digits: int) -> None:
    model = podtrain.fit(shards.folder, tmp_path, **ONCE, id_digits=digits).recommender
    queries = Queries.of([[1, 2], [9]], [3, 0])
    np.testing.assert_allclose(np.exp(model.scores(queries)).sum(1), 1, rtol=1e-5)
    among = np.array([[3, 4, 5, 0], [6, 7, 8, 9]])
    some = model.candidate_scores(queries, among)
    np.testing.assert_allclose(np.exp(some).sum(1), 1, rtol=1e-5)
    assert some[0, 3] == -np.inf
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(
        np.sort(model.candidate_scores(queries, among[:, order])), np.sort(some), atol=0.3
    )


# What evaluation writes


def test_results_are_those_of_ranks_and_lists(runs: Path, shards: Shards) -> None:
    run = podtrain.load(runs / "a" / "seed-0")
    found = json.loads((run.folder / "results.json").read_text())["test"]
    purchases = run.recommender.purchases
    _, targets = held_out(purchases, "test")
    for task in ("sequential", "topn"):
        rows = found[task]["rows"]
        labels = [row["label"] for row in rows]
        assert len(labels) == len(set(labels))
        for row in rows:
            users, ranks = read_ranks(run, task, "test", row["label"])
            assert users.tolist() == list(range(1, shards.n_users + 1))
            assert row["metrics"] == ranking_metrics(ranks)
            assert row["n"] == len(users)
            path = run.folder / "predictions" / f"{task}-test-{row['label']}.parquet"
            assert path.exists() == (row["kind"] == "model" or row["name"] == "item-knn")
            if not path.exists():
                continue
            lists = pq.read_table(path).to_pylist()
            for user, target, above, equal in zip(
                users, targets, ranks.above, ranks.equal, strict=True
            ):
                own = [r for r in lists if r["user_id"] == user]
                assert [r["rank"] for r in own] == list(range(1, len(own) + 1))
                scores = [r["score"] for r in own]
                assert scores == sorted(scores, reverse=True)
                place = next((r["rank"] for r in own if r["item_id"] == target), None)
                assert place is None or above < place <= above + equal
                if row["exclude_seen"]:
                    seen = purchases.history(int(user), "test")
                    assert not {r["item_id"] for r in own} & set(seen)
        best = found[task]["against"]
        values = {
            row["name"]: row["metrics"]["ndcg@10"]
            for row in rows
            if row["exclude_seen"] == (task == "sequential")
        }
        assert best["difference"] == pytest.approx(values["model"] - values[best["baseline"]])
        others = {r["name"] for r in rows if r["kind"] == "baseline"}
        assert values[best["baseline"]] == max(values[name] for name in others)


def duplicated(build_rows: Build) -> Shards:
    """A dataset in which users explain an item twice, by other features."""
    rows = arithmetic_rows(16, 9, 6)
    again = [
        {**row, "reviewText": f"I use it daily. The {feature} is very sturdy."}
        for row, feature in zip(rows, ["strap", "buckle", "zipper"] * len(rows), strict=False)
    ]
    rows = [row for pair in zip(rows, again, strict=True) for row in pair]
    more = {"protocol": Protocol.POD, "duplicates": Duplicates.ALL}
    return Shards.open(build_rows(rows, negatives=3, rounds=1, **more))


def test_two_explanations_of_a_pair_are_two_references(
    build_rows: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = duplicated(build_rows)
    written = shards.table(EXPLANATIONS).to_pylist()
    own = {split: [row for row in written if row["split"] == split] for split in ("valid", "test")}
    split = max(
        own, key=lambda s: len(own[s]) - len({(r["user_id"], r["item_id"]) for r in own[s]})
    )
    pairs = [(row["user_id"], row["item_id"]) for row in own[split]]
    samples = shards.sample_table("explanation", split).to_pylist()
    assert [(s["user_id"], s["item_id"], s["target"]) for s in samples] == [
        (*pair, row["sentence"]) for pair, row in zip(pairs, own[split], strict=True)
    ]
    assert len(set(pairs)) < len(pairs)
    # whose target is in the history, or bought twice, is trained and ranked as well
    run = podtrain.fit(shards.folder, tmp_path / "run", **ONCE)
    ranked = run.evaluate(split, tasks=("sequential", "topn"))
    assert all(np.isfinite(list(r.metrics.values())).all() for r in ranked["topn"].rows)
    sentences = iter([row["sentence"] for row in own[split]])

    def repeat(_: Any, asked: Pairs) -> list[str]:
        return [next(sentences) for _ in range(len(asked))]

    monkeypatch.setattr(PodRecommender, "texts", repeat)
    [row, *_] = run.evaluate(split)["explanation"].rows
    assert row.metrics["fmr"] == 1
    assert row.metrics["bleu4"] == pytest.approx(100)
    assert row.metrics["rouge1"] == pytest.approx(100)
    assert row.n == len(pairs)


# Published figures


def test_published_figures_stand_beside_what_they_were_measured_on(
    build_rows: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By purchases, whatever the dataset is called, and in the test split only."""
    shards = Shards.open(build_rows(arithmetic_rows(16, 9, 6), negatives=3, rounds=1))
    run = podtrain.fit(shards.folder, tmp_path / "run", **ONCE)
    counts = (shards.n_users, shards.n_items, shards.rows(INTERACTIONS))
    users, items, bought = (shards.table(name).to_pylist() for name in (USERS, ITEMS, INTERACTIONS))
    lines = sorted(
        f"{users[row['user_id'] - 1]['reviewer_id']} {items[row['item_id'] - 1]['asin']}\n"
        for row in bought
    )
    sha256 = hashlib.sha256("".join(lines).encode()).hexdigest()

    def shown(split: str = "test") -> set[str]:
        run.evaluate(split)
        page = run.report().read_text()
        text = "".join(json.dumps(r.as_json()) for r in run.evaluate(split).values())
        names = {name for name in ("beauty", "sports", "toys") if f'"published": "{name}"' in text}
        assert ("POD as published" in page) == (bool(names) and split == "test")
        (run.folder / "results.json").unlink()
        return names

    assert shown() == set()
    others = dict.fromkeys(published.PUBLISHED["topn"], (1, 2, 3))
    with monkeypatch.context() as patch:
        patch.setattr(published, "_COUNTS", others | {"sports": counts})
        assert shown() == {"sports"}  # its hash was not at hand
        assert shown("valid") == {"sports"}  # and yet no figure of it
        assert evaluate_baselines(shards)["topn"].published == "sports"
        patch.setattr(published, "_COUNTS", others | {"beauty": counts})
        assert shown() == set()  # as many of all, and other purchases
        patch.setattr(published, "_PURCHASES", {"beauty": sha256})
        assert shown() == {"beauty"}
    named = build_rows(arithmetic_rows(16, 9, 6), negatives=3, rounds=1)
    edit_manifest(named, lambda manifest: manifest["inputs"].update(dataset="beauty"))
    assert Shards.open(named).name == "beauty"
    assert evaluate_baselines(Shards.open(named))["topn"].published == ""


# What runs are compared by


def test_the_verdict_does_not_depend_on_how_runs_are_named(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    by_name = podtrain.compare(["a", "b"])
    absolute = podtrain.compare([runs / "a", str(runs / "b")])
    roundabout = podtrain.compare(["./a", "../runs0/b" if runs.name == "runs0" else "b/../b"])
    plain = [{**asdict(c), "run": ""} for c in by_name]
    for found in (absolute, roundabout):
        assert [{**asdict(c), "run": ""} for c in found] == plain
    assert [c.seeds for c in by_name] == [2, 2]
    for metric, method in (("hit@5", "exclude-seen"), ("ndcg@3", "exact")):
        first, second = podtrain.compare(["a", "b"], metric=metric, method=method)
        name, k = metric.split("@")
        means = []
        for run in ("a", "b"):
            values = [
                per_user(read_ranks(Run.open(f"{run}/seed-{s}"), "sequential", "test", method)[1],
                         int(k))[name == "ndcg"].mean()
                for s in (0, 1)
            ]  # fmt: skip
            means.append(np.mean(values))
        assert (first.mean, second.mean) == pytest.approx(means)
        assert second.difference == pytest.approx(means[1] - means[0])


def test_ranks_of_other_weights_are_not_compared(runs: Path, tmp_path: Path) -> None:
    copies = [shutil.copytree(runs / "a" / "seed-0", tmp_path / name) for name in ("one", "two")]
    assert podtrain.compare(copies)[1].verdict == "within noise"
    tensors, state = read_checkpoint(copies[1] / BEST)
    zeros = {name: torch.zeros_like(value) for name, value in tensors.items()}
    write_checkpoint(copies[1] / BEST, zeros, state)
    with pytest.raises(PodError, match=r"made by other weights than .*two has now: podtrain eval"):
        podtrain.compare(copies)


def test_lists_that_end_before_k_are_not_compared(runs: Path, tmp_path: Path) -> None:
    run = Run.open(shutil.copytree(runs / "a" / "seed-0", tmp_path / "run"))
    other = Run.open(shutil.copytree(runs / "b" / "seed-0", tmp_path / "other"))
    users = np.arange(3, 0, -1)
    ranks = TargetRanks(np.array([5, 3, 9]), np.array([1, 1, 1]))
    for each in (run, other):
        write_ranks(each, "sequential", "test", "beam", users, ranks, depth=10)
    assert read_ranks(run, "sequential", "test", "beam", k=10)[1].above.tolist() == [9, 3, 5]
    assert podtrain.compare([run, other], method="beam", metric="ndcg@10")
    with pytest.raises(PodError, match="has lists of 10, which say nothing of @20: give a smaller"):
        podtrain.compare([run, other], method="beam", metric="hit@20")


def test_what_was_not_evaluated_so_is_told_with_the_command(runs: Path) -> None:
    both = [runs / "a" / "seed-0", runs / "b" / "seed-0"]
    for method, hint in (("beam", "--rank beam"), ("pod", "--compat pod")):
        with pytest.raises(PodError, match=rf"is missing .*--task sequential --split test {hint}$"):
            podtrain.compare(both, method=method)
    with pytest.raises(PodError, match=r"missing .*: podtrain evaluate .* --split valid$"):
        podtrain.compare(both, split="valid")
    with pytest.raises(PodError, match=r"candidates of top-N were never bought: .*--method exact"):
        podtrain.compare(both, task="topn", method="exclude-seen")
    with pytest.raises(PodError, match="sentences have no ranks"):
        podtrain.compare(both, task="explanation")
    for wrong in ("auc", "ndcg", "ndcg@", "hit@0", "hit@-1", "ndcg@1.5", "hit@\N{SUPERSCRIPT TWO}"):
        with pytest.raises(PodError, match="give hit@K or ndcg@K"):
            podtrain.compare(both, metric=wrong)
    assert {str(m) for m in Method} == {"exact", "exclude-seen", "beam", "pod"}


def test_runs_of_other_datasets_are_not_compared(
    runs: Path, build_rows: Build, tmp_path: Path
) -> None:
    other = build_rows(arithmetic_rows(16, 9, 6), negatives=3, rounds=1)
    run = podtrain.fit(other, tmp_path / "run", **ONCE)
    run.evaluate()
    with pytest.raises(PodError, match="is about other users: compare runs of one dataset"):
        podtrain.compare([runs / "a" / "seed-0", run])


def test_an_unfinished_run_is_named_so_wherever_it_is_shown(shards: Shards, tmp_path: Path) -> None:
    def stop(report: Any) -> None:
        if report.step >= 24:
            raise KeyboardInterrupt

    options = SMALL | {"epochs": 3, "patience": 9}
    for name in ("one", "two"):
        podtrain.fit(shards.folder, tmp_path / name, **options | {"epochs": 1})
    with pytest.raises(KeyboardInterrupt):
        podtrain.fit(shards.folder, tmp_path / "part", watch=stop, **options)
    run = podtrain.load(tmp_path / "part")
    assert run.status == "unfinished"
    found = run.evaluate()
    podtrain.load(tmp_path / "one").evaluate()
    shown = podtrain.compare([tmp_path / "one", run])
    assert [c.run.endswith(" (unfinished)") for c in shown] == [False, True]
    assert {results.status for results in found.values()} == {"unfinished"}
    for results in found.values():
        rows = result_rows(results.as_json(), exclude_seen=False)
        assert [row.name.endswith(" (unfinished)") for row in rows] == [
            row.kind != "baseline" for row in rows
        ]
    page = run.report().read_text()
    assert "unfinished" in page
    assert "Training has not ended: podtrain fit --resume goes on." in page
