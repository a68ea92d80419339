"""Time training: samples a second, three tasks in turn, T5-small's size, batches of 64.

usage: python -m bench.train [--shards DIR] [--base small] [--turns 2] [--json FILE]

Both loops start from the same weights and train on the same round of the same shards, one after
the other in one process; a step is everything from the text to the new weights. Twice: ids whole,
as podtrain reads them, and digit by digit, which is near to what T5's own vocabulary makes of
them (423 tokens a top-N prompt instead of 108). A turn is a step of each task. The floor counts the
products of matrices that no way of computing this model can do without, tokens without pads, at
the speed of one large product on this machine. Batches are typical ones of 64 drawn; drawing them
is timed, too.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from bench.figures import Figure, arguments, show, timed
from bench.reference.stream import Collate, PromptDataset, loader
from bench.reference.train import Trainer
from bench.stream import dataset
from podprep.contract.shards import Shards
from podtrain.data.stream import Batch
from podtrain.recommenders.pod.model import Inputs, Pod
from podtrain.run import LAST, Run
from podtrain.train.config import RunConfig, make_config
from podtrain.train.loop import Progress, Training
from podtrain.train.world import World

T = TypeVar("T")
BATCH = 64
TIMES = 3.0  # asked for
CPU = torch.device("cpu")
DRAWN = 64  # batches of a task, of which the typical ones are timed
LENGTHS = (32, 64, 128, 256, 512)


@dataclass(frozen=True, slots=True)
class Speed:
    """Wall seconds of a step of each task."""

    seconds: dict[str, float]

    @property
    def rate(self) -> float:
        """Samples a second, tasks in turn."""
        return BATCH * len(self.seconds) / sum(self.seconds.values())


def products() -> float:
    """Return floating-point operations a second of a large product of matrices."""
    one, other = torch.randn(2_048, 2_048), torch.randn(2_048, 2_048)
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        one @ other
        best = min(best, time.perf_counter() - start)
    return 2 * 2_048**3 / best


def operations(model: Pod, batch: Batch) -> float:
    """Count the floating-point operations of a step that no way can do without: forward, twice
    that backward, no pads; keys and values of a prompt only where many queries ask."""
    config = model.t5.config
    d, inner, ff = config.d_model, config.num_heads * config.d_kv, config.d_ff
    prompt = batch.mask.sum(1) + model.soft_prompts.shape[1]
    target = (batch.labels >= 0).sum(1)
    token = 4 * d * inner + 2 * d * ff  # multiplications of a token in a layer
    encoder = config.num_layers * (prompt * token + 2 * inner * prompt**2).sum()
    made = prompt * 2 * d * inner + 2 * inner * prompt * target
    asked = target * (2 * inner * d + 2 * prompt * d * config.num_heads)
    cross = target * 2 * d * inner + (made if made.sum() < asked.sum() else asked)
    own = target * token + inner * target * (target + 1)
    decoder = config.num_decoder_layers * (own + cross).sum()
    words = (target * d * len(model.t5.lm_head.weight)).sum()
    return float(3 * 2 * (encoder + decoder + words))


def ours(run: Run, turns: int) -> tuple[Speed, float]:
    """Time podtrain's own loop; return the operations of a turn, too."""
    training = Training(run, World(), CPU, lambda _: None, float("inf"))
    model: Any = training.model
    found, count = {}, 0.0
    for task, stream in zip(run.tasks, model.schedule.streams, strict=True):
        batches, drawing = drawn(stream.batches())
        seconds = []
        for batch in typical(batches, partial(operations, model.pod), turns):
            start = time.perf_counter()
            float(training.step([batch], 0)[0])
            seconds.append(time.perf_counter() - start + drawing)
        found[task] = statistics.mean(seconds[-turns:])
        count += statistics.mean(operations(model.pod, batch) for batch in batches)
    return Speed(found), count


def theirs(run: Run, shards: Shards, turns: int) -> Speed:
    """Time the reference from the same weights."""
    model: Any = run.model(LAST)
    trainer, reader = Trainer(model.pod, run.config.shared.lr), model.reader
    found = {}
    for task in run.tasks:
        closed = reader.items_need_end or task == "explanation"
        samples = PromptDataset(shards, task, most=BATCH * DRAWN)
        collate = Collate(reader.tokens.tokenizer, task, closed)
        batches, drawing = drawn(loader(samples, collate, BATCH))
        seconds = []
        for batch in typical(batches, _places, turns):
            start = time.perf_counter()
            float(trainer.step(task, batch))
            seconds.append(time.perf_counter() - start + drawing)
        found[task] = statistics.mean(seconds[-turns:])
    return Speed(found)


def plain_config(shards: Shards, **options: Any) -> RunConfig:
    """Return the options under which both sides train the same thing: POD as published, T5 alone
    and items among all tokens."""
    plain = {"init": "random", "temperature": 0.0, "memory": False, "plan": False}
    config = make_config(plain | {"device": "cpu"} | options)
    return RunConfig(config.shared.for_shards(shards), config.model)


def drawn(batches: Iterator[T]) -> tuple[list[T], float]:
    """Return some full batches, and the seconds that drawing one took."""
    start = time.perf_counter()
    found = list(islice(batches, DRAWN))
    return found[: max(1, len(found) - 1)], (time.perf_counter() - start) / len(found)


def typical(batches: list[T], cost: Callable[[T], float], turns: int) -> list[T]:
    """Return as many batches of nearly the mean cost, and one more before them, to warm up.

    Batches of ours are of equal length and so differ from each other: a few drawn at random may
    all be short.
    """
    costs = [cost(batch) for batch in batches]
    mean = statistics.mean(costs)
    order = sorted(range(len(batches)), key=lambda i: abs(costs[i] - mean))
    nearest = [batches[order[i % len(order)]] for i in range(turns)]
    return [min(zip(costs, batches, strict=True), key=lambda pair: pair[0])[1], *nearest]


def _places(batch: dict[str, Tensor]) -> float:
    return float(batch["mask"].numel() + batch["labels"].numel())


def by_length(run: Run, samples: int = 16) -> Iterator[Figure]:
    """Time forward and backward passes over random prompts of a task and one target each."""
    made: Any = [run.model(LAST).train() for _ in range(2)]
    own, other = (model.pod for model in made)
    trainer = Trainer(other, run.config.shared.lr)
    words = len(own.t5.lm_head.weight)
    for length in LENGTHS:
        x = Inputs(
            task="topn",
            user=torch.zeros(samples, dtype=torch.long),
            ids=torch.randint(3, words, (samples, length)),
            whole_word_ids=torch.zeros(samples, length, dtype=torch.long),
            mask=torch.ones(samples, length, dtype=torch.bool),
            labels=torch.randint(3, words, (samples, 1)),
        )
        batch = {
            "ids": x.ids,
            "whole_word_ids": x.whole_word_ids,
            "mask": x.mask,
            "labels": x.labels,
        }
        yield Figure(
            part="training by length",
            work=f"{length} tokens",
            unit="ms/step",
            ours=1e3 * timed(partial(_pass, own, x), 2),
            reference=1e3 * timed(lambda b=batch: trainer.loss("topn", b).backward(), 2),
            note=f"batches of {samples}, without the optimizer",
        )


def _pass(model: Pod, x: Inputs) -> None:
    for micro_batch in model.micro_batches(x):
        model(micro_batch).backward()


def figures(shards: Shards, base: str, turns: int, work: Path) -> list[Figure]:
    """Return the figures for ids whole and cut, and of the two ways as people would take them."""
    found = []
    floors, speeds = {}, {}
    rate = products()
    for digits, ids in ((0, "ids whole"), (1, "ids by digit")):
        config = plain_config(shards, base=base, id_digits=digits, batch_size=BATCH)
        run = Run.begin(work / ids, config, shards, asdict(Progress()))
        own, count = ours(run, turns if not digits else 1)
        other = theirs(run, shards, turns if not digits else 1)
        floor = BATCH * len(own.seconds) * rate / count
        floors[digits], speeds[digits] = floor, (own, other)
        found.append(
            Figure(
                part="training",
                work=f"three tasks in turn, {ids}",
                unit="samples/s",
                ours=own.rate,
                reference=other.rate,
                asked=TIMES,
                floor=floor,
                floor_of=f"{count / 1e12:.2f} Tflop a turn at {rate / 1e9:.0f} Gflop/s",
            )
        )
        found += [
            Figure("training step", f"{task}, {ids}", "s", seconds, other.seconds[task])
            for task, seconds in own.seconds.items()
        ]
    found += by_length(Run.open(work / "ids whole"))
    found.append(
        Figure(
            part="training",
            work="podtrain's ids whole, the reference's by digit: not the same model",
            unit="samples/s",
            ours=speeds[0][0].rate,
            reference=speeds[1][1].rate,
            floor=floors[0],
            floor_of="as for ids whole",
        )
    )
    return found


def main() -> None:
    """Run and print."""
    parser = arguments(__doc__)
    parser.add_argument("--shards", type=Path, help="a dataset; without, the sample is built")
    parser.add_argument("--base", default="small")
    parser.add_argument("--turns", type=int, default=2)
    args = parser.parse_args()
    with dataset(args.shards) as (shards, work):
        show(figures(shards, args.base, args.turns, work), args.json)


if __name__ == "__main__":
    main()
