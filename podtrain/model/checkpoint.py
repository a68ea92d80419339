"""Weights on disk: safetensors with JSON in the header, whole or not at all, never pickle."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from podtrain.errors import PodError

FORMAT = "podtrain checkpoint 1"


def write_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors and a JSON state; a reader sees the old file or the new one."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"format": FORMAT, "sha256": _sha256(held), "state": json.dumps(state)}
    half = path.with_name(f".{path.name}.writing")
    try:
        save_file(held, half, header)
        with half.open("rb") as file:
            os.fsync(file.fileno())
        half.replace(path)
    except OSError as error:
        raise PodError(f"{path} could not be written: {error.strerror or error}") from None
    finally:
        half.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_checkpoint` wrote.

    Errors: `PodError` for a missing, damaged or foreign file.
    """
    if not path.is_file():
        raise PodError(f"{path} is missing: the run has not got that far; podtrain fit --resume")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        raise PodError(f"{path} is damaged or no safetensors file: {_MEND}") from None
    if header.get("format") != FORMAT:
        raise PodError(f"{path} is no checkpoint of podtrain: {_MEND}")
    if header.get("sha256") != _sha256(tensors):
        raise PodError(f"{path} is damaged, its weights are not those that were written: {_MEND}")
    return tensors, json.loads(header["state"])


_MEND = "copy the run again, or train it anew with podtrain fit"


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters by name, those that are tied once."""
    return dict(model.named_parameters())


@torch.no_grad()
def load_weights(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Put tensors in the place of a model's parameters. Errors: `PodError` if they do not fit."""
    own = weights(model)
    for name, parameter in own.items():
        if name not in tensors or tensors[name].shape != parameter.shape:
            raise PodError(f"{path} is of another model ({name} does not fit): {_MEND}")
        parameter.copy_(tensors[name])


def _sha256(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
