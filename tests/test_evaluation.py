"""What a model is asked, what evaluation says of the answers, and what runs can be compared by."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import podtrain
from podprep.contract.shards import Shards
from podtrain.recommenders.pod.model import Inputs
from podtrain.recommenders.pod.recommender import PodRecommender
from podtrain.recommenders.queries import held_out
from podtrain.recommenders.ranking import candidates_of
from tests.conftest import Build, arithmetic_rows
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
    rows = arithmetic_rows(16, 13, 8)
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
