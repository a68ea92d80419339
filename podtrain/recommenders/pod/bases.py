"""What a model starts from: a small T5 of its own, or any T5 by folder or hub name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from transformers import AutoConfig, AutoTokenizer, T5Config, T5ForConditionalGeneration
from transformers.utils import logging

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podtrain.data.interactions import Interactions
from podtrain.data.tokenizer import MARK, default_id_digits, learn
from podtrain.recommenders.pod.model import Pod
from podtrain.recommenders.pod.options import PodOptions
from podtrain.recommenders.pod.spectral import start_from, vectors_of
from podtrain.train.config import TrainConfig

# By name, trained from scratch. small has the size of t5-small.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 1, "num_heads": 4},
    "compact": {"d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 1, "num_heads": 4},
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
}
# T5 initialises its embeddings with 1 and scales its output down by sqrt(d); vectors that long
# hardly move in the few steps in which an item occurs.
EMBEDDING_STD = 0.05
HUB_SECONDS = 10.0  # timeout of asking the hub whether it knows a name
OWN_ITEM, T5_ITEM = "item_{}", "{}"  # the published targets are bare digits


@dataclass(frozen=True, slots=True)
class Base:
    """A T5 with its tokenizer.

    render: how the model writes an item, its number in place of the braces; input_vocab_size: rows
    of a separate input embedding, 0 where the input shares T5's embedding with the output; start:
    initialises the whole model before training.
    """

    t5: T5ForConditionalGeneration
    tokenizer: Any
    render: str
    input_vocab_size: int
    id_digits: int | None
    init: str
    start: Callable[[Pod], None] | None = None


def make_base(config: TrainConfig, options: PodOptions, shards: Shards) -> Base:
    """Make the T5 that training starts from; weights are drawn from torch's generator.

    `config` names its tasks. Errors: `PodError` for a base that is no T5 or cannot be loaded, and
    for options that it does not take.
    """
    if options.base in SHAPES:
        return _own(config, options, shards)
    own = f"is for {', '.join(SHAPES)}; {options.base} comes with its own"
    if options.id_digits is not None:
        raise PodError(f"id_digits {own} tokenizer: leave it out")
    if options.user_dropout:
        raise PodError(f"user_dropout {own} tokenizer, which has no users' tokens: leave it out")
    if options.init not in ("auto", "random"):
        raise PodError(f"init {options.init} {own} weights: leave it out")
    t5, tokenizer = _pretrained(options.base, options.dropout)
    return Base(t5, tokenizer, T5_ITEM, 0, None, "auto")


def _own(config: TrainConfig, options: PodOptions, shards: Shards) -> Base:
    digits = default_id_digits(shards) if options.id_digits is None else options.id_digits
    init = ("random" if digits else "spectral") if options.init == "auto" else options.init
    if init == "spectral" and digits:
        raise PodError("init spectral needs whole ids (id_digits 0), one token an item")
    tokenizer, output_vocab_size = learn(shards, config.tasks, digits)
    values = {
        "vocab_size": output_vocab_size,
        "dropout_rate": options.dropout,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,  # transformers' way to say: tied, but do not scale outputs
    }
    shape = T5Config(**values, **SHAPES[options.base])
    t5 = T5ForConditionalGeneration(shape)
    torch.nn.init.normal_(t5.shared.weight, std=EMBEDDING_STD)
    t5.config.item_temperature = 0.0 if digits else options.temperature
    start = None
    if init == "spectral":
        first = tokenizer.get_vocab()[f"{MARK}item_1"]

        def start(model: Pod) -> None:
            vectors = vectors_of(shards, model.t5, config.seed)
            start_from(model, vectors, Interactions.read(shards), first, EMBEDDING_STD)

    return Base(t5, tokenizer, OWN_ITEM, len(tokenizer), digits, init, start)


def empty_t5(shape: dict[str, Any], *, tied: bool) -> T5ForConditionalGeneration:
    """Return a T5 of a shape as `describe` has it, its weights to be loaded."""
    config = T5Config.from_dict(shape)
    config.scale_decoder_outputs = shape["scale_decoder_outputs"]
    config.item_temperature = shape.get("item_temperature", 0.0)
    t5 = T5ForConditionalGeneration(config)
    if not tied:  # transformers ties what it makes, not always what it loads
        t5.lm_head.weight = torch.nn.Parameter(t5.lm_head.weight.detach().clone())
    return t5


def _pretrained(name: str, dropout: float) -> tuple[T5ForConditionalGeneration, Any]:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    here = Path(name).is_dir()
    # a folder stays a folder, and nothing that comes with a model is run
    local: Any = {"local_files_only": here, "trust_remote_code": False}
    where = f"the folder {name}" if here else f"{name} on the hub"
    try:
        if not here and not isinstance(try_to_load_from_cache(name, "config.json"), str):
            HfApi().model_info(name, timeout=HUB_SECONDS)  # one answer, where loading tries long
        config = AutoConfig.from_pretrained(name, **local)
        if config.model_type != "t5":
            raise PodError(
                f"--base: {where} is a {config.model_type}, not a T5: name a T5, "
                f"or one of {', '.join(SHAPES)}"
            )
        config.dropout_rate = dropout
        tokenizer = AutoTokenizer.from_pretrained(name, **local)
        loaded: Any = T5ForConditionalGeneration.from_pretrained(
            name, config=config, **local, dtype=torch.float32, output_loading_info=True
        )
        t5, loading = loaded
        if missing := sorted(loading["missing_keys"]):
            raise ValueError(f"its weights lack {missing[0]}")
        if "12" not in tokenizer.decode(
            tokenizer("item_12", add_special_tokens=False)["input_ids"]
        ):
            raise ValueError("it has no tokenizer that knows letters and digits")
        if len(tokenizer) > config.vocab_size:
            raise ValueError(
                f"its tokenizer has {len(tokenizer):,} tokens, its embedding {config.vocab_size:,}"
            )
    except PodError:
        raise
    except Exception as error:  # the hub's client and the loaders raise a hundred kinds
        first = str(error).strip().split("\n")[0]
        raise PodError(
            f"--base: {where} could not be loaded ({first}): check the name and the network, give "
            f"a folder with config.json, tokenizer and weights, or one of {', '.join(SHAPES)}"
        ) from None
    return t5, tokenizer
