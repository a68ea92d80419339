"""The folder of a run: what it was made with, its weights, what it said.

run.json             config, dataset, model, versions
tokenizer/           the tokenizer, as transformers saves it
last.safetensors     weights and optimizer, to go on from
best.safetensors     the weights of the lowest mean validation loss
metrics.jsonl        losses, as training goes on; read by sql/views_run.sql
predictions/, ranks/, results.json    what podtrain evaluate found
"""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podtrain import __version__
from podtrain.data.stream import SampleTokenizer
from podtrain.data.tokens import Tokens
from podtrain.recommenders.pod.bases import make_base
from podtrain.recommenders.pod.model import Pod
from podtrain.train.checkpoint import load_weights, read_checkpoint, weights, write_checkpoint
from podtrain.train.config import FitConfig

RUN, LAST, BEST, METRICS = "run.json", "last.safetensors", "best.safetensors", "metrics.jsonl"
RUN_VERSION = 2


@dataclass(slots=True)
class Run:
    """A run that was begun. `description` is run.json."""

    folder: Path
    description: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Read run.json. Errors: `PodError` for no run, or one of another version."""
        path = folder / RUN
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
            found = description["run_version"]
            if found == RUN_VERSION:
                FitConfig(**description["config"])
        except OSError:
            raise PodError(
                f"{folder} is no run (it has no {RUN}): make one with podtrain fit"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise PodError(f"{path} is damaged: train again with podtrain fit") from None
        if found != RUN_VERSION:
            raise PodError(
                f"{path} has version {found}, this podtrain reads {RUN_VERSION}: train again"
            )
        return cls(folder, description)

    @classmethod
    def begin(cls, folder: Path, config: FitConfig, shards: Shards, state: dict[str, Any]) -> "Run":
        """Make the model, write it with a state to go on from; run.json comes last.

        `config` names its tasks.
        """
        torch.manual_seed(config.seed)
        base = make_base(config, shards)
        model = Pod(
            base.t5,
            soft_prompt_length=config.prompts,
            whole_words=config.whole_words,
            input_vocab_size=base.input_vocab_size,
            user_dropout=config.user_dropout,
        )
        if base.start is not None:
            base.start(model)
        inputs = shards.manifest["inputs"]
        description = {
            "run_version": RUN_VERSION,
            "config": asdict(config) | {"id_digits": base.id_digits, "init": base.init},
            "shards": str(shards.folder.resolve()),
            "dataset": inputs["dataset"],
            "reading": shards.protocol,
            "manifest_sha256": shards.sha256,
            "parameters": sum(p.numel() for p in model.parameters()),
            "model": {
                "t5": base.t5.config.to_dict()
                | {"scale_decoder_outputs": base.t5.config.scale_decoder_outputs},
                "input_vocab_size": base.input_vocab_size,
                "tied": base.t5.lm_head.weight is base.t5.shared.weight,
                "render": base.render,
            },
            "versions": {"podtrain": __version__}
            | {name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
        }
        folder.mkdir(parents=True, exist_ok=True)
        base.tokenizer.save_pretrained(folder / "tokenizer")
        write_checkpoint(folder / LAST, weights(model), state)
        write_json(folder / RUN, description)
        return cls(folder, description)

    @property
    def config(self) -> FitConfig:
        """The resolved config."""
        return FitConfig(**self.description["config"])

    def summary(self) -> str:
        """Say in one line how training ended."""
        _, state = read_checkpoint(self.folder / LAST)
        ended = "the last epoch" if state["worse"] < self.config.patience else "no more gain"
        return (
            f"{self.folder}: {state['step']:,} steps ({ended}), best mean validation loss "
            f"{state['best']:.4f} at step {state['best_step']:,}; podtrain evaluate {self.folder}"
        )

    def empty_model(self) -> Pod:
        """Return a model of the run's shape, weights undefined."""
        shape = self.description["model"]
        t5_config = T5Config.from_dict(shape["t5"])
        t5_config.scale_decoder_outputs = shape["t5"]["scale_decoder_outputs"]
        t5 = T5ForConditionalGeneration(t5_config)
        if not shape["tied"]:  # transformers ties what it makes, not always what it loads
            t5.lm_head.weight = torch.nn.Parameter(t5.lm_head.weight.detach().clone())
        return Pod(
            t5,
            soft_prompt_length=self.config.prompts,
            whole_words=self.config.whole_words,
            input_vocab_size=shape["input_vocab_size"],
            user_dropout=self.config.user_dropout,
        )

    def model(self, which: str = BEST) -> Pod:
        """Return the trained model, ready to use. Errors: `PodError` as `read_checkpoint`."""
        tensors, _ = read_checkpoint(self.folder / which)
        model = self.empty_model()
        load_weights(model, tensors, self.folder / which)
        return model.eval()

    def tokens(self) -> Tokens:
        """Return the run's tokenizer. Errors: `PodError` if it cannot be read."""
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.folder / "tokenizer")
        except (OSError, ValueError):
            raise PodError(f"{self.folder / 'tokenizer'} is damaged: train again") from None
        return Tokens(tokenizer, self.description["model"]["render"])

    def shards(self, folder: Path | None = None) -> Shards:
        """Open the dataset of the run, or where it lies now.

        Errors: `PodError` if there is none, or another one.
        """
        where = folder or Path(self.description["shards"])
        if folder is None and not where.is_dir():
            raise PodError(f"the dataset of this run is no longer at {where}: say where, --shards")
        shards = Shards.open(where)
        if shards.sha256 != self.description["manifest_sha256"]:
            raise PodError(
                f"{where} is not the dataset that {self.folder} was trained on: name that one "
                "with --shards, or train on this one with podtrain fit"
            )
        return shards

    def reader(self, shards: Shards) -> SampleTokenizer:
        """Return what tokenises samples for the run's model."""
        return make_reader(shards, self.tokens(), self.description["model"]["t5"]["eos_token_id"])


def make_reader(shards: Shards, tokens: Tokens, end: int) -> SampleTokenizer:
    """Return a reader after checking, on samples of each task, that words stay apart."""
    for task in shards.tasks:
        table = shards.table(shards.sample_files(task, "train")[0], ["prompt"])
        tokens.check(table["prompt"].slice(0, 8).to_pylist())
    return SampleTokenizer(shards, tokens, end)


def write_json(path: Path, value: Any) -> None:
    """Write JSON such that a reader sees the old file or the new one."""
    half = path.with_name(f".{path.name}.writing")
    try:
        half.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        half.replace(path)
    except OSError as error:
        raise PodError(f"{path} could not be written: {error.strerror or error}") from None
