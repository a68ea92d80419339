"""On a GPU the same comes out as on the CPU: losses, kernels, scores, a resumed run, a world.

Everything runs on the CPU as well, so that what is checked is itself checked where there is no GPU:
`pytest -m cuda` is the GPU's part, `bench/device.sh` runs it.
"""

import socket
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from podprep.contract.shards import Shards
from podprep.contract.tasks import TASKS
from podtrain.recommenders.pod.kernels import (
    attend,
    cosine_cross_entropy,
    dropout,
    linear_cross_entropy,
    relu_dropout,
)
from podtrain.recommenders.queries import Pairs, Queries, held_out
from podtrain.recommenders.ranking import candidates_of
from podtrain.run import LAST, Run
from podtrain.train import loop
from podtrain.train.checkpoint import read_checkpoint
from podtrain.train.config import RunConfig, make_config
from podtrain.train.device import autocast, to_device
from podtrain.train.loop import Progress, Training
from podtrain.train.prefetch import prefetch
from podtrain.train.world import World, join_world
from tests.test_training import tiny_shards

CPU = torch.device("cpu")
OPTIONS = {"base": "tiny", "batch_size": 8, "epochs": 2, "lr": 3e-3, "dropout": 0.0}
GPU = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
    ],
)


@pytest.fixture(params=["cpu", GPU])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device("cpu") if request.param == "cpu" else torch.device("cuda", 0)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return tiny_shards(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", params=[0, 1])
def begun(
    shards: Shards, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Run:
    """A run before its first step, with whole ids and with a token a digit."""
    options = OPTIONS | {"id_digits": request.param, "device": "cpu"}
    return Run.begin(
        tmp_path_factory.mktemp("run"), config_of(shards, options), shards, asdict(Progress())
    )


def config_of(shards: Shards, options: dict[str, Any]) -> RunConfig:
    config = make_config(options)
    return RunConfig(config.shared.for_shards(shards), config.model)


def both(run: Run, device: torch.device) -> tuple[Any, Any]:
    """The model of a run here and on a device, with the same weights."""
    here: Any = run.model(LAST)
    there = deepcopy(here).to(device)
    for model in (here, there):
        model.begin_training()
    return here, there


def first_batch(model: Any, task: str) -> Any:
    """The first training batch of a task; tasks take turns."""
    return next(batch for [batch] in model.batches(0, World()) if batch.task == task)


def near(there: Tensor, here: Tensor, rtol: float = 1e-4) -> None:
    """Equal within a share of the largest number."""
    largest = float(here.abs().max()) if here.numel() else 0.0
    torch.testing.assert_close(there.cpu(), here, rtol=rtol, atol=rtol * max(largest, 1e-9))


# Training


@pytest.mark.parametrize("task", TASKS)
def test_loss_and_gradients_are_those_of_the_cpu(
    task: str, begun: Run, device: torch.device
) -> None:
    losses, gradients = [], []
    for model in both(begun, device):
        model.train()
        batch = first_batch(model, task)
        parts = list(model.micro_batches(batch))
        loss = torch.stack([model(part) for part in parts]).sum()
        loss.backward()
        assert loss.device == model.device
        losses.append(loss.detach())
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    near(losses[1], losses[0])
    assert gradients[0].keys() == gradients[1].keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(
            gradients[1][name].cpu(), gradient, rtol=1e-3, atol=1e-4 * largest, msg=name
        )


@pytest.mark.parametrize("task", TASKS)
def test_half_precision_is_near(task: str, begun: Run, device: torch.device) -> None:
    _, model = both(begun, device)
    model.train()
    [x] = model.micro_batches(first_batch(model, task))
    table = model.pod.t5.shared.weight
    exact = model(x)
    with autocast("bf16", device):
        loss = model(x)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.03)
    one, other = (torch.autograd.grad(each, [table])[0].flatten() for each in (exact, loss))
    assert F.cosine_similarity(one, other, dim=0) > 0.98


class StoppedError(Exception):
    """Where a test ends a run."""


def trained(folder: Path, shards: Shards, device: torch.device, **more: Any) -> dict[str, Tensor]:
    options = OPTIONS | {"device": device.type, "precision": "fp32", "dropout": 0.1}
    watch = more.pop("watch", lambda _: None)
    loop.train(folder, make_config(options), shards, World(), watch, **more)
    return read_checkpoint(folder / LAST)[0]


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    shards: Shards, device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit on a CPU; a GPU's sums may come in another order each time."""
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    whole = trained(tmp_path / "whole", shards, device)

    def stop(report: Any) -> None:
        if report.step == 17:
            raise StoppedError

    with pytest.raises(StoppedError):
        trained(tmp_path / "part", shards, device, watch=stop, save_seconds=0)
    assert read_checkpoint(tmp_path / "part" / LAST)[1]["step"] == 16
    resumed = trained(tmp_path / "part", shards, device, resume=True)
    assert whole.keys() == resumed.keys()
    if device.type == "cpu":
        assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
    for name, tensor in whole.items():
        apart = float((resumed[name] - tensor).norm())
        assert apart <= 1e-2 * float(tensor.norm()) + 1e-6, name


def test_a_step_takes_what_prefetch_makes_ahead(begun: Run, device: torch.device) -> None:
    """Copies from pinned memory run on while the next are made: none may be overwritten."""
    here, there = both(begun, device)
    source = prefetch(there.batches(0, World()), 4)
    held = []
    for _ in range(12):
        [batch] = next(source)
        held.append((batch, there.pod.inputs(batch)))
    source.close()
    for batch, x in held:
        assert x.ids.device == there.device
        for name in ("ids", "whole_word_ids", "mask", "labels"):
            np.testing.assert_array_equal(getattr(x, name).cpu(), getattr(batch, name))
    assert to_device(np.zeros((2, 0), np.int64), device).shape == (2, 0)
    assert here.device == CPU


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def joined(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A process that believes to be the first of two, in a group of the one that there is.

    All messages go through nccl (gloo on a CPU); what the other process would add is nothing.
    """
    named = {"WORLD_SIZE": 2, "RANK": 0, "MASTER_ADDR": "localhost", "MASTER_PORT": free_port()}
    for name, value in named.items():
        monkeypatch.setenv(name, str(value))
    real = torch.distributed.init_process_group
    monkeypatch.setattr(
        torch.distributed, "init_process_group", partial(real, world_size=1, rank=0)
    )
    with join_world(device) as world:
        yield world


def test_a_world_sums_and_trains(
    joined: World, shards: Shards, device: torch.device, tmp_path: Path
) -> None:
    backend = torch.distributed.get_backend()
    assert backend == ("gloo" if device.type == "cpu" else "nccl")
    assert joined == World(0, 2)
    values = torch.arange(3.0, dtype=torch.float64, device=device)
    assert joined.sum(values).tolist() == [0, 1, 2]
    model = torch.nn.Linear(3, 2).to(device)
    model(torch.ones(1, 3, device=device)).sum().backward()
    joined.sum_gradients(model)
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[1.0] * 3] * 2
    joined.wait()
    config = make_config(OPTIONS | {"device": device.type, "epochs": 1})
    run = loop.train(tmp_path / "run", config, shards, joined, lambda _: None)
    assert run.status == "finished"


# Kernels


def leaves(device: torch.device, *shapes: tuple[int, ...]) -> list[list[Tensor]]:
    """The same random tensors here and on a device, all with gradients."""
    random = torch.Generator().manual_seed(0)
    here = [torch.randn(shape, generator=random) for shape in shapes]
    return [
        [tensor.clone().requires_grad_() for tensor in here],
        [tensor.clone().to(device).requires_grad_() for tensor in here],
    ]


def same_gradients(ours: Tensor, plain: Tensor, own: list[Tensor], other: list[Tensor]) -> None:
    near(ours.detach(), plain.detach())
    weight = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1))
    mine = torch.autograd.grad((ours * weight.to(ours.device)).sum(), own)
    theirs = torch.autograd.grad((plain * weight).sum(), other)
    for a, b in zip(mine, theirs, strict=True):
        near(a, b)


def test_attention_is_the_plain_one(device: torch.device) -> None:
    shape = (5, 4, 33, 16)
    here, there = leaves(device, shape, shape, shape, (1, 4, 33, 33))
    seen = torch.arange(33) < torch.tensor([[1], [33], [8], [20], [32]])
    mask = torch.zeros(5, 1, 1, 33).masked_fill(~seen[:, None, None], -1e30)
    query, key, value, bias = here
    plain = (query @ key.transpose(2, 3) + bias + mask).softmax(3) @ value
    query, key, value, bias = there
    ours = attend(query, key, value, bias, mask.to(device), 0.0)
    same_gradients(ours, plain, there, here)


def test_the_projected_loss_is_the_plain_one(device: torch.device) -> None:
    here, there = leaves(device, (2_500, 16), (301, 16))
    labels = torch.randint(-1, 301, (2_500,), generator=torch.Generator().manual_seed(2))
    labels = labels.masked_fill(labels < 0, -100)
    plain = F.cross_entropy(here[0] @ here[1].T, labels, reduction="sum")
    same_gradients(linear_cross_entropy(there[0], there[1], labels.to(device)), plain, there, here)


def test_the_loss_of_cosines_is_the_plain_one(device: torch.device) -> None:
    here, there = leaves(device, (40, 16), (90, 16))
    random = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 90, (40,), generator=random)
    rows = torch.arange(40).repeat(6)
    columns = torch.randint(0, 90, (240,), generator=random)
    columns[:3] = labels[:3]  # a label is always a choice
    logits = F.normalize(here[0], dim=1) @ F.normalize(here[1], dim=1).T / 0.1
    hidden = torch.zeros(40, 90, dtype=torch.bool)
    hidden[rows, columns] = True
    hidden[torch.arange(40), labels] = False
    plain = F.cross_entropy(logits.masked_fill(hidden, -torch.inf), labels, reduction="sum")
    left_out = rows.to(device), columns.to(device)
    ours = cosine_cross_entropy(there[0], there[1], labels.to(device), 0.1, left_out)
    same_gradients(ours, plain, there, here)


def test_dropout_keeps_its_share_and_follows_the_seed(device: torch.device) -> None:
    x = torch.ones(1_000, 999, device=device)
    found = []
    for _ in range(2):
        torch.manual_seed(4)
        found.append(dropout(x, 0.25))
    assert torch.equal(found[0], found[1])
    assert float((found[0] == 0).float().mean()) == pytest.approx(0.25, abs=0.003)
    assert float(found[0].mean()) == pytest.approx(1, abs=0.005)
    signed = (x - 2 * (torch.arange(999, device=device) % 2)).requires_grad_()
    out = relu_dropout(signed * 1, 0.25)
    (gradient,) = torch.autograd.grad(out.sum(), [signed])
    assert torch.equal(gradient, out.detach())
    assert not out[:, 1::2].any()
    # with dropout of its weights, too, attention's gradient is that of what was drawn
    q, k, v = (torch.randn(2, 2, 9, 8, device=device).requires_grad_() for _ in range(3))
    torch.manual_seed(5)
    out = attend(q, k, v, None, None, 0.5)
    torch.autograd.grad(out.sum(), [q, k, v])
    torch.manual_seed(5)
    torch.testing.assert_close(attend(q, k, 2 * v, None, None, 0.5), 2 * out)


# Answers


def asked(run: Run) -> tuple[Queries, Any]:
    model: Any = run.model(LAST)
    queries, _ = held_out(model.purchases, "valid")
    return queries, candidates_of(run.shards, "valid", queries.user_id)


@torch.inference_mode()
def test_answers_are_those_of_the_cpu(begun: Run, device: torch.device) -> None:
    """Scores of all items and of candidates with the memory and without, beams, sentences."""
    here, there = (model.eval() for model in both(begun, device))
    queries, candidates = asked(begun)
    for name in ("t5_scores", "scores"):
        one, other = (getattr(model, name)(queries) for model in (here, there))
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-3)
    one, other = (model.candidate_scores(queries, candidates) for model in (here, there))
    np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-3)
    for among in (None, candidates):
        one, other = (
            model.search(queries, 3, method="beam", beams=5, candidates=among)[1]
            for model in (here, there)
        )
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-3)
    pairs = Pairs(np.array([1, 2, 3]), np.array([3, 2, 1]), None)
    one, other = (
        model.write(model.explanation_prompts(pairs), 4, 2, limits=(3, 12))[1]
        for model in (here, there)
    )
    np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-3)
    assert len(there.texts(pairs)) == 3


def test_validation_and_evaluation_run(
    shards: Shards, device: torch.device, tmp_path: Path
) -> None:
    options = OPTIONS | {"device": device.type, "epochs": 1, "precision": "auto"}
    run = loop.train(tmp_path / "run", make_config(options), shards, World(), lambda _: None)
    found = run.evaluate("test")
    assert set(found) == set(TASKS)
    training = Training(run, World(), device, lambda _: None, float("inf"))
    training.validate()
    assert all(np.isfinite(value) for value in training.values.values())
