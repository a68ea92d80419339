"""What bench/device.sh asks of a GPU: how fast is a step, does a whole run work.

usage: python -m bench.device build  --work DIR [--device cpu]
       python -m bench.device step   --work DIR --json FILE [--device cpu]
       python -m bench.device beauty --work DIR --json FILE [--device cpu] [--seconds 200]
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import podprep
import podtrain
from bench.build import BEAUTY, marked, write_copies
from podprep.contract.shards import Shards
from podprep.raw.sample import write_sample
from podtrain.recommenders.queries import Pairs, held_out
from podtrain.recommenders.ranking import batch_size, candidates_of
from podtrain.run import BEST, LAST, METRICS, Run
from podtrain.train.checkpoint import read_checkpoint
from podtrain.train.config import RunConfig, make_config
from podtrain.train.device import choose_device
from podtrain.train.loop import Progress, Report, Training, train
from podtrain.train.prefetch import prefetch
from podtrain.train.world import World

ROOT = Path(__file__).parent.parent
# Dense bf16, flop/s, by the vendor; the first name that the card's own contains counts.
PEAKS = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989.4e12,
    "H200": 989.4e12,
    "A100": 312e12,
}
TWICE_STEPS = 40  # of the run that is trained twice, to see whether it is the same to the bit


def say(words: str) -> None:
    """Print a line at once."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def build(work: Path, tiny: bool) -> None:
    """Build $BEAUTY_DUMP, or the sample copied to the size of Beauty; tiny: the sample."""
    if tiny:
        podprep.build("sample", out=work / "shards", rounds=2)
        return
    dump = os.environ.get("BEAUTY_DUMP")
    if not dump:
        write_sample(work / "sample.gz")
        dump = str(write_copies(marked(work / "sample.gz"), BEAUTY, work / "dump.json.gz"))
    podprep.build("beauty", raw=dump, out=work / "shards", rounds=16)


def peak_of(card: str) -> float | None:
    """Return a card's dense bf16 peak in flop/s, None where it is not known."""
    return next((peak for name, peak in PEAKS.items() if name in card), None)


class Clock:
    """Seconds of a device: it is waited for before and after."""

    def __init__(self, device: str) -> None:
        self.device = device

    def wait(self) -> None:
        """Wait until the device has nothing left to do."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object]) -> float:
        """Return how long some work takes, to its end on the device."""
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start


def step(work: Path, device: str, peak: float | None, tiny: bool) -> dict[str, Any]:
    """Measure training steps of each task in bf16, the whole loop, and what a trained model does.

    utilisation: the flop that torch counts in a step, pads included, by the step's seconds and the
    card's peak.
    """
    shards, clock = Shards.open(work / "shards"), Clock(device)
    card = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    peak = peak or peak_of(card)
    options = {
        "base": "tiny" if tiny else "small",
        "batch_size": 8 if tiny else 64,
        "precision": "bf16",
        "device": device,
    }
    config = make_config(options)
    config = RunConfig(config.shared.for_shards(shards), config.model)
    run = Run.begin(work / "step", config, shards, asdict(Progress()))
    training = Training(run, World(), choose_device(device), lambda _: None, float("inf"))
    model: Any = training.model
    found: dict[str, Any] = {
        "card": card,
        "peak_tflops": peak and peak / 1e12,
        "torch": torch.__version__,
        "options": options,
        "parameters": run.description["parameters"],
        "matmul_tflops": _product(clock, 512 if tiny else 8_192) / 1e12,
        "tasks": {},
    }
    warm, timed = (1, 1) if tiny else (8, 24)
    for task in run.tasks:
        of_task = (batch for [batch] in model.batches(0, World()) if batch.task == task)
        batches = list(islice(of_task, warm + timed))
        for batch in batches[:warm]:
            training.step([batch], 0)
        flop = sum(map(_counter(training), batches[warm:]))
        seconds = clock.seconds(partial(_steps, training, batches[warm:]))
        found["tasks"][task] = {
            "prompt_tokens": sum(b.ids.shape[1] for b in batches[warm:]) / timed,
            "target_tokens": sum(b.labels.shape[1] for b in batches[warm:]) / timed,
            "milliseconds": 1e3 * seconds / timed,
            "samples_per_second": config.shared.batch_size * timed / seconds,
            "tflop": flop / timed / 1e12,
            "tflops": flop / seconds / 1e12,
            "utilisation": flop / seconds / peak if peak else None,
            "kernels": _profile(training, batches[warm], device),
        }
        say(f"{task}: {_line(found['tasks'][task])}")
    steps = 3 if tiny else 150
    source = prefetch(model.batches(0, World()))

    def loop() -> None:
        for n, batches in enumerate(islice(source, steps)):
            training.step(batches, n)

    seconds = clock.seconds(loop)
    source.close()
    found["loop_samples_per_second"] = config.shared.batch_size * steps / seconds
    found["answers"] = _answers(model.eval(), clock, tiny)
    if device == "cuda":
        found["most_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    found["same_to_the_bit"] = _twice(work, shards, device, 6 if tiny else TWICE_STEPS)
    say(_line({name: value for name, value in found.items() if name != "tasks"}))
    return found


def _steps(training: Training, batches: list[Any]) -> None:
    for batch in batches:
        training.step([batch], 0)


def _product(clock: Clock, n: int) -> float:
    """Return flop/s of a large bf16 product."""
    one, other = (torch.randn(n, n, device=clock.device).bfloat16() for _ in range(2))
    for _ in range(3):
        one @ other
    return 2 * n**3 * 10 / clock.seconds(lambda: [one @ other for _ in range(10)])


def _counter(training: Training) -> Callable[[Any], float]:

    def count(batch: Any) -> float:
        with FlopCounterMode(display=False) as counter:
            training.step([batch], 0)
        return float(counter.get_total_flops())

    return count


def _profile(training: Training, batch: Any, device: str) -> dict[str, Any]:
    """Return how many kernels a step launches, how long they take, and the longest."""
    if device != "cuda":
        return {}

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        training.step([batch], 0)
    kernels = [e for e in seen.key_averages() if _is_kernel(e)]
    kernels.sort(key=lambda e: -e.self_device_time_total)
    return {
        "launched": sum(e.count for e in kernels),
        "milliseconds": sum(e.self_device_time_total for e in kernels) / 1e3,
        "longest": {e.key[:80]: e.self_device_time_total / 1e3 for e in kernels[:10]},
    }


def _is_kernel(event: Any) -> bool:
    named = getattr(event, "is_user_annotation", False)  # a span of kernels, not one
    return str(event.device_type).endswith("CUDA") and not named


def _answers(model: Any, clock: Clock, tiny: bool) -> dict[str, float]:
    """Return users and sentences a second."""
    queries, _ = held_out(model.purchases, "valid")
    queries = queries.take(np.arange(min(len(queries), 64 if tiny else 2_048)))
    among = candidates_of(model.shards, "valid", queries.user_id)
    numbers = np.arange(1, 5 if tiny else 257)
    pairs = Pairs(numbers, numbers, None)

    parts = partial(queries.batches, batch_size(model.n_items))
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "t5_catalogue": (len(queries), lambda: [model.t5_scores(some) for _, some in parts()]),
        "memory_catalogue": (
            len(queries),
            lambda: [model.memory.scores(some) for _, some in parts()],
        ),
        "candidates": (
            len(queries),
            lambda: [model.t5_candidate_scores(some, among[rows]) for rows, some in parts()],
        ),
        "explanations": (len(pairs), lambda: model.texts(pairs)),
    }
    found = {}
    for name, (n, way) in ways.items():
        if not tiny:
            way()
        found[f"{name}_per_second"] = n / clock.seconds(way)
    return found


def _twice(work: Path, shards: Any, device: str, steps: int) -> bool:
    """Return whether a run that is trained twice comes to the same weights, bit for bit."""
    config = make_config({"base": "tiny", "precision": "fp32", "device": device})
    config = RunConfig(config.shared.for_shards(shards), config.model)
    Run.begin(work / "twice0", config, shards, asdict(Progress()))
    shutil.copytree(work / "twice0", work / "twice1")
    ends = []
    for n in range(2):
        run = Run.open(work / f"twice{n}")
        training = Training(run, World(), choose_device(device), lambda _: None, float("inf"))
        for at, batches in enumerate(islice(training.model.batches(0, World()), steps)):
            training.step(batches, at)
        training._save()
        ends.append(read_checkpoint(run.folder / LAST)[0])
    return all(torch.equal(ends[1][name], tensor) for name, tensor in ends[0].items())


class _TimeUpError(Exception):
    pass


def beauty(work: Path, device: str, seconds: float, tiny: bool) -> dict[str, Any]:
    """Train Beauty's recipe from scratch, to its end or as far as the time goes; evaluate it."""
    given: dict[str, Any] = {"device": device}
    if tiny:
        given |= {"base": "tiny", "epochs": 1}
    config = make_config(given, ROOT / "bench" / "beauty.toml")
    folder, start = work / "beauty", time.perf_counter()

    def watch(report: Report) -> None:
        took = time.perf_counter() - start
        told = {"/".join(key): round(value, 4) for key, value in report.values.items()}
        say(f"{took:.0f} s, step {report.step} of {report.steps}: {json.dumps(told)}")
        if took > seconds:
            raise _TimeUpError

    ended = "the end"
    try:
        train(folder, config, Shards.open(work / "shards"), World(), watch)
    except _TimeUpError:
        ended = f"{seconds:.0f} s were over: run it again with more --seconds for the rest"
    took, lines = time.perf_counter() - start, (folder / METRICS).read_text().splitlines()
    found: dict[str, Any] = {
        "ended": ended,
        "seconds": took,
        "dump": os.environ.get("BEAUTY_DUMP") or "copies of the sample",
        "config": config.flat(),
        "metrics": [json.loads(line) for line in lines],
    }
    if (folder / BEST).exists():
        start = time.perf_counter()
        run: Run = podtrain.load(folder)
        found["results"] = {
            task: [[row.name, row.exclude_seen, row.metrics] for row in result.rows]
            for task, result in run.evaluate("test").items()
        }
        found["evaluated_in"] = time.perf_counter() - start
        for task, rows in found["results"].items():
            for name, exclude, values in rows:
                say(f"{task}, {name}, bought items left out {exclude}: {_line(values)}")
    say(f"trained for {took:.0f} s, to {ended}")
    return found


def _line(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
        if value is not None and name != "kernels"
    )


def main() -> None:
    """Do what is asked, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["build", "step", "beauty"])
    parser.add_argument("--work", type=Path, default=Path("device-work"))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--peak", type=float, help="dense bf16 Tflop/s of a card not in the table")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    tiny = args.device == "cpu"
    if args.part == "build":
        build(args.work, tiny)
        return
    if args.part == "step":
        found = step(args.work, args.device, args.peak and args.peak * 1e12, tiny)
    else:
        found = beauty(args.work, args.device, args.seconds, tiny)
    if args.json:
        text = json.dumps(found, indent=1, default=str)
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
