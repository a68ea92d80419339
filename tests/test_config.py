"""Options, processors and bases: what is given is what is used, or an error that says why not."""

import inspect
import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import BertConfig, T5Config, T5ForConditionalGeneration
from transformers.utils import logging
from typer.testing import CliRunner

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podprep.contract.tasks import TASKS
from podtrain import api
from podtrain.cli import app
from podtrain.commands import fit as command
from podtrain.data.tokenizer import learn
from podtrain.recommenders.base import NoOptions
from podtrain.recommenders.pod import bases
from podtrain.recommenders.pod.bases import make_base
from podtrain.recommenders.pod.model import Inputs, Pod
from podtrain.recommenders.pod.options import PodOptions
from podtrain.run import LAST, Run
from podtrain.train import loop
from podtrain.train.checkpoint import read_checkpoint
from podtrain.train.config import RunConfig, TrainConfig, make_config
from podtrain.train.device import autocast, choose_device, choose_precision
from podtrain.train.options import option_type
from podtrain.train.world import World, join_world
from tests.test_training import OTHER, SMALL, tiny_shards, train

FIELDS = {f.name: f for options in (TrainConfig, PodOptions) for f in fields(options)}
DEFAULTS = make_config({}).flat()
CPU = torch.device("cpu")
VALUES = {name: values[name] for name, values in OTHER.items()} | {"base": "small"}
NAMES = sorted(set(FIELDS) - {"model"})  # of which another value asks for other options


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return tiny_shards(tmp_path_factory.mktemp("tiny"))


# Options


def toml(folder: Path, **values: Any) -> Path:
    """Write a file of options; JSON writes these kinds of values as TOML does."""
    file = folder / "fit.toml"
    lines = [
        f"{n} = {json.dumps(list(v) if isinstance(v, tuple) else v)}\n" for n, v in values.items()
    ]
    file.write_text("".join(lines), encoding="utf-8")
    return file


@pytest.mark.parametrize("name", NAMES)
def test_what_is_given_overrules_a_file_and_a_file_the_defaults(name: str, tmp_path: Path) -> None:
    file, default = toml(tmp_path, **{name: VALUES[name]}), DEFAULTS[name]
    assert VALUES[name] != default
    assert make_config({}, file).flat() == DEFAULTS | {name: VALUES[name]}
    assert make_config(dict.fromkeys(FIELDS), file) == make_config({}, file)
    assert make_config({name: VALUES[name]}) == make_config({}, file)
    if default is not None:
        assert make_config({name: default}, file).flat() == DEFAULTS


def test_the_model_named_last_has_its_own_options(tmp_path: Path) -> None:
    file = toml(tmp_path, model="toy-popular", lr=0.1)
    assert make_config({}, file) == RunConfig(TrainConfig(model="toy-popular", lr=0.1), NoOptions())
    assert make_config({"model": "pod"}, file).model == PodOptions()
    with pytest.raises(PodError, match="toy-popular has no option base; its own: none; of every"):
        make_config({"base": "tiny"}, file)
    with pytest.raises(PodError, match=rf"^{file}: toy-popular has no option dropout"):
        make_config({"model": "toy-popular"}, toml(tmp_path, dropout=0.2))


def test_tasks_are_a_list_or_words_with_commas(tmp_path: Path) -> None:
    listed = toml(tmp_path, tasks=["topn", "sequential"])
    assert make_config({}, listed).shared.tasks == ("topn", "sequential")
    for words in ("topn,sequential", "topn, sequential", " topn ,sequential, "):
        assert make_config({}, toml(tmp_path, tasks=words)) == make_config({"tasks": words})
        assert make_config({"tasks": words}).shared.tasks == ("topn", "sequential")
    assert make_config({"tasks": "topn,"}).shared.tasks == ("topn",)


WRONG: dict[type, list[Any]] = {
    str: [3, True, ["a"]],
    int: ["1", 1.5, True],
    float: ["1", True, [0.1]],
    bool: [1, "true"],
    tuple: [3, True],
}
KINDS_SAID = {
    str: "a text", int: "a whole number", float: "a number", bool: "true or false", tuple: "a list"
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(n, wrong) for n, f in FIELDS.items() for wrong in WRONG[option_type(f)]]
)
def test_values_of_the_wrong_type_are_refused(name: str, value: Any, tmp_path: Path) -> None:
    file, said = toml(tmp_path, **{name: value}), KINDS_SAID[option_type(FIELDS[name])]
    with pytest.raises(PodError, match=rf"fit\.toml: {name} = .* is not {said}"):
        make_config({}, file)
    with pytest.raises(PodError, match=rf"^options: {name} = .* is not {said}"):
        make_config({name: value})


OUTSIDE: dict[str, list[Any]] = {
    "tasks": [["topn", "other"], [1], "seq"],
    "model": ["bert", "item-knn"],
    "soft_prompt_length": [-1, 1001],
    "id_digits": [-1, 7],
    "init": ["svd"],
    "schedule": ["both"],
    "temperature": [-0.1, 10.5],
    "batch_size": [0, 10**6 + 1],
    "lr": [0.0, -1.0, float("nan"), 11.0],
    "warmup": [-0.1, 1.5],
    "weight_decay": [-0.1],
    "dropout": [-0.1, 0.95],
    "user_dropout": [-0.1, 1.1],
    "epochs": [0],
    "patience": [0],
    "keep": ["first"],
    "precision": ["fp16"],
    "device": ["tpu"],
    "seed": [-1, 2**64],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in OUTSIDE.items() for v in vs])
def test_values_out_of_range_are_refused(name: str, value: Any) -> None:
    said = rf"^{name}: .*{'none of' if name in TEXTS else 'between'}"
    if name == "model":
        said = "^--model (bert: choose from pod, |item-knn counts and needs no training)"
    with pytest.raises(PodError, match=said):
        make_config({name: value})


TEXTS = {"tasks", "init", "schedule", "keep", "precision", "device"}


def test_every_option_has_a_range() -> None:
    """But for switches, and for a base, which is had or not."""
    assert set(OUTSIDE) == set(FIELDS) - {
        "base",
        "whole_word_embeddings",
        "memory",
        "plan",
        "compile",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"learning_rate = 1", "pod has no option learning_rate; its own: base, .*: model, tasks"),
        (b"[fit]\nlr = 0.1", "pod has no option fit"),
        (b"lr = ", "is not TOML"),
        (b"lr = 0.1\nlr = 0.2", "is not TOML"),
        (b"base = '\xff'", "is not TOML"),
    ],
)
def test_a_file_that_is_no_options_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "fit.toml"
    file.write_bytes(content)
    with pytest.raises(PodError, match=message) as caught:
        make_config({}, file)
    assert str(caught.value).startswith(str(file))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for file in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(PodError, match="cannot be read: "):
            make_config({}, file)


def test_a_config_takes_its_tasks_from_the_shards(shards: Shards, tmp_path: Path) -> None:
    assert TrainConfig().for_shards(shards).tasks == TASKS
    some = TrainConfig(tasks=("topn", "sequential"))
    assert some.for_shards(shards).tasks == ("sequential", "topn")
    assert TrainConfig(model="toy-popular").for_shards(shards).tasks == ("sequential",)
    files = {n: f for n, f in shards.manifest["files"].items() if "task=sequential" not in n}
    few = Shards(shards.folder, shards.manifest | {"files": files})
    assert TrainConfig().for_shards(few).tasks == ("topn", "explanation")
    with pytest.raises(PodError, match="has only topn, explanation samples; toy-popular is for se"):
        TrainConfig(model="toy-popular").for_shards(few)
    with pytest.raises(PodError, match="batch_size 2 cannot hold 3 tasks"):
        train(tmp_path / "run", shards, SMALL | {"schedule": "mixed", "batch_size": 2})


# The command line


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, RunConfig, bool]]:
    """What would have been trained: folders, options, whether resumed."""
    found: list[tuple[Path, RunConfig, bool]] = []

    def run(folder: Path, config: RunConfig, *_: Any, resume: bool) -> Any:
        found.append((folder, config, resume))
        return SimpleNamespace(summary=lambda: "done")

    monkeypatch.setattr(api, "train", run)
    return found


def called(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["fit", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_every_option_reaches_the_run(ran: list[Any], shards: Shards, tmp_path: Path) -> None:
    values = VALUES | {"device": "cpu", "model": "pod"}
    arguments: list[str] = []
    for name, value in values.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            arguments += [f"--{option}" if value else f"--no-{option}"]
        else:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            arguments += [f"--{option}", text]
    assert called(str(shards.folder), *arguments, "--out", str(tmp_path / "run")) == "done\n"
    assert ran == [(tmp_path / "run", make_config(values), False)]


def test_every_option_of_every_model_is_an_argument_with_its_words() -> None:
    arguments = dict(inspect.signature(command.fit).parameters)
    for name, field in FIELDS.items():
        assert arguments[name].default is None  # or a file could not say otherwise
        assert field.metadata["help"]
        assert arguments[name].annotation.__metadata__[0].help.startswith(field.metadata["help"])
    assert set(arguments) - set(FIELDS) == {"shards", "out", "seeds", "config", "resume"}
    shown = CliRunner().invoke(app, ["fit", "--help"], env={"COLUMNS": "200"}).output
    for name in FIELDS:
        assert f"--{name.replace('_', '-')}" in shown
    assert "[alternate|proportional|mixed]" in shown


def test_an_option_of_another_model_is_refused_in_a_line(shards: Shards, tmp_path: Path) -> None:
    arguments = ["fit", str(shards.folder), "--model", "toy-popular", "--id-digits", "2"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "run")])
    assert isinstance(done.exception, PodError)
    assert "toy-popular has no option id_digits; its own: none" in str(done.exception)
    assert not (tmp_path / "run").exists()


def test_a_file_and_several_seeds(ran: list[Any], shards: Shards, tmp_path: Path) -> None:
    file = toml(tmp_path, lr=0.002, epochs=7, seed=5, whole_word_embeddings=True, device="cpu")
    out = ["--out", str(tmp_path / "run"), "--resume"]
    called(
        str(shards.folder), "--config", str(file), "--seeds", "2", "--lr", "0.003",
        "--no-whole-word-embeddings", *out,
    )  # fmt: skip
    options = {"lr": 0.003, "epochs": 7, "whole_word_embeddings": False, "device": "cpu"}
    assert ran == [
        (tmp_path / "run" / f"seed-{seed}", make_config(options | {"seed": seed}), True)
        for seed in (5, 6)
    ]


# The processor


def test_a_gpu_that_is_not_there_is_told(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PodError, match=r"--device cuda: torch sees no GPU .*leave --device out"):
        choose_device("cuda")
    with pytest.raises(PodError, match="--device cuda"):
        train(tmp_path, shards, SMALL | {"device": "cuda"})
    with pytest.raises(PodError, match="--device tpu: choose among auto, cpu, cuda"):
        choose_device("tpu")
    assert choose_device("auto") == choose_device("cpu") == CPU
    assert not list(tmp_path.iterdir())


def test_each_process_takes_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 3)
    assert choose_device("cpu") == CPU
    monkeypatch.delenv("LOCAL_RANK")
    assert choose_device("auto") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(PodError, match="LOCAL_RANK is 4, and there are 4 GPUs here"):
        choose_device("auto")


def test_auto_is_fp32_where_torch_cannot_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_precision("auto", CPU) == "fp32"


@pytest.mark.parametrize("has", [True, False])
def test_auto_is_bf16_where_the_processor_has_it(
    has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": has}, raising=False)
    for device in (CPU, torch.device("cuda", 0)):
        assert choose_precision("auto", device) == ("bf16" if has else "fp32")
        assert choose_precision("fp32", device) == "fp32"
        assert choose_precision("bf16", device) == "bf16"


def test_products_have_the_precision_named() -> None:
    one = torch.ones(2, 2)
    with autocast("bf16", CPU):
        assert (one @ one).dtype == torch.bfloat16
    with autocast("fp32", CPU):
        assert (one @ one).dtype == torch.float32


def test_a_process_without_others_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_world(CPU) as own:
        assert own == World(0, 1)
        assert own.is_main
        own.wait()
    values = torch.ones(2)
    assert own.sum(values) is values
    assert not World(1, 2).is_main


# Bases

KINDS = ("scaled", "unscaled", "untied")
TWO = SMALL | {"tasks": ("sequential", "topn"), "batch_size": 16, "epochs": 1}  # two steps


def base_of(shards: Shards, **options: Any) -> bases.Base:
    config = make_config(TWO | options)
    return make_base(config.shared.for_shards(shards), config.model, shards)


@pytest.fixture(scope="module")
def t5s(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of a T5 each, as transformers saves it: t5, v1.1 tied and as Google trained it."""
    folder = tmp_path_factory.mktemp("t5s")
    logging.disable_progress_bar()
    tokenizer, _ = learn(shards, TASKS, 1)
    for kind in KINDS:
        torch.manual_seed(1)
        options: dict[str, Any] = {} if kind == "scaled" else {"tie_word_embeddings": False}
        config = T5Config(
            vocab_size=len(tokenizer) + 3, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2,
            decoder_start_token_id=0, **options,
        )  # fmt: skip
        t5 = T5ForConditionalGeneration(config)
        if kind == "untied":
            t5.lm_head.weight = torch.nn.Parameter(torch.randn(len(tokenizer) + 3, 16))
        t5.save_pretrained(folder / kind)
        tokenizer.save_pretrained(folder / kind)
        change(folder / kind / "config.json", **options)
    return folder


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize("kind", KINDS)
def test_a_t5_from_a_folder_is_trained_from_where_it_stands(
    kind: str, t5s: Path, shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    begun: list[Any] = []
    real = loop.Training.run_through

    def run_through(self: Any) -> Run:
        begun.append(self.run.model(LAST).eval())
        return real(self)

    monkeypatch.setattr(loop.Training, "run_through", run_through)
    run = train(tmp_path, shards, TWO | {"base": str(t5s / kind), "dropout": 0.25})
    before: Pod = begun[0].pod
    batch = next(begun[0].reader.split("topn", "valid").by_length(8))
    x = Inputs.of(batch, CPU)
    base = Pod(T5ForConditionalGeneration.from_pretrained(t5s / kind)).eval()
    base.soft_prompts, base.whole_word_embeddings = (
        before.soft_prompts,
        before.whole_word_embeddings,
    )
    assert before.t5.config.dropout_rate == 0.25
    with torch.no_grad():
        assert base(x).item() == before(x).item()
    after, state = read_checkpoint(tmp_path / LAST)
    assert state["step"] == 2
    assert ("pod.t5.lm_head.weight" in after) == (kind == "untied")
    for name, value in dict(begun[0].named_parameters()).items():
        if not name.endswith("share"):  # chosen by validation
            assert torch.equal(after[name], value) != value.requires_grad, name
    trained: Any = run.model(LAST).eval()
    with torch.no_grad():
        assert trained.pod(x) < base(x)
    # an item is written as its number
    items = trained.tokens.items(shards.n_items)
    assert [trained.tokens.text(items.row(i).tolist()) for i in range(len(items))] == [
        str(i) for i in range(1, shards.n_items + 1)
    ]


def test_a_base_of_ones_own_takes_its_ids_and_start(shards: Shards) -> None:
    whole, cut = base_of(shards), base_of(shards, id_digits=1)
    assert (whole.id_digits, whole.init, cut.id_digits, cut.init) == (0, "spectral", 1, "random")
    with pytest.raises(PodError, match=r"init spectral needs whole ids \(id_digits 0\)"):
        base_of(shards, id_digits=1, init="spectral")


@pytest.mark.parametrize(
    "option", [{"id_digits": 2}, {"init": "spectral"}, {"user_dropout": 0.5}], ids=str
)
def test_another_base_has_ids_and_start_of_its_own(
    option: dict[str, Any], t5s: Path, shards: Shards
) -> None:
    with pytest.raises(PodError, match=r"is for tiny, compact, small; .* comes with its own"):
        base_of(shards, base=str(t5s / "scaled"), **option)


def emptied(folder: Path, name: str) -> None:
    for file in folder.glob(name):
        file.unlink()


def written(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)


def cut(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-20])


def changed(folder: Path, **values: Any) -> None:
    change(folder / "config.json", **values)


def few(folder: Path) -> None:
    config = T5Config.from_pretrained(folder)
    config.vocab_size = 20
    T5ForConditionalGeneration(config).save_pretrained(folder)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "empty": partial(emptied, name="*"),
    "no config": partial(emptied, name="config.json"),
    "no weights": partial(emptied, name="model.safetensors"),
    "no tokenizer": partial(emptied, name="tokenizer*"),
    "config no JSON": partial(written, name="config.json", content=b"{"),
    "weights no tensors": partial(written, name="model.safetensors", content=b"x" * 40),
    "tokenizer no JSON": partial(written, name="tokenizer.json", content=b"{"),
    "tokenizer empty": partial(written, name="tokenizer.json", content=b"{}"),
    "weights cut": partial(cut, name="model.safetensors"),
    "unknown kind": partial(changed, model_type="t55"),
    "wrong shape": partial(changed, d_ff=48),
    "layers without weights": partial(changed, num_layers=2),
    "width no number": partial(changed, d_model="wide"),
    "more tokens than vectors": few,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_folder_that_is_no_t5_is_told(
    damage: str, t5s: Path, shards: Shards, tmp_path: Path
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(t5s / "scaled", folder)
    DAMAGE[damage](folder)
    with pytest.raises(PodError) as caught:
        train(tmp_path / "run", shards, TWO | {"base": str(folder)})
    message = str(caught.value)
    assert message.startswith(f"--base: the folder {folder} could not be loaded (")
    assert message.endswith("weights, or one of tiny, compact, small")
    assert "\n" not in message
    assert not (tmp_path / "run").exists()


def test_another_model_is_told(shards: Shards, tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(PodError, match=r"the folder .* is a bert, not a T5: name a T5, or one of"):
        base_of(shards, base=str(tmp_path))


@pytest.mark.parametrize("cached", [True, False])
def test_a_hub_that_cannot_be_reached_is_told(
    cached: bool, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route\nto the hub")

    monkeypatch.setattr(bases.AutoConfig, "from_pretrained", fail)
    monkeypatch.setattr(bases.HfApi, "model_info", lambda *_, **__: None if cached else fail())
    match = r"^--base: some/t5 on the hub could not be loaded \(no route\): check the name and the"
    with pytest.raises(PodError, match=match):
        base_of(shards, base="some/t5")


def test_what_was_asked_is_written_down(shards: Shards, tmp_path: Path) -> None:
    options = TWO | {"soft_prompt_length": 2, "lr": 1e-3, "seed": 3}
    train(tmp_path, shards, options)
    written = Run.open(tmp_path).config.flat()
    assert written == DEFAULTS | options | {"id_digits": 0, "init": "spectral"}
