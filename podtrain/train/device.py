"""Which processor, and in which precision."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from podprep.contract.errors import PodError
from podtrain.train.config import DEVICES


def choose_device(name: str) -> torch.device:
    """Return the device named. Errors: `PodError` for a GPU where there is none."""
    if name not in DEVICES:
        raise PodError(f"--device {name}: choose among {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise PodError(
            "--device cuda: torch sees no GPU here (a CPU build, or no driver): leave "
            "--device out, or install the CUDA build of torch"
        )
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def choose_precision(name: str, device: torch.device) -> str:
    """Return fp32 or bf16; auto takes bf16 where the processor multiplies in it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if fast else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a forward pass runs."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
