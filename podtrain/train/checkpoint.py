"""Checkpoints: safetensors with JSON in the header, written whole or not at all; never pickle."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from podprep.contract.errors import PodError
from podprep.contract.writing import replacing

FORMAT = "podtrain checkpoint 1"
OPTIMIZER = "optimizer/"  # prefix of the names of optimizer state: optimizer/exp_avg/NAME


def write_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors and a JSON state; a reader sees the old file or the new one.

    Errors: `PodError` if it cannot be written.
    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state)
    header = {"format": FORMAT, "sha256": _sha256(held, text), "state": text}
    with replacing(path, durable=True) as work:
        work.touch()
        mode = work.stat().st_mode  # by the umask; safetensors makes a file of its own, 0600
        try:
            save_file(held, work, header)
        except SafetensorError as error:
            raise OSError(str(error).split("\n")[0]) from None
        work.chmod(mode)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_checkpoint` wrote.

    Errors: `PodError` for a missing, unreadable, damaged or foreign file.
    """
    try:
        if not path.is_file():
            raise PodError(
                f"{path} is missing: the run has not got that far; podtrain fit --resume"
            )
        raw = path.read_bytes()  # once: the file may be replaced at any moment
    except OSError as error:
        raise PodError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        tensors = load(raw)
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError):
        raise PodError(f"{path} is damaged or no safetensors file: {_MEND}") from None
    if header.get("format") != FORMAT:
        raise PodError(f"{path} is no checkpoint of podtrain: {_MEND}")
    if header.get("sha256") != _sha256(tensors, header.get("state", "")):
        raise PodError(f"{path} is damaged, its weights are not those that were written: {_MEND}")
    return tensors, json.loads(header["state"])


def read_header(path: Path) -> tuple[dict[str, Any], str]:
    """Return the state of a checkpoint and the hash of its weights, which are not read.

    Errors: as `read_checkpoint`.
    """
    if not path.is_file():
        raise PodError(f"{path} is missing: the run has not got that far; podtrain fit --resume")
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
        return json.loads(header["state"]), str(header["sha256"])
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError):
        raise PodError(f"{path} is damaged or no safetensors file: {_MEND}") from None


_MEND = "copy the run again, or train it anew with podtrain fit"


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters by name, those that are tied once."""
    return dict(model.named_parameters())


@torch.no_grad()
def load_weights(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Put tensors in the place of a model's parameters. Errors: `PodError` if they do not fit."""
    own = weights(model)
    if extra := next((n for n in tensors if n not in own and not n.startswith(OPTIMIZER)), None):
        raise PodError(f"{path} is of another model ({extra} does not fit): {_MEND}")
    for name, parameter in own.items():
        if name not in tensors or tensors[name].shape != parameter.shape:
            raise PodError(f"{path} is of another model ({name} does not fit): {_MEND}")
        parameter.copy_(tensors[name])


def _sha256(tensors: dict[str, Tensor], state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
