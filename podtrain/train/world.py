"""Data-parallel training: each process has a part of every batch, all have the same weights."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from podprep.contract.errors import PodError

TORCHRUN = ("RANK", "MASTER_ADDR", "MASTER_PORT")  # what it sets beside WORLD_SIZE and LOCAL_RANK


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train together, and which of them this is."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def sum_gradients(self, model: nn.Module) -> None:
        """Sum the gradients of all processes, in one message.

        What has none in any process is left without, as it is in a world of one.
        """
        if self.size == 1:
            return
        trained = [p for p in model.parameters() if p.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        held = torch.tensor(
            [float(p.grad is not None) for p in trained], device=gradients[0].device
        )
        flat = torch.cat([*(g.reshape(-1) for g in gradients), held])
        dist.all_reduce(flat)
        *sums, anywhere = flat.split([*(g.numel() for g in gradients), len(held)])
        for p, summed, there in zip(trained, sums, anywhere.tolist(), strict=True):
            p.grad = summed.view_as(p) if there else None

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.size > 1:
            dist.barrier()

    def sum(self, values: Tensor) -> Tensor:
        """Sum a tensor over all processes, in place; return it."""
        if self.size > 1:
            dist.all_reduce(values)
        return values


@contextmanager
def join_world(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started; without torchrun, a world of one.

    Errors: `PodError` where the environment is torchrun's in part only, or the others cannot be
    reached.
    """
    if (size := _number("WORLD_SIZE", 1)) == 1:
        yield World()
        return
    if lacking := [name for name in TORCHRUN if name not in os.environ]:
        raise PodError(
            f"WORLD_SIZE is {size}, but {', '.join(lacking)} not set: start with torchrun "
            "--nproc-per-node N -m podtrain fit ..., or unset WORLD_SIZE"
        )
    if not 0 <= (rank := _number("RANK", 0)) < size:
        raise PodError(f"RANK {rank} is not one of the {size} of WORLD_SIZE: start with torchrun")
    if device.type == "cuda":
        # NCCL takes the current device: without this, GPU 0 in every process
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        said = str(error).strip().split("\n")[0]
        raise PodError(f"the other {size - 1} processes cannot be reached: {said}") from None
    try:
        yield World(rank, size)
    finally:
        dist.destroy_process_group()


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.strip().isdecimal():
        raise PodError(f"{name} is {text!r}, not a number: start with torchrun, or unset it")
    return int(text)
