"""Time the stream: samples a second from Parquet into ready batches, and the share of pads.

usage: python -m bench.stream [--shards DIR] [--digits 0,1] [--json FILE]

One process, seconds of the processor, the median of three runs (an epoch each, several where they
are short), the tokenizer that podtrain learns from the shards. The reference tokenises and pads
whole prompts (bench/reference/stream.py), its samples held in memory beforehand; ours reads and
unpacks its files in the time shown. Without --shards the sample is built. Its epochs are too short
for few pads: 430 sequences are 7 batches, which have 16% pads when sorted from the shortest to the
longest, and no other way to make batches of 64 has fewer.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from bench.figures import Figure, arguments, show
from bench.reference.stream import Collate, PromptDataset, loader
from podprep.contract.shards import Shards
from podprep.engine import Machine
from podprep.raw.sample import write_sample
from podprep.recipe.inputs import Inputs as BuildInputs
from podprep.recipe.options import BuildOptions
from podprep.recipe.pipeline import build
from podprep.recipe.templates import load_templates
from podtrain.data.stream import COLUMNS, SampleTokenizer, TaskStream
from podtrain.data.tokenizer import learn
from podtrain.data.tokens import Tokens
from podtrain.recommenders.pod.model import Inputs

BATCH = 64
RUNS = 3
RUN_SAMPLES = 20_000  # at least
REFERENCE_ROWS = {"sequential": 6_400, "topn": 1_280, "explanation": 6_400}  # half a second each
# what the issue asks: times the reference, samples a second, share of pads
TIMES = 10.0
RATE = {"sequential": 30_000.0, "topn": 5_000.0, "explanation": None}
PADS = {"sequential": 0.05, "topn": 0.02, "explanation": None}
CPU = torch.device("cpu")


@dataclass(slots=True)
class Counted:
    """What went by. bytes: of all tensors; pads, places: of prompts and targets."""

    samples: int = 0
    pads: int = 0
    places: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Samples a second of the processor."""
        return self.samples / self.seconds

    @property
    def share(self) -> float:
        """The share of places that are pads."""
        return self.pads / self.places


def counted(batches: Iterator[dict[str, Tensor]]) -> Counted:
    """Draw all batches; only the drawing is timed."""
    found = Counted()
    while True:
        start = time.process_time()
        batch = next(batches, None)
        found.seconds += time.process_time() - start
        if batch is None:
            return found
        found.samples += len(batch["user"])
        found.places += batch["mask"].numel() + batch["labels"].numel()
        found.pads += int((~batch["mask"]).sum() + (batch["labels"] < 0).sum())


def ours(stream: TaskStream) -> Callable[[], Iterator[dict[str, Tensor]]]:
    """Return what yields the next epochs, each time it is called."""
    endless = stream.batches()
    batches = stream.batches_in_epoch(0)
    batches *= -(-RUN_SAMPLES // (batches * stream.batch_size))

    def run() -> Iterator[dict[str, Tensor]]:
        for batch in islice(endless, batches):
            x = Inputs.of(batch, CPU)
            yield {
                "ids": x.ids,
                "whole_word_ids": x.whole_word_ids,
                "mask": x.mask,
                "labels": x.labels,
                "user": x.user,
            }

    return run


def least(shards: Shards, task: str, batches: list[dict[str, Tensor]]) -> float:
    """Return samples a second of unpacking the columns and copying the ready batches, no more."""
    start = time.process_time()
    rows = sum(shards.table(f, COLUMNS).num_rows for f in shards.sample_files(task, "train"))
    unpacking = (time.process_time() - start) / rows
    start = time.process_time()
    for batch in batches:
        for tensor in batch.values():
            tensor.clone()
    copying = (time.process_time() - start) / sum(len(b["user"]) for b in batches)
    return float(1 / (unpacking + copying))


def task_figures(shards: Shards, tokenizer: Any, task: str, ids: str) -> Iterator[Figure]:
    """Yield the figures of one task with one vocabulary; `ids` says how it cuts ids."""
    start = time.process_time()
    reader = SampleTokenizer(shards, Tokens(tokenizer, "item_{}"), tokenizer.eos_token_id)
    stream = TaskStream(reader, task, BATCH, seed=0)
    run = ours(stream)
    batches = run()
    first = next(batches)
    cold = time.process_time() - start
    dataset = PromptDataset(shards, task, most=REFERENCE_ROWS[task])
    closed = reader.items_need_end or task == "explanation"
    plain, plainer = (Collate(tokenizer, task, closed, whole_words=w) for w in (True, False))
    floor = least(shards, task, [first, *batches])
    runs = [
        (counted(run()), *(counted(loader(dataset, c, BATCH, n)) for c in (plain, plainer)))
        for n in range(RUNS)
    ]
    own, reference, without = zip(*runs, strict=True)
    rate = statistics.median(c.rate for c in own)
    yield Figure(
        part="stream",
        work=f"{task}, {ids}",
        unit="samples/s",
        ours=rate,
        reference=statistics.median(c.rate for c in reference),
        asked=TIMES,
        floor=floor,
        floor_of="unpacking the columns, a plain copy of the ready batches",
        note="without whole-word numbers the reference makes "
        f"{statistics.median(c.rate for c in without):,.0f} a second",
    )
    if RATE[task]:
        yield Figure("stream", f"{task}, {ids}: alone", "samples/s", rate, asked=RATE[task])
    yield Figure("stream", f"{task}, {ids}: first batch, no word seen", "s", cold, note="processor")
    share = statistics.median(c.share for c in own)
    random = statistics.median(c.share for c in reference)
    yield Figure(
        part="padding",
        work=f"{task}, {ids}",
        unit="share of tokens",
        ours=share,
        asked=PADS[task],
        note=f"{stream.batches_in_epoch(0):,} batches an epoch; made at random: {random:.1%}",
    )


def figures(shards: Shards, digits: tuple[int, ...] = (0,)) -> list[Figure]:
    """Return the figures of every task. `digits`: of an id's piece, as `podtrain fit` takes it."""
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    found: list[Figure] = []
    for n in digits:
        tokenizer, _ = learn(shards, shards.tasks, n)
        ids = f"ids cut, {n} digit(s)" if n else "ids whole"
        for task in shards.tasks:
            found += task_figures(shards, tokenizer, task, ids)
    return found


@contextmanager
def dataset(folder: Path | None) -> Iterator[tuple[Shards, Path]]:
    """Yield a dataset, the sample where none is named, and an empty folder."""
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        if folder:
            yield Shards.open(folder), work
            return
        write_sample(work / "sample.json.gz")
        inputs = BuildInputs(
            dataset="sample",
            options=BuildOptions(),
            templates=load_templates(),
            dump=work / "sample.json.gz",
        )
        machine = Machine(threads=1, memory=1 << 30)
        build(inputs, machine, work / "shards", progress=lambda *_: None)
        yield Shards.open(work / "shards"), work


def main() -> None:
    """Run and print one table."""
    parser = arguments(__doc__)
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--digits", default="0", help="with commas; 0: ids whole")
    args = parser.parse_args()
    digits = tuple(int(n) for n in args.digits.split(","))
    with dataset(args.shards) as (shards, _):
        show(figures(shards, digits), args.json)


if __name__ == "__main__":
    main()
