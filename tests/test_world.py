"""Processes that train together, their GPUs, and the batches that are made beside the training."""

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from podprep.contract.errors import PodError
from podtrain.train.device import to_device
from podtrain.train.prefetch import prefetch
from podtrain.train.world import World, join_world

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({}, "RANK, MASTER_ADDR, MASTER_PORT not set: start with torchrun"),
        ({"RANK": "1", "MASTER_ADDR": "localhost"}, "MASTER_PORT not set"),
        ({"RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}, "RANK 2 is not one of"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', not a number"),
    ],
)
def test_half_an_environment_is_refused_in_a_line(
    named: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"WORLD_SIZE": "2"} | named).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PodError, match=said), join_world(CPU):
        pass


def test_a_process_takes_its_gpu_before_it_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL's first collective takes the current device: GPU 0 in all processes, if none is set."""
    done: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_device", done.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", done.append)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: done.append("end"))
    named = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    with join_world(torch.device("cuda", 1)) as own:
        assert own == World(1, 2)
    assert done == [torch.device("cuda", 1), "nccl", "end"]


def test_prefetch_yields_all_ends_and_passes_errors_on() -> None:
    assert list(prefetch(iter(range(20)), 3)) == list(range(20))
    assert list(prefetch(iter([]))) == []
    errors = [ValueError("an item, not an error")]
    assert list(prefetch(iter(errors))) == errors

    def failing() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    found = prefetch(failing())
    assert next(found) == 1
    with pytest.raises(OSError, match="gone"):
        next(found)
    before = threading.active_count()
    endless = prefetch(itertools.count(), 2)
    assert [next(endless), next(endless)] == [0, 1]
    assert threading.active_count() == before + 1
    endless.close()
    assert threading.active_count() == before


def test_an_array_becomes_a_tensor_of_the_dtype_named() -> None:
    array = np.arange(3, dtype=np.int32)
    assert to_device(array, CPU).dtype == torch.int32
    assert to_device(array, CPU, torch.long).tolist() == [0, 1, 2]
