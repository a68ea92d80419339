"""Checkpoints: what was written, whole, or an error that says what to do."""

import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from podprep.contract.errors import PodError
from podtrain.train.checkpoint import load_weights, read_checkpoint, weights, write_checkpoint

MEND = "copy the run again, or train it anew with podtrain fit"
STATE = {"step": 12, "best": 3.25, "finished": False}
KINDS = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool)

shapes = st.lists(st.integers(0, 4), max_size=3)
tensors_of = st.dictionaries(
    st.from_regex(r"[a-z]{1,4}(\.[a-z0-9]{1,3}){0,2}", fullmatch=True),
    st.tuples(shapes, st.sampled_from(KINDS)),
    max_size=4,
)
states = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=4,
    ),
    max_size=4,
)


def some_tensors(seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        "whole": torch.randn(5, 3, generator=random),
        "optimizer/step/whole": torch.tensor(7.0),
        "none": torch.zeros(3, 0, 4),
    }


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether names, kinds, shapes and every bit agree."""
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype
        and a[n].shape == b[n].shape
        and a[n].contiguous().numpy(force=True).tobytes()
        == b[n].contiguous().numpy(force=True).tobytes()
        if a[n].dtype != torch.bfloat16
        else torch.equal(a[n], b[n])
        for n in a
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints") / "last.safetensors"


@settings(max_examples=20, deadline=None, derandomize=True)
@given(tensors_of, states, st.integers(0, 9))
def test_what_is_written_is_read(
    file: Path, of: dict[str, tuple[list[int], torch.dtype]], state: dict[str, Any], seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (shape, kind) in of.items():
        values = (torch.randn(shape, generator=random) * 50).to(kind)
        tensors[name] = values.movedim(0, -1) if shape else values  # rarely contiguous
    write_checkpoint(file, tensors, state)
    found, read = read_checkpoint(file)
    assert same(found, tensors)
    assert read == state
    assert list(file.parent.iterdir()) == [file]


def test_numbers_that_are_none_are_kept(tmp_path: Path) -> None:
    tensors = {"a": torch.tensor([float("nan"), float("inf"), -0.0])}
    write_checkpoint(tmp_path / "x", tensors, {"best": float("inf")})
    found, state = read_checkpoint(tmp_path / "x")
    assert same(found, tensors)
    assert state == {"best": float("inf")}


# Whole or not at all


def no_space(patch: pytest.MonkeyPatch) -> None:
    """Files end where a full disk would end them."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limit[1]))
    patch.setattr(os, "fsync", lambda _: None)  # nothing else fails


def no_sync(patch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    patch.setattr(os, "fsync", fail)


@pytest.mark.parametrize("failure", [no_space, no_sync])
@pytest.mark.parametrize("there", [True, False])
def test_a_write_that_fails_leaves_what_was(
    tmp_path: Path, failure: Callable[[pytest.MonkeyPatch], None], there: bool
) -> None:
    path, tensors = tmp_path / "last.safetensors", some_tensors()
    if there:
        write_checkpoint(path, tensors, STATE)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        failure(patch)
        try:
            with pytest.raises(PodError, match=r"last\.safetensors could not be written"):
                write_checkpoint(path, {"big": torch.zeros(1_000)}, {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    if there:
        found, state = read_checkpoint(path)
        assert same(found, tensors)
        assert state == STATE
    assert list(tmp_path.iterdir()) == [path] * there


def test_an_interrupted_write_leaves_what_was(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, some_tensors(), STATE)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(path, some_tensors(1), {})
    assert same(read_checkpoint(path)[0], some_tensors())
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PodError, match="could not be written"):
        write_checkpoint(tmp_path / "file" / "x", some_tensors(), {})


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_a_checkpoint_follows_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        for _ in range(2):  # new, then replaced
            write_checkpoint(tmp_path / "last.safetensors", some_tensors(), STATE)
            mode = (tmp_path / "last.safetensors").stat().st_mode
            assert mode & 0o777 == 0o666 & ~umask
    finally:
        os.umask(before)


@pytest.mark.parametrize("name", ["is_file", "read_bytes"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    write_checkpoint(tmp_path / "last.safetensors", some_tensors(), STATE)
    monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(PodError, match="cannot be read: Permission denied"):
        read_checkpoint(tmp_path / "last.safetensors")


def test_a_file_replaced_while_it_is_read_is_one_or_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a run does that goes on; safetensors' lazy reader opens a file twice."""
    path, held = tmp_path / "last.safetensors", [some_tensors(seed) for seed in range(2)]
    write_checkpoint(path, held[0], {"held": 0})

    def replacing(read: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **more: Any) -> Any:
            write_checkpoint(path, held[1], {"held": 1})
            return read(*args, **more)

        return wrapped

    monkeypatch.setattr(
        torch.UntypedStorage, "from_file", replacing(torch.UntypedStorage.from_file)
    )
    monkeypatch.setattr(Path, "read_bytes", replacing(Path.read_bytes))
    tensors, state = read_checkpoint(path)
    assert same(tensors, held[state["held"]])


# Damage


@pytest.fixture(scope="module")
def good(file: Path) -> bytes:
    write_checkpoint(file, some_tensors(), STATE)
    return file.read_bytes()


def refused(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    with pytest.raises(PodError, match=MEND) as caught:
        read_checkpoint(file)
    assert str(file) in str(caught.value)
    return str(caught.value)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_flipped_byte_anywhere_is_refused(
    file: Path, good: bytes, place: float, flip: int
) -> None:
    """Spaces after the header's JSON say nothing: there, another space may pass."""
    at = int(place * len(good))
    changed = bytearray(good)
    changed[at] ^= flip
    header = 8 + int.from_bytes(good[:8], "little")
    if good[at:header].strip() == b"" and bytes(changed[at : at + 1]).isspace():
        return
    refused(file, bytes(changed))


def test_a_changed_header_is_refused(file: Path, good: bytes) -> None:
    changes = [
        (rb"step\": 12", rb"step\": 13"),
        (b"3.25", b"1.25"),
        (rb"\"best", rb"\"bast"),
        (b"false", b"true "),
        (b'"shape":[5,3]', b'"shape":[3,5]'),
        (b'"F32","shape":[5,3]', b'"I32","shape":[5,3]'),
    ]
    for one, other in changes:
        assert good.count(one) == 1
        refused(file, good.replace(one, other))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.floats(0, 1, exclude_max=True))
def test_a_cut_or_lengthened_file_is_refused(file: Path, good: bytes, share: float) -> None:
    refused(file, good[: int(share * len(good))])
    refused(file, good + good[: 1 + int(share * len(good))])


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    tensors = some_tensors()
    save_file(tensors, path)
    assert "no checkpoint of podtrain" in refused(path, path.read_bytes())
    save_file(tensors, path, {"format": "pt"})
    assert "no checkpoint of podtrain" in refused(path, path.read_bytes())
    torch.save(tensors, path)
    assert "no safetensors file" in refused(path, path.read_bytes())
    refused(path, b"")


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "harm",))

    refused(tmp_path / "last.safetensors", pickle.dumps(Harm()))
    assert not (tmp_path / "harm").exists()


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "best.safetensors", tmp_path):
        with pytest.raises(PodError, match=r"is missing: .*podtrain fit --resume"):
            read_checkpoint(path)


# Into a model


class Tied(nn.Module):
    """Two layers of which one may be the other's."""

    def __init__(self, width: int = 3, more: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, 2), nn.Linear(width, 2)
        self.second.weight = self.first.weight
        if more:
            self.more = nn.Parameter(torch.zeros(2))


def test_tied_weights_are_held_once_and_all_weights_are_put_back() -> None:
    one, other = Tied(), Tied()
    assert set(weights(one)) == {"first.weight", "first.bias", "second.bias"}
    load_weights(other, {n: t.detach().clone() for n, t in weights(one).items()}, Path("x"))
    for name, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    assert other.second.weight is other.first.weight


@pytest.mark.parametrize(
    ("written", "read", "name"),
    [
        (Tied(4), Tied(), "first.weight"),
        (Tied(), Tied(more=True), "more"),
        (Tied(more=True), Tied(), "more"),
    ],
    ids=["wider", "less", "more"],
)
def test_weights_of_another_model_are_refused(written: Tied, read: Tied, name: str) -> None:
    with pytest.raises(PodError, match=rf"runs/x is of another model \({name} .*{MEND}"):
        load_weights(read, weights(written), Path("runs/x"))


def test_what_the_optimizer_holds_is_no_weight() -> None:
    model = Tied()
    load_weights(model, {**weights(Tied()), "optimizer/exp_avg/x": torch.zeros(1)}, Path("x"))
