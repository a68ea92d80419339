"""Training: a run is a function of its options and its dataset, however often it is stopped."""

import hashlib
import json
import math
import multiprocessing
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import fields
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from podprep.contract.errors import PodError
from podprep.contract.manifest import write_manifest
from podprep.contract.shards import Shards
from podprep.contract.tasks import TASKS
from podprep.engine import Machine
from podprep.recipe.inputs import Inputs as Sources
from podprep.recipe.options import BuildOptions
from podprep.recipe.pipeline import build
from podprep.recipe.templates import load_templates
from podtrain.data.stream import Batch
from podtrain.recommenders.pod.model import Inputs, Pod
from podtrain.recommenders.pod.options import SCHEDULES, PodOptions
from podtrain.recommenders.pod.recommender import HISTORY_SHARES, SHARES
from podtrain.recommenders.queries import Queries
from podtrain.run import BEST, LAST, METRICS, RUN, Run
from podtrain.train import loop
from podtrain.train.checkpoint import read_checkpoint, weights
from podtrain.train.config import TrainConfig, make_config
from podtrain.train.loop import Report
from podtrain.train.world import World, join_world
from tests.conftest import arithmetic_rows, write_dump
from tests.test_seam import Popular

Options = dict[str, Any]
SMALL: Options = {
    "base": "tiny", "batch_size": 8, "epochs": 2, "lr": 3e-3, "precision": "fp32", "device": "cpu",
}  # fmt: skip
EPOCH = 12  # steps: 2 of sequential, 2 of topn, 8 of explanation
CPU = torch.device("cpu")
RANKING = ("sequential", "topn")


def tiny_shards(folder: Path) -> Shards:
    """A dataset of 16 users and 9 items."""
    inputs = Sources(
        dataset="tiny",
        options=BuildOptions(negatives=3, rounds=2),
        templates=load_templates(),
        dump=write_dump(folder / "dump.gz", arithmetic_rows(16, 9, 6)),
    )
    machine = Machine(threads=1, memory=1 << 30)
    build(inputs, machine, folder / "shards", progress=lambda *_: None)
    return Shards.open(folder / "shards")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return tiny_shards(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(folder: Path, shards: Shards, options: Options = SMALL, **more: Any) -> Run:
    watch = more.pop("watch", lambda _: None)
    return loop.train(folder, make_config(options), shards, World(), watch, **more)


def outcome(folder: Path) -> dict[str, Any]:
    """Every bit of the weights and the optimizer, the progress and the metrics."""
    found: dict[str, Any] = {"metrics": (folder / METRICS).read_text()}
    for name in (LAST, BEST):
        tensors, found[name] = read_checkpoint(folder / name)
        digest = hashlib.sha256()
        for key, value in sorted(tensors.items()):
            digest.update(key.encode() + value.numpy().tobytes())
        found[f"{name} tensors"] = len(tensors), digest.hexdigest()
    return found


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run that nobody stopped comes to."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, shards)
    return outcome(folder)


# The same again, and on from anywhere


def test_training_twice_is_the_same_to_the_bit(
    whole: dict[str, Any], shards: Shards, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # what else draws does not matter
    train(tmp_path, shards)
    assert outcome(tmp_path) == whole
    held = list(weights(Run.open(tmp_path).model(LAST)).values())
    trained = sum(weight.requires_grad for weight in held)
    # a step and two averages of each that is trained
    assert whole[f"{LAST} tensors"][0] == len(held) + 3 * trained
    assert whole[f"{BEST} tensors"][0] == len(held)


class StoppedError(Exception):
    """Where a test ends a run."""


MOMENTS = ["step", "_log", "validate", "_save", "write_checkpoint"]


def stop(patch: pytest.MonkeyPatch, moment: int) -> None:
    """End a run before the moment of this number: a step, a log, a file or what leads to it."""
    left = [moment]

    def counted(call: Any) -> Any:
        def wrapped(*args: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise StoppedError
            return call(*args)

        return wrapped

    for name in MOMENTS:
        owner = loop if name == "write_checkpoint" else loop.Training
        patch.setattr(owner, name, counted(getattr(owner, name)))


@pytest.fixture(scope="module")
def logged(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """What a run that nobody stopped comes to, by how often it logs."""
    found = {}
    for steps in (1, 5):
        folder = tmp_path_factory.mktemp("logged")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "LOG_STEPS", steps)
            train(folder, shards)
        found[steps] = outcome(folder)
    return found


@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 45), min_size=1, max_size=2), st.sampled_from([1, 5]))
@example([0], 5)  # before there is a checkpoint
@example([20], 5)  # validated, best weights not written
@example([22], 5)  # best weights written, the checkpoint not
@example([4, 3], 1)
def test_a_run_that_was_stopped_goes_on_as_if_never(
    shards: Shards,
    logged: dict[int, Any],
    tmp_path_factory: pytest.TempPathFactory,
    moments: list[int],
    log_steps: int,
) -> None:
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_STEPS", log_steps)
        for n, moment in enumerate(moments):
            with pytest.MonkeyPatch.context() as inner:
                stop(inner, moment)
                try:
                    train(folder, shards, resume=n > 0, save_seconds=0)
                except StoppedError:
                    continue
                break
        train(folder, shards, resume=True, save_seconds=0)
    assert outcome(folder) == logged[log_steps]


def test_a_run_that_has_ended_stays_as_it_is(
    whole: dict[str, Any], shards: Shards, tmp_path: Path
) -> None:
    train(tmp_path, shards)
    before = (tmp_path / LAST).stat().st_mtime_ns
    train(tmp_path, shards, resume=True)
    assert outcome(tmp_path) == whole
    assert (tmp_path / LAST).stat().st_mtime_ns == before


# Other processes


@pytest.fixture(scope="module")
def processes() -> Any:
    """Processes that begin where the libraries are loaded and nothing has run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_training"])
    return context


def work(folder: Path, shards: Path, options: Options, rank: int, count: int, port: int) -> None:
    """Train as one of several processes; alone, slowly, with a checkpoint at every step, but never
    to the end."""
    torch.set_num_threads(1)
    loop.LOG_STEPS = 1
    loop.CLIP = float("inf") if count > 1 else loop.CLIP  # it would hide a factor, as Adam does
    named = {"RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {name: str(value) for name, value in named.items()}

    def watch(report: Report) -> None:
        if count == 1:
            time.sleep(0.02 if report.step < 8 else 600)

    with join_world(CPU) as own:
        seconds = 0 if count == 1 else 300
        config = make_config(options)
        loop.train(folder, config, Shards.open(shards), own, watch, save_seconds=seconds)


def test_a_killed_process_goes_on_as_if_never(
    shards: Shards,
    logged: dict[int, Any],
    tmp_path: Path,
    processes: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "killed"
    process = processes.Process(target=work, args=(folder, shards.folder, SMALL, 0, 1, 0))
    process.start()
    lines = 0
    while lines < 5:
        assert process.is_alive()
        time.sleep(0.01)
        if (folder / METRICS).exists():
            lines = (folder / METRICS).read_text().count("\n")
    process.kill()
    process.join()
    assert process.exitcode == -9
    assert 4 <= read_checkpoint(folder / LAST)[1]["step"] < 8
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    train(folder, shards, resume=True)
    assert outcome(folder) == logged[1]


@pytest.mark.parametrize(("schedule", "dropout"), [("alternate", 0), ("mixed", 0), ("mixed", 0.1)])
def test_two_processes_train_what_one_does(
    shards: Shards,
    tmp_path: Path,
    processes: Any,
    schedule: str,
    dropout: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batches of 5: the last of 16 samples has one, and the second process none of them."""
    config = SMALL | {
        "schedule": schedule, "dropout": dropout, "batch_size": 5, "epochs": 1, "lr": 3e-4
    }  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    both = [
        processes.Process(
            target=work, args=(tmp_path / "two", shards.folder, config, rank, 2, port)
        )
        for rank in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    if dropout:
        assert all(np.isfinite(line["value"]) for line in metrics(tmp_path / "two"))
        return
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    monkeypatch.setattr(loop, "CLIP", float("inf"))
    train(tmp_path / "one", shards, config)
    one, two = (read_checkpoint(tmp_path / name / LAST) for name in ("one", "two"))
    assert one[1]["step"] == two[1]["step"] > 1
    for name, parameter in one[0].items():
        if not name.startswith("optimizer/"):
            torch.testing.assert_close(two[0][name], parameter, rtol=0, atol=1e-5)
        if "/exp_avg/" in name:  # the gradients, averaged
            largest = float(parameter.abs().max())
            torch.testing.assert_close(two[0][name], parameter, rtol=1e-2, atol=1e-3 * largest)
    for a, b in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert a | {"value": 0} == b | {"value": 0}
        assert a["value"] == pytest.approx(b["value"], abs=1e-4)


# What is trained on


def plain_loss(model: Pod, batch: Batch) -> Tensor:
    """The summed loss of a batch, through transformers: items by their cosines."""
    x = Inputs.of(batch, CPU)
    embedded, mask = model.embed(x)
    t5: Any = model.t5
    if x.task == "explanation":
        out = t5(inputs_embeds=embedded, attention_mask=mask, labels=x.labels)
        return out.loss * batch.n_targets
    states = t5.encoder(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
    start = torch.full((len(batch), 1), t5.config.decoder_start_token_id)
    hidden = t5.decoder(
        input_ids=start, encoder_hidden_states=states, encoder_attention_mask=mask
    ).last_hidden_state[:, 0]
    assert model.items is not None
    losses = []
    for row, ids, label in zip(hidden, x.ids.tolist(), x.labels[:, 0].tolist(), strict=True):
        given = {token for token in ids if token in model.items}
        if x.task == "sequential":  # any item but those of the history
            given = set(model.items) - given
        choices = sorted(given | {label})
        cosines = F.cosine_similarity(row[None], t5.shared.weight[choices])
        logits = cosines / t5.config.item_temperature
        losses.append(logits.logsumexp(0) - logits[choices.index(label)])
    return torch.stack(losses).sum()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_step_has_the_loss_and_the_gradient_of_transformers(
    shards: Shards, tmp_path: Path, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[list[str]] = []
    real = loop.Training.step

    def step(self: Any, parts: list[Batch], number: int) -> list[Tensor]:
        model = self.model
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        wanted = torch.stack([plain_loss(model.pod, part) for part in parts])
        expected = torch.autograd.grad(
            wanted.sum() / sum(part.n_targets for part in parts),
            list(trained.values()),
            materialize_grads=True,
        )
        losses = real(self, parts, number)
        torch.testing.assert_close(torch.stack(losses), wanted.detach(), rtol=1e-5, atol=1e-5)
        largest = float(max(g.abs().max() for g in expected))
        for (name, p), gradient in zip(trained.items(), expected, strict=True):
            own = torch.zeros_like(p) if p.grad is None else p.grad
            torch.testing.assert_close(
                own, gradient, rtol=1e-4, atol=1e-6 * largest, msg=lambda m, n=name: f"{n}: {m}"
            )
        tasks.append([part.task for part in parts])
        return losses

    monkeypatch.setattr(loop, "CLIP", float("inf"))
    monkeypatch.setattr(loop.Training, "step", step)
    train(tmp_path, shards, SMALL | {"schedule": schedule, "dropout": 0, "epochs": 1})
    if schedule == "mixed":
        assert tasks == [list(TASKS)] * -(-64 // 3)  # explanations are the most
    elif schedule == "alternate":
        assert tasks == [[TASKS[i % 3]] for i in range(EPOCH)]
    else:
        counted = {task: tasks.count([task]) for task in TASKS}
        assert counted == {"sequential": 2, "topn": 2, "explanation": 8}


def test_a_gradient_too_large_is_cut(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []
    real = torch.optim.AdamW.step

    def step(self: Any, *args: Any) -> Any:
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        held = [grad.norm() for grad in grads if grad is not None]
        norms.append(float(torch.stack(held).norm()))
        return real(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    monkeypatch.setattr(loop, "CLIP", 0.01)
    train(tmp_path, shards, SMALL | {"epochs": 1})
    assert norms == pytest.approx([0.01] * EPOCH, rel=1e-3)


def test_the_rate_rises_and_falls_in_a_line(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    real = torch.optim.AdamW.step

    def step(self: Any, *args: Any) -> Any:
        assert len({group["lr"] for group in self.param_groups}) == 1
        rates.append(self.param_groups[0]["lr"])
        return real(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    train(tmp_path, shards, SMALL | {"warmup": 0.25, "lr": 0.006})
    up, down = np.arange(1, 7) / 6, np.arange(18, 0, -1) / 18
    np.testing.assert_allclose(rates, 0.006 * np.concatenate([up, down]))


@pytest.mark.parametrize("init", ["random", "spectral"])
def test_in_its_first_step_adam_moves_what_is_trained_by_the_rate(
    init: str, shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a prompt is read as others' purchases have it, where items start from purchases."""
    moved: dict[str, float] = {}
    real = loop.Training.step

    def step(self: Any, parts: list[Batch], number: int) -> list[Tensor]:
        if number:
            raise StoppedError
        before = {n: p.detach().clone() for n, p in weights(self.model).items()}
        x = Inputs.of(parts[0], CPU)
        pod = self.model.pod
        same = torch.equal(pod.eval().embed(x)[0], pod.train().embed(x)[0])
        assert same == (init == "random")
        losses = real(self, parts, number)
        for name, p in weights(self.model).items():
            moved[name] = float((p.detach() - before[name]).abs().max())
            assert p.requires_grad != name.startswith(("memory.", "share", "history_share"))
        return losses

    monkeypatch.setattr(loop.Training, "step", step)
    config = SMALL | {"init": init, "lr": 0.01, "warmup": 0.0, "tasks": ("topn",)}
    with pytest.raises(StoppedError):
        train(tmp_path, shards, config | {"weight_decay": 0.0})
    assert {d for n, d in moved.items() if not n.startswith("pod.")} == {0}
    for name in ("soft_prompts", "input_embedding", "whole_word_embeddings", "t5.shared.weight"):
        assert moved[f"pod.{name}"] == pytest.approx(0.01, rel=0.02)


# Validation, the best weights, the end


def test_training_stops_when_validation_has_had_enough_and_keeps_the_best(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores by script; patience begins anew with each new best."""
    script = [0.2, 0.3, 0.1, 0.4, 0.05, 0.4, 0.9]
    at: list[dict[str, Tensor]] = []
    real = loop.Training.validate

    def validate(self: Any) -> None:
        at.append({n: p.detach().clone() for n, p in weights(self.model).items()})
        real(self)

    # one task is better and another worse by the same factor: their geometric mean counts
    factor = {"sequential": 2.0, "topn": 0.5, "explanation": 1.0}
    monkeypatch.setattr(loop.Training, "validate", validate)
    monkeypatch.setattr(
        loop.Training, "_validation_ndcg", lambda _, task: factor[task] * script[len(at) - 1]
    )
    monkeypatch.setattr(
        loop.Training, "_validation_loss", lambda *_: -math.log(script[len(at) - 1])
    )
    run = train(tmp_path, shards, SMALL | {"patience": 2, "epochs": 9, "batch_size": 16})
    means = [line for line in metrics(tmp_path) if line["task"] == "all"]
    assert [line["value"] for line in means] == pytest.approx(script[:6])
    best, state = read_checkpoint(tmp_path / BEST)
    assert state == {"step": means[3]["step"], "score": pytest.approx(0.4)}
    assert best.keys() == at[3].keys()
    assert all(torch.equal(best[name], value) for name, value in at[3].items())
    places = "pod.whole_word_embeddings"
    assert not torch.equal(best[places], at[5][places])
    last, progress = read_checkpoint(tmp_path / LAST)
    assert progress["finished"]
    assert progress["reason"] == "no gain in 2 validations"
    assert torch.equal(last[places], at[5][places])
    assert "36 steps (no gain in 2 validations), best at step 24; podtrain eva" in run.summary()
    assert run.status == "finished"
    assert run.best_step == 24


def plain_ndcg(model: Any, shards: Shards, task: str) -> dict[tuple[float, float], float]:
    """NDCG@10 of the validation users by sorting, for each choice of shares: what they bought
    before left out, ties by the mean over their places."""
    found: dict[tuple[float, float], list[float]] = {}
    samples = shards.sample_table(task, "valid").to_pylist()
    for row in samples:
        query = Queries.of([model.purchases.history(row["user_id"], "valid")], [row["user_id"]])
        ids = row.get("candidates")
        if task == "sequential":
            ids = [i for i in range(1, shards.n_items + 1) if i not in query.items]
        at, memory = np.array(ids) - 1, model.memory.scores(query)[0]
        parts = [model.t5_scores(query)[0][at]] * 2
        if task == "topn":
            parts = [part[0] for part in model._prompt_scores(query, np.array([ids]))]
        for history, share in product(HISTORY_SHARES if task == "topn" else (0.0,), SHARES):
            one, other = (np.float32(s) for s in (share, history))
            t5 = other * parts[1] + (1 - other) * parts[0]
            scores = dict(zip(ids, one * t5 + (1 - one) * memory[at], strict=True))
            order, mine = sorted(scores.values(), reverse=True), scores.get(row["item_id"])
            places = [n for n, s in enumerate(order, 1) if s == mine] or [99]
            gains = [1 / math.log2(n + 1) if n <= 10 else 0 for n in places]
            found.setdefault((history, share), []).append(float(np.mean(gains)))
    return {shares: float(np.mean(gains)) for shares, gains in found.items()}


def test_validation_is_the_mean_loss_of_tokens_the_ranks_and_the_best_step_their_highest(
    shards: Shards, tmp_path: Path
) -> None:
    run = train(tmp_path, shards, SMALL | {"epochs": 4, "lr": 0.03})
    valid = [line for line in metrics(tmp_path) if line["event"] == "valid"]
    scores = {}
    for step, lines in groupby(valid, key=lambda line: line["step"]):
        *each, mean = lines
        told = {(line["task"], line["name"]): line["value"] for line in each}
        assert list(told) == [
            (task, name) for task in TASKS for name in ("loss", "ndcg@10")[: 1 + (task in RANKING)]
        ]
        product = math.exp(-told["explanation", "loss"])
        for task in RANKING:
            product *= told[task, "ndcg@10"]
        assert (mean["task"], mean["name"]) == ("all", "score")
        assert mean["value"] == pytest.approx(product ** (1 / 3))
        scores[step] = mean["value"]
    assert list(scores) == [EPOCH * n for n in range(1, 5)]
    state = read_checkpoint(tmp_path / BEST)[1]
    assert state == {"step": max(scores, key=scores.__getitem__), "score": max(scores.values())}
    model: Any = run.recommender
    for task in TASKS:
        told = {
            line["name"]: line["value"]
            for line in valid
            if (line["step"], line["task"]) == (state["step"], task)
        }
        total = tokens = 0.0
        with torch.no_grad():
            for batch in model.reader.split(task, "valid").by_length(3):
                total += model.pod(Inputs.of(batch, CPU)).item()
                tokens += batch.n_targets
        assert total / tokens == pytest.approx(told["loss"], abs=1e-5)
        if task in RANKING:
            found = plain_ndcg(model, shards, task)
            assert max(found.values()) == pytest.approx(told["ndcg@10"], abs=1e-6)
            own = float(model.share[TASKS.index(task)]), float(model.history_share)
            chosen = min(
                (history, share)
                for history, share in found
                if share == pytest.approx(own[0])
                and (task == "sequential" or history == pytest.approx(own[1]))
            )
            assert found[chosen] == pytest.approx(told["ndcg@10"], abs=1e-6)


def test_a_loss_that_is_no_number_ends_the_run_and_spares_its_weights(
    shards: Shards, logged: dict[int, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    steps = iter(range(10**6))
    real = Pod.forward
    with monkeypatch.context() as patch:
        patch.setattr(
            Pod, "forward", lambda self, x: real(self, x) * (torch.nan if next(steps) == 6 else 1)
        )
        with pytest.raises(PodError, match=r"a loss of nan .*lower --lr .* keeps what was before"):
            train(tmp_path, shards, save_seconds=0)
    tensors, state = read_checkpoint(tmp_path / LAST)
    assert state["step"] == 6
    assert all(value.isfinite().all() for value in tensors.values())
    assert all(np.isfinite(line["value"]) for line in metrics(tmp_path))
    train(tmp_path, shards, resume=True)
    assert outcome(tmp_path) == logged[1]


def test_a_rate_that_is_too_high_is_told(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.Training._learning_rate
    monkeypatch.setattr(
        loop.Training, "_learning_rate", lambda self, n: 1e38 if n == 5 else real(self, n)
    )
    with pytest.raises(PodError, match="lower --lr or take --precision fp32"):
        train(tmp_path, shards)
    assert Run.open(tmp_path).model(LAST)


def test_who_watches_is_told_how_far(shards: Shards, tmp_path: Path) -> None:
    told: list[Report] = []
    train(tmp_path, shards, watch=told.append)
    assert [(r.step, r.steps, r.epoch) for r in told] == [(12, 24, 1.0), (24, 24, 2.0)]
    losses = {(event, task, "loss") for event in ("train", "valid") for task in TASKS}
    ranks = {("valid", task, "ndcg@10") for task in RANKING}
    assert set(told[0].values) == {key for key in losses if key[0] == "train"}
    assert set(told[1].values) == losses | ranks | {("valid", "all", "score")}
    assert all(r.samples_per_second > 0 for r in told)


# Every option matters

OTHER: dict[str, dict[str, Any]] = {
    "model": {"model": "toy-popular"},
    "base": {"base": "compact"},
    "tasks": {"tasks": ("sequential", "topn")},
    "soft_prompt_length": {"soft_prompt_length": 0},
    "whole_word_embeddings": {"whole_word_embeddings": False},
    "id_digits": {"id_digits": 1},
    "init": {"init": "random"},
    "schedule": {"schedule": "mixed"},
    "temperature": {"temperature": 0.5},
    "memory": {"memory": False},
    "plan": {"plan": False},
    "batch_size": {"batch_size": 7},
    "lr": {"lr": 2e-3},
    "warmup": {"warmup": 0.5},
    "weight_decay": {"weight_decay": 0.5},
    "dropout": {"dropout": 0.3},
    "user_dropout": {"user_dropout": 1.0},
    "epochs": {"epochs": 2},
    "patience": {"patience": 2},
    "keep": {"keep": "last"},
    "precision": {"precision": "bf16"},
    "compile": {"compile": True},
    "device": {"device": "cuda"},
    "seed": {"seed": 1},
}
ONCE = SMALL | {"epochs": 1}
NAMES = [f.name for options in (TrainConfig, PodOptions) for f in fields(options)]


def observed(folder: Path, shards: Shards, options: Options) -> dict[str, Any]:
    """The weights a run comes to, its steps, and whether it was compiled or refused."""
    compiled: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(torch, "compile", lambda model, **_: compiled.append(True) or model)
        try:
            train(folder, shards, options)
        except PodError as error:
            return {"refused": str(error)}
    tensors, state = read_checkpoint(folder / LAST)
    found: dict[str, Any] = {k: v.tolist() for k, v in tensors.items() if "optimizer" not in k}
    return found | {"steps": state["step"], "compiled": compiled, "metrics": metrics(folder)}


@pytest.fixture(scope="module")
def once(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return observed(tmp_path_factory.mktemp("once"), shards, ONCE)


@pytest.mark.parametrize("option", NAMES)
def test_every_option_matters(
    option: str,
    once: dict[str, Any],
    shards: Shards,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if option == "keep":  # each validation is worse than the one before
        monkeypatch.setattr(loop.Training, "_validation_loss", lambda self, *_: self.progress.step)
        monkeypatch.setattr(loop.Training, "_validation_ndcg", lambda *_: 0.5)
        for keep, steps, best in (("best", 3, 1), ("last", 4, 4)):
            options = SMALL | {"epochs": 4, "batch_size": 16, "patience": 2, "keep": keep}
            assert observed(tmp_path / keep, shards, options)["steps"] == EPOCH // 2 * steps
            assert Run.open(tmp_path / keep).best_step == EPOCH // 2 * best
        return
    if option == "patience":  # no validation is better than another
        monkeypatch.setattr(loop.Training, "_validation_loss", lambda *_: 1.0)
        monkeypatch.setattr(loop.Training, "_validation_ndcg", lambda *_: 0.5)
        for n in (1, 2):
            options = SMALL | {"epochs": 9, "batch_size": 16, "patience": n}
            assert observed(tmp_path / str(n), shards, options)["steps"] == EPOCH // 2 * (1 + n)
        return
    base = {k: v for k, v in ONCE.items() if option != "model" or k != "base"}
    changed = observed(tmp_path, shards, base | OTHER[option])
    if option == "device":
        assert "sees no GPU" in changed["refused"]
    elif option == "model":
        assert set(changed) - {"steps", "compiled", "metrics"} == {"score"}
    elif option == "memory":
        assert {name for name in once if name not in changed} == {
            name for name in once if name.startswith("memory.")
        }
        assert all(changed[name] == once[name] for name in changed if name.startswith("pod."))
    elif option == "compile":
        assert changed == once | {"compiled": [True]}
    elif option == "epochs":
        assert changed["steps"] == 2 * once["steps"]
    else:
        assert "refused" not in changed
        assert any(changed.get(name) != value for name, value in once.items() if "." in name)
        mine, theirs = (
            [line["value"] for line in run["metrics"] if line["task"] == "topn"][:-1]
            for run in (changed, once)
        )
        assert mine[-1] != theirs[-1]  # the loss of the validation


def test_every_option_is_in_the_table_above() -> None:
    assert set(OTHER) == set(NAMES)
    assert Popular.options_class is not PodOptions


def test_prompts_and_whole_words_are_read(shards: Shards, tmp_path: Path) -> None:
    run = train(tmp_path, shards, ONCE)
    model: Any = run.model()
    batch = next(model.reader.split("topn", "valid").by_length(4))
    x = Inputs.of(batch, CPU)
    losses = {}
    for taken in ("nothing", "soft_prompts", "whole_word_embeddings", "input_embedding"):
        model = run.model()
        with torch.no_grad():
            if taken != "nothing":
                getattr(model.pod, taken).zero_()
            losses[taken] = model(x).item()
    assert len(set(losses.values())) == 4


# What a folder holds


@pytest.mark.parametrize("option", sorted(set(OTHER) - {"device", "compile", "tasks", "model"}))
def test_a_run_is_not_resumed_with_another_option(option: str, begun: Path, shards: Shards) -> None:
    with pytest.raises(PodError, match=rf"has {option} = .*resume with the same options"):
        train(begun, shards, SMALL | {"epochs": 3} | OTHER[option], resume=True)


@pytest.fixture(scope="module")
def begun(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped at its first step."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        stop(patch, 1)
        with pytest.raises(StoppedError):
            train(folder, shards, SMALL | {"epochs": 3})
    return folder


def test_a_run_is_not_resumed_with_other_tasks_or_another_dataset(
    begun: Path, shards: Shards
) -> None:
    options = SMALL | {"epochs": 3}
    with pytest.raises(PodError, match=r"has tasks = .*resume with the same options"):
        train(begun, shards, options | {"tasks": ("topn",)}, resume=True)
    other = Shards(shards.folder, shards.manifest | {"manifest_sha256": "0" * 64})
    with pytest.raises(PodError, match=r"was trained on another dataset than .*: give that"):
        train(begun, other, options, resume=True)
    with pytest.raises(PodError, match="has model = pod, not toy-popular: resume with the same"):
        train(begun, shards, {"model": "toy-popular", "device": "cpu"}, resume=True)


def test_a_run_is_not_trained_over(begun: Path, shards: Shards) -> None:
    with pytest.raises(PodError, match=r"holds a run: go on with --resume, or .* --out"):
        train(begun, shards, SMALL | {"epochs": 3})
    assert read_checkpoint(begun / LAST)[1]["step"] == 0


def test_a_run_can_be_asked_for_a_resume_before_it_is_there(
    whole: dict[str, Any], shards: Shards, tmp_path: Path
) -> None:
    train(tmp_path / "new", shards, resume=True)
    assert outcome(tmp_path / "new") == whole


def test_a_task_that_has_no_samples_is_told(shards: Shards, tmp_path: Path) -> None:
    files = {n: f for n, f in shards.manifest["files"].items() if "task=explanation" not in n}
    manifest = shards.manifest | {"files": files}
    with pytest.raises(
        PodError, match=r"has no explanation samples, only sequential, topn: .*--tasks"
    ):
        train(tmp_path, Shards(shards.folder, manifest), SMALL | {"tasks": ("explanation",)})
    assert not (tmp_path / RUN).exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"is not a run \(it has no run.json\): make one with podtrain fit"),
        ("{", "is damaged: train again"),
        ("[]", "is damaged: train again"),
        ('{"run_version": 99}', "has version 99, this podtrain reads 2: train again"),
    ],
)
def test_a_folder_that_holds_no_run_is_told(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / RUN).write_text(content)
    with pytest.raises(PodError, match=message):
        Run.open(tmp_path)


def test_a_run_says_what_it_was_made_with(begun: Path, shards: Shards) -> None:
    run = Run.open(begun)
    expected = SMALL | {"epochs": 3, "tasks": TASKS, "id_digits": 0, "init": "spectral"}
    assert run.config == make_config(expected)
    assert run.config.flat() == {**make_config({}).flat(), **expected}
    assert run.status == "unfinished"
    assert "0 steps (unfinished: podtrain fit --resume goes on), best at step 0" in run.summary()
    assert run.description["parameters"] == sum(p.numel() for p in run.model(LAST).parameters())
    assert run.description["manifest_sha256"] == shards.sha256
    assert json.loads((begun / RUN).read_text())["config"]["tasks"] == list(TASKS)
    rounds = run.description["model"]["rounds_per_epoch"]
    assert rounds == {"sequential": 2.0, "topn": 2.0, "explanation": 0.5}  # 4 turns of 12 steps


def test_a_run_opens_its_dataset_and_no_other(begun: Path, shards: Shards, tmp_path: Path) -> None:
    assert Run.open(begun).shards.sha256 == shards.sha256
    moved = tmp_path / "moved"
    shutil.copytree(shards.folder, moved)
    assert Run.open(begun, shards=moved).shards.folder == moved
    write_manifest(tmp_path, shards.manifest | {"rows": {}})
    with pytest.raises(PodError, match=r"is not the dataset that .* --shards"):
        _ = Run.open(begun, shards=tmp_path).shards
    gone = Run.open(begun)
    gone.description["shards"] = str(tmp_path / "gone")
    with pytest.raises(PodError, match=r"no longer at .*gone: say where, --shards"):
        _ = gone.shards


def test_a_tokenizer_that_is_damaged_is_told(begun: Path, tmp_path: Path) -> None:
    run = Run.open(shutil.copytree(begun, tmp_path / "run"))
    tokenizer = run.folder / "tokenizer"
    shutil.rmtree(tokenizer)
    tokenizer.mkdir()
    with pytest.raises(PodError, match="tokenizer is damaged: train again"):
        run.model(LAST)
    for file in (begun / "tokenizer").iterdir():
        (tokenizer / file.name).write_bytes(file.read_bytes()[:-40])
    with pytest.raises(PodError, match="tokenizer is damaged: train again"):
        run.model(LAST)
