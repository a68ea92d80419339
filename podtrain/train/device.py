"""The processor that computes, and in which precision."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from podprep.contract.errors import PodError
from podtrain.train.config import DEVICES


def choose_device(name: str) -> torch.device:
    """Return the device named; under torchrun, this process's own GPU.

    Errors: `PodError` for a GPU where there is none, or for more processes than GPUs.
    """
    if name not in DEVICES:
        raise PodError(f"--device {name}: choose among {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise PodError(
            "--device cuda: torch sees no GPU here (a CPU build, or no driver): leave "
            "--device out, or install the CUDA build of torch"
        )
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    local, gpus = os.environ.get("LOCAL_RANK", "0"), torch.cuda.device_count()
    if not local.isdecimal() or int(local) >= gpus:
        raise PodError(
            f"LOCAL_RANK is {local}, and there are {gpus} GPUs here: start as many processes as "
            "GPUs (torchrun --nproc-per-node), or take --device cpu"
        )
    return torch.device("cuda", int(local))


def choose_precision(name: str, device: torch.device) -> str:
    """Return fp32 or bf16; auto takes bf16 where the processor multiplies in it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # older versions of torch cannot say: auto is fp32 there
    has: dict[str, Any] = dict(getattr(torch.cpu, "get_capabilities", dict)())
    return "bf16" if has.get("avx512_bf16") or has.get("amx_bf16") else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a forward pass runs."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def to_device(
    array: npt.NDArray[Any], device: torch.device, dtype: torch.dtype | None = None
) -> Tensor:
    """Copy an array to a device, as a tensor of a dtype (the array's, if None).

    To a GPU it goes from pinned memory, so the copy runs while this process goes on.
    """
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, dtype, non_blocking=True)
