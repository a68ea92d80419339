"""Time training: samples a second, three tasks in turn, T5-small's size, batches of 64.

usage: python -m bench.train [--shards DIR] [--base small] [--turns 2] [--json FILE]

Both loops start from the same weights and train on the same round of the same shards, one after
the other in one process; a step is everything from the text to the new weights. Twice: ids whole,
as podtrain reads them, and digit by digit, which is near to what T5's own vocabulary makes of
them (423 tokens a top-N prompt instead of 108). A turn is a step of each task. The floor counts the
products of matrices that no way of computing this model can do without, tokens without pads, at
the speed of one large product on this machine.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.figures import Figure, arguments, show
from bench.reference.stream import Collate, PromptDataset, loader
from bench.reference.train import Trainer
from bench.stream import sample
from podtrain.config import FitConfig
from podtrain.data.shards import Shards
from podtrain.data.stream import Batch
from podtrain.model.pod import Pod
from podtrain.train.ahead import ahead
from podtrain.train.loop import Fit, Progress
from podtrain.train.parallel import Ranks
from podtrain.train.run import LAST, Run

BATCH = 64
TIMES = 3.0  # asked for
CPU = torch.device("cpu")


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
    prompt = batch.mask.sum(1) + model.prompts.shape[1]
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


def ours(run: Run, shards: Shards, turns: int) -> tuple[Speed, float]:
    """Time podtrain's own loop; return the operations of a turn, too."""
    fit = Fit(run, shards, Ranks(), CPU, lambda _: None, float("inf"))
    steps = ahead(fit.batches(0))
    seconds: dict[str, list[float]] = {}
    count = 0.0
    for step in range(-1, len(fit.tasks) * turns):
        start = time.perf_counter()
        parts = next(steps)
        losses = fit.step(parts, max(step, 0))
        float(losses[0])
        if step >= 0:
            seconds.setdefault(parts[0].task, []).append(time.perf_counter() - start)
            count += operations(fit.model, parts[0]) / turns
    return Speed({task: sum(s) / len(s) for task, s in seconds.items()}), count


def theirs(run: Run, shards: Shards, turns: int) -> Speed:
    """Time the reference from the same weights."""
    trainer = Trainer(run.model(LAST), run.config.lr)
    reader = run.reader(shards)
    tokenizer = reader.tokens.tokenizer

    def endless(task: str) -> Iterator[dict[str, Tensor]]:
        closed = reader.items_end or task == "explanation"
        samples = PromptDataset(shards, task, most=BATCH * 40)
        while True:
            yield from loader(samples, Collate(tokenizer, task, closed), BATCH)

    streams = {task: endless(task) for task in run.config.tasks}
    trainer.step(run.config.tasks[0], next(streams[run.config.tasks[0]]))
    seconds = dict.fromkeys(streams, 0.0)
    for _ in range(turns):
        for task, stream in streams.items():
            start = time.perf_counter()
            float(trainer.step(task, next(stream)))
            seconds[task] += (time.perf_counter() - start) / turns
    return Speed(seconds)


def figures(shards: Shards, base: str, turns: int, work: Path) -> list[Figure]:
    """Return the figures for ids whole and cut, and of the two ways as people would take them."""
    found = []
    floors, speeds = {}, {}
    rate = products()
    for digits, ids in ((0, "ids whole"), (1, "ids by digit")):
        config = FitConfig(base=base, id_digits=digits, init="random", batch_size=BATCH)
        run = Run.begin(work / ids, config.for_shards(shards), shards, asdict(Progress()))
        own, count = ours(run, shards, turns if not digits else 1)
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


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    options = arguments(__doc__)
    options.add_argument("--shards", type=Path, help="a dataset; without, the sample is built")
    options.add_argument("--base", default="small")
    options.add_argument("--turns", type=int, default=2)
    return options


def main() -> None:
    """Run and print."""
    args = parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shards = Shards.open(args.shards) if args.shards else sample(work)
        show(figures(shards, args.base, args.turns, work), args.json)


if __name__ == "__main__":
    main()
