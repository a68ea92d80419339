"""The seam for models: ten lines are trained, evaluated, compared, reported and asked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import podtrain
from podprep.contract.errors import PodError
from podtrain.recommenders.base import Floats, TrainableRecommender
from podtrain.recommenders.queries import Pairs, Queries
from tests.conftest import Build, arithmetic_rows


@podtrain.register
class Popular(TrainableRecommender):
    """A number for each item, learned."""

    name, tasks = "toy-popular", frozenset({"sequential"})

    def __init__(self, *made_with: Any) -> None:
        super().__init__(*made_with)
        self.score = nn.Parameter(torch.zeros(self.n_items))

    def loss(self, batch: Any) -> Tensor:
        wanted = batch.targets[batch.targets > 0] - 1
        return F.cross_entropy(self.score.expand(len(wanted), -1), wanted, reduction="sum")

    def scores(self, queries: Queries) -> Floats:
        return self.score.detach().expand(len(queries), -1).numpy().copy()


@pytest.fixture
def shards(build_rows: Build) -> Path:
    return build_rows(arithmetic_rows(16, 9, 6), negatives=3, rounds=2)


def test_ten_lines_are_a_recommender(shards: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": "toy-popular", "lr": 0.1, "epochs": 3, "batch_size": 4}
    runs = [podtrain.fit(shards, out=tmp_path / f"run{s}", seed=s, **options) for s in (0, 1)]
    run = podtrain.load(tmp_path / "run0")
    assert run.status == "finished"
    assert run.tasks == ("sequential",)
    # it has learned what is bought most in training, after a first purchase
    made = run.recommender.purchases
    later = np.setdiff1d(np.flatnonzero(made.split == 0), made.starts[:-1])
    counts = np.bincount(made.items[later], minlength=10)[1:]
    learned = run.recommender.scores(Queries.of([[1]]))[0]
    assert np.corrcoef(learned, counts)[0, 1] > 0.9

    found = run.evaluate()["sequential"]
    assert [row.name for row in found.rows if row.kind == "model"] == ["model", "model"]
    assert {row.name for row in found.rows if row.kind == "baseline"} >= {"popularity", "item-knn"}
    runs[1].evaluate()
    first, second = podtrain.compare([run, runs[1]])
    assert (first.seeds, second.verdict) == (1, "within noise")

    recommended = run.recommend(n=2)
    assert len(recommended) == 2 * 16
    for user, item in zip(recommended["user_id"], recommended["item_id"], strict=True):
        assert item not in run.recommender.purchases.history(user)
    assert "toy-popular" in run.report().read_text()
    with pytest.raises(PodError, match="not trained to explain"):
        run.explain([(1, 2)])


def test_a_run_goes_on_where_it_stopped(shards: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": "toy-popular", "epochs": 2, "batch_size": 4}
    whole = podtrain.fit(shards, out=tmp_path / "whole", **options)

    def stop(report: Any) -> None:
        if report.step >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        podtrain.fit(shards, out=tmp_path / "part", watch=stop, **options)
    assert podtrain.load(tmp_path / "part").status == "unfinished"
    part = podtrain.fit(shards, out=tmp_path / "part", resume=True, **options)
    assert part.weights_sha256 == whole.weights_sha256


def test_options_of_another_model_are_refused_with_those_it_has(shards: Path) -> None:
    with pytest.raises(PodError, match=r"toy-popular has no option base; its own: none; of every"):
        podtrain.fit(shards, model="toy-popular", base="tiny")
    with pytest.raises(PodError, match=r"--model nobody: choose from pod, .*popularity"):
        podtrain.fit(shards, model="nobody")
    with pytest.raises(PodError, match="counts and needs no training"):
        podtrain.fit(shards, model="item-knn")


@pytest.mark.parametrize("name", ["popularity", "max+1", "last+1", "markov", "item-knn"])
def test_a_score_depends_on_its_own_query_alone(name: str, shards: Path) -> None:
    model = next(m for m in podtrain.models() if m.name == name).load()(podtrain.open(shards))
    histories = [[1, 2, 3], [], [9, 8], [4] * 12]
    together = model.scores(Queries.of(histories))
    for row, history in enumerate(histories):
        np.testing.assert_array_equal(together[row], model.scores(Queries.of([history]))[0])
    candidates = np.array([[3, 1, 0], [2, 2, 9], [9, 0, 0], [1, 2, 3]])
    some = model.candidate_scores(Queries.of(histories), candidates)
    for row, column in np.ndindex(candidates.shape):
        item = candidates[row, column]
        assert some[row, column] == (together[row, item - 1] if item else -np.inf)
    with pytest.raises(PodError, match="not trained to explain"):
        model.texts(Pairs.of([(1, 1)]))
