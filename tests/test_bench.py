"""The benchmarks: what a figure says, and that a reference does the same work as ours."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5ForConditionalGeneration

from bench import infer, train
from bench.figures import Figure, load, show
from bench.growth import growth, panels
from bench.reference.train import Trainer
from bench.train import operations, typical
from podprep.contract.tasks import TASKS
from podtrain.data.stream import Batch
from podtrain.recommenders.pod.model import Inputs, Pod
from tests.test_training import tiny_shards

positive = st.floats(0.01, 1e6)


@given(positive, positive, positive)
def test_a_ratio_says_how_many_times_better(ours: float, reference: float, asked: float) -> None:
    seconds = Figure("a", "b", "s", ours, reference, asked)
    rate = Figure("a", "b", "users/s", 1 / ours, 1 / reference, asked)
    assert seconds.ratio == pytest.approx(reference / ours)
    assert rate.ratio == pytest.approx(seconds.ratio)
    assert seconds.holds == (seconds.ratio >= asked)
    alone = Figure("a", "b", "s", ours, asked=asked)
    assert alone.holds == (ours <= asked)
    assert replace(alone, unit="users/s").holds == (ours >= asked)
    assert replace(alone, asked=None).holds is None


def test_figures_come_back_from_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = [
        Figure("build", "a dump", "s", 2.0, 20.0, 8.0, floor=1.0, floor_of="a copy"),
        Figure("stream", "alone", "samples/s", 123_456.0),
    ]
    show(figures, tmp_path / "figures.json")
    assert load(tmp_path / "figures.json") == figures
    printed = capsys.readouterr().out
    for words in ("build", "10", "50%", "yes", "123,456"):
        assert words in printed


def test_growth_has_a_panel_for_what_has_sizes() -> None:
    sizes = [Figure("build at scale", f"{n} M reviews", "us/review", 20.0 + n) for n in (0.2, 4)]
    other = [Figure("training by length", "64 tokens", "ms/step", 1.0, 2.0)]
    assert [panel.title for panel in panels(sizes + other)] == ["Building a dataset"]
    drawn = growth(panels(sizes + [replace(f, unit="MB") for f in sizes] + other * 2))
    assert drawn.count("<rect") == 3
    assert "24" in drawn


def model_of(dropout: float = 0.0) -> Pod:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=50, d_model=24, d_kv=6, d_ff=40, num_layers=2, num_heads=3,
        dropout_rate=dropout, decoder_start_token_id=0,
    )  # fmt: skip
    return Pod(T5ForConditionalGeneration(config), soft_prompt_length=2, input_vocab_size=60)


def batch_of(samples: int, prompt: int, target: int) -> Batch:
    rng = np.random.default_rng(0)
    return Batch(
        task="topn",
        ids=rng.integers(3, 60, (samples, prompt)).astype(np.int32),
        whole_word_ids=rng.integers(0, 4, (samples, prompt)).astype(np.int32),
        mask=np.ones((samples, prompt), bool),
        labels=rng.integers(3, 50, (samples, target)),
        user_id=np.arange(1, samples + 1, dtype=np.int32),
        item_id=np.ones(samples, np.int32),
        rows=np.arange(samples),
        n_targets=samples * target,
    )


@pytest.mark.parametrize(("prompt", "target"), [(30, 1), (3, 1)])
def test_operations_are_those_that_torch_counts(prompt: int, target: int) -> None:
    """One target: torch counts what a causal mask hides, too."""
    model, batch = model_of(), batch_of(4, prompt, target)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(Inputs.of(batch, torch.device("cpu")))
    assert operations(model, batch) == pytest.approx(3 * counter.get_total_flops())


@pytest.mark.parametrize("task", TASKS)
def test_the_reference_trains_the_same_thing(task: str) -> None:
    model, batch = model_of().train(), batch_of(5, 9, 3)
    x = replace(Inputs.of(batch, torch.device("cpu")), task=task)
    theirs = {"ids": x.ids, "whole_word_ids": x.whole_word_ids, "mask": x.mask, "labels": x.labels}
    trainer = Trainer(model, lr=1e-3)
    before = [p.detach().clone() for p in model.parameters()]
    expected = model(x).detach() / batch.n_targets
    torch.testing.assert_close(trainer.loss(task, theirs), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(trainer.step(task, theirs), expected, rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("module", [train, infer])
def test_both_sides_run_and_every_task_has_a_figure(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On tiny data: the numbers say nothing, but for the ratios and floors that are there."""
    monkeypatch.setattr(train, "LENGTHS", (4, 8))
    monkeypatch.setattr(train, "DRAWN", 3)
    monkeypatch.setattr(infer, "CATALOGUES", (40, 60))
    shards = tiny_shards(tmp_path)
    rest = (1, tmp_path) if module is train else (tmp_path,)
    found = module.figures(shards, "tiny", *rest)
    asked = [f for f in found if f.asked is not None]
    assert len(asked) == (2 if module is train else 9)
    assert all(f.ratio and f.of_floor and f.floor_of for f in asked)
    for part, ways in (("training step", 6), ("training by length", 2)):
        assert sum(f.part == part for f in found) == ways * (module is train)


@given(st.lists(st.integers(1, 1_000), min_size=2, max_size=30), st.integers(1, 5))
def test_typical_batches_are_near_the_mean(costs: list[int], turns: int) -> None:
    chosen = typical(costs, float, turns)
    mean = sum(costs) / len(costs)
    assert chosen[0] == min(costs)
    assert len(chosen) == 1 + turns
    assert abs(chosen[1] - mean) == min(abs(c - mean) for c in costs)
