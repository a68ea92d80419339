"""The training loop: one optimizer step a batch, a checkpoint to go on from.

It knows the model as a `Trainable` and nothing else: what a batch is, and how its loss comes
about, are the model's.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from podprep.contract.errors import PodError
from podprep.contract.manifest import MANIFEST
from podprep.contract.shards import Shards
from podtrain.recommenders.base import TrainableRecommender
from podtrain.recommenders.queries import Ints, Queries, held_out
from podtrain.recommenders.ranking import candidates_of
from podtrain.run import BEST, LAST, RUN, Run
from podtrain.train.checkpoint import OPTIMIZER, read_checkpoint, weights, write_checkpoint
from podtrain.train.config import RunConfig
from podtrain.train.device import autocast, choose_device, choose_precision
from podtrain.train.log import Window, forget_later_lines, write_metric
from podtrain.train.prefetch import prefetch
from podtrain.train.world import World

VALID_USERS = 4_096  # ranked at each validation, at most; the same each time
CLIP = 1.0  # largest norm of a step's gradient
LOG_STEPS = 50
SMALL = 2_000_000  # parameters
SAVE_SECONDS = 300.0  # at least, between checkpoints within an epoch


@dataclass(slots=True)
class Progress:
    """Where training stands; what a checkpoint holds beside tensors.

    best: the highest score of a validation (see `Training.validate`), at best_step; worse: how
    many validations in a row have not passed it; reason: why training has ended.
    """

    step: int = 0
    best: float = -1.0
    best_step: int = 0
    worse: int = 0
    finished: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What the loop tells whoever watches. values: the latest of (event, task, name)."""

    step: int
    steps: int
    epoch: float
    values: dict[tuple[str, str, str], float]
    samples_per_second: float


Watch = Callable[[Report], None]


def train(
    folder: Path,
    config: RunConfig,
    shards: Shards,
    world: World,
    watch: Watch,
    *,
    resume: bool = False,
    save_seconds: float = SAVE_SECONDS,
) -> Run:
    """Train a run to its end.

    Errors: `PodError` where a run is already there (without `resume`) or is another's, where the
    loss is no number, or for anything of the shards that does not hold.
    """
    device = choose_device(config.shared.device)
    config = RunConfig(config.shared.for_shards(shards), config.model)
    if world.is_main:
        _begin(folder, config, shards, resume)
    world.wait()
    run = Run.open(folder, shards=shards.folder)
    with _threads(run, device):
        return Training(run, world, device, watch, save_seconds).run_through()


@contextmanager
def _threads(run: Run, device: torch.device) -> Iterator[None]:
    """Train a small model on one thread: on two they wait for each other.

    tiny on the sample, on two busy cores: 22 to 34 samples a second on two threads, 66 to 450 on
    one.
    """
    before = torch.get_num_threads()
    if device.type == "cpu" and run.description["parameters"] < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin(folder: Path, config: RunConfig, shards: Shards, resume: bool) -> None:
    """Make the run's folder, or check that what is there is the same run."""
    if (folder / MANIFEST).exists():
        raise PodError(f"{folder} is a dataset: name another folder with --out")
    if folder.exists() and not folder.is_dir():
        raise PodError(f"{folder} is a file: name a folder with --out")
    if not (folder / RUN).exists():
        Run.begin(folder, config, shards, asdict(Progress()))
        return
    if not resume:
        raise PodError(f"{folder} holds a run: go on with --resume, or name another with --out")
    run = Run.open(folder)
    if run.description["manifest_sha256"] != shards.sha256:
        raise PodError(f"{folder} was trained on another dataset than {shards.folder}: give that")
    own = run.config.flat()
    for name, value in config.flat().items():
        # how it is reached may change from one machine to the next
        if name not in ("device", "compile") and value not in (own.get(name), None, "auto"):
            raise PodError(
                f"{folder} has {name} = {own.get(name)}, not {value}: resume with the same options"
            )


@dataclass(frozen=True, slots=True)
class RankedUsers:
    """The users whose held-out items a validation ranks, for one task."""

    queries: Queries
    targets: Ints
    candidates: Ints | None = field(default=None)


class Training:
    """A run being trained."""

    def __init__(
        self, run: Run, world: World, device: torch.device, watch: Watch, save_seconds: float
    ) -> None:
        self.run, self.world, self.device, self.watch = run, world, device, watch
        self.config, self.save_seconds = run.config.shared, save_seconds
        self.precision = choose_precision(self.config.precision, device)
        self.model: TrainableRecommender = run.model(LAST).to(device).train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameter_groups(), lr=self.config.lr, fused=True
        )
        self.progress = self._restore()
        compiled: Any = torch.compile(self.model, dynamic=True) if self.config.compile else None
        self.model.begin_training()
        self.forward = compiled or self.model
        self.ranked = {task: self._ranked(task) for task in run.tasks if task != "explanation"}
        self.epoch_steps = self.model.epoch_steps
        self.steps = self.epoch_steps * self.config.epochs
        self.values: dict[tuple[str, str, str], float] = {}

    def run_through(self) -> Run:
        """Train until the last epoch, or until `patience` validations brought nothing."""
        progress, saved = self.progress, time.monotonic()
        if self.world.is_main:
            forget_later_lines(self.run.folder, progress.step)
        window = Window()
        while not progress.finished:
            for batches in prefetch(self.model.batches(progress.step, self.world)):
                window.add(self.step(batches, progress.step), batches)
                progress.step += 1
                at_end = progress.step % self.epoch_steps == 0
                if not at_end and progress.step % LOG_STEPS:
                    continue
                self._log(window)
                window = Window()
                if at_end:
                    self.validate()
                # after a line of the log, so that a run that goes on from here writes the same
                if at_end or time.monotonic() - saved > self.save_seconds:
                    self._save()
                    saved = time.monotonic()
                if progress.finished:
                    break
        return self.run

    def step(self, batches: list[Any], step: int) -> list[Tensor]:
        """Take one step; return each batch's loss, summed over this process's targets."""
        # so that a step's dropout is a function of where it stands, and a checkpoint needs no state
        words = np.random.SeedSequence([self.config.seed, step, self.world.rank]).generate_state(2)
        torch.manual_seed(int(words[0]) << 31 ^ int(words[1]))
        rate = self._learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        n_targets = sum(batch.n_targets for batch in batches)
        losses = []
        for batch in batches:
            # nothing at all, where a last batch is smaller than the number of processes
            losses.append(torch.zeros((), device=self.device))
            for micro_batch in self.model.micro_batches(batch) if len(batch) else ():
                with autocast(self.precision, self.device):
                    loss = self.forward(micro_batch)
                (loss / n_targets).backward()
                losses[-1] += loss.detach()
        self.world.sum_gradients(self.model)
        held = [p for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in held if p.grad is not None])
        length = float(norm)  # the one time in a step that this process waits for a GPU's answer
        if not math.isfinite(length):  # before the weights take it up
            tasks = ", ".join(batch.task for batch in batches)
            mean = float(torch.stack(losses).sum()) / n_targets
            raise PodError(
                f"step {step:,} ({tasks}) has a loss of {mean} and a gradient of {length}: "
                f"lower --lr or take --precision fp32; {self.run.folder} keeps what was before"
            )
        if length > CLIP:
            torch.nn.utils.clip_grads_with_norm_(held, CLIP, norm)
        self.model.take_step(self.optimizer)
        return losses

    def _learning_rate(self, step: int) -> float:
        """Up in a line for the warm-up, then down in a line to nothing at the last step."""
        rising = max(1, round(self.config.warmup * self.steps))
        share = (step + 1) / rising
        if step >= rising:
            share = (self.steps - step) / max(1, self.steps - rising)
        return self.config.lr * share

    def _log(self, window: Window) -> None:
        for task, loss in window.means(self.world).items():
            self._write("train", task, "loss", loss)
        step = self.progress.step
        self.watch(
            Report(step, self.steps, step / self.epoch_steps, dict(self.values), window.speed())
        )

    @torch.inference_mode()
    def validate(self) -> None:
        """Measure losses and ranks on the fixed validation samples, keep the best weights.

        Best is the highest geometric mean, over the tasks, of what each is for: NDCG@10 without
        bought items for those that rank, and exp(-loss), the mean probability of a word, for
        explanations. It has no scale, so that no task drowns another.
        """
        self.model.eval()
        scores = []
        for task in self.run.tasks:
            loss = self._validation_loss(task)
            self._write("valid", task, "loss", loss)
            score = math.exp(-loss)
            if task in self.ranked:
                score = self._validation_ndcg(task)
                self._write("valid", task, "ndcg@10", score)
            scores.append(score)
        self.model.train()
        score = math.exp(sum(math.log(max(s, 1e-12)) for s in scores) / len(scores))
        self._write("valid", "all", "score", score)
        progress = self.progress
        progress.worse += 1
        if score > progress.best or self.config.keep == "last":
            progress.best, progress.best_step, progress.worse = score, progress.step, 0
            if self.world.is_main:
                state = {"step": progress.step, "score": score}
                write_checkpoint(self.run.folder / BEST, weights(self.model), state)
        if progress.step >= self.steps:
            progress.reason = "the last epoch"
        elif progress.worse >= self.config.patience and self.config.keep == "best":
            progress.reason = f"no gain in {progress.worse} validations"
        progress.finished = bool(progress.reason)

    def _validation_loss(self, task: str) -> float:
        """Return the mean loss over the targets of the validation samples."""
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        for n, batch in enumerate(self.model.validation_batches(task)):
            if n % self.world.size != self.world.rank:
                continue
            for micro_batch in self.model.micro_batches(batch):
                with autocast(self.precision, self.device):
                    sums[0] += self.model(micro_batch)
            sums[1] += batch.n_targets
        total, targets = self.world.sum(sums).tolist()
        return float(total / max(targets, 1))

    def _validation_ndcg(self, task: str) -> float:
        """Return the mean NDCG@10 of the validation users, bought items left out."""
        known = self.ranked[task]
        rows = np.arange(self.world.rank, len(known.queries), self.world.size)
        among = None if known.candidates is None else known.candidates[rows]
        return self.model.validation_ndcg(
            known.queries.take(rows), known.targets[rows], among, self.world
        )

    def _ranked(self, task: str) -> RankedUsers:
        queries, targets = held_out(self.model.purchases, "valid")
        if len(queries) > VALID_USERS:
            rows = np.linspace(0, len(queries) - 1, VALID_USERS).astype(np.int64)
            queries, targets = queries.take(rows), targets[rows]
        among = None
        if task == "topn":
            among = candidates_of(self.model.shards, "valid", queries.user_id)
        return RankedUsers(queries, targets, among)

    def _save(self) -> None:
        if not self.world.is_main:
            return
        tensors = weights(self.model)
        for name, parameter in list(tensors.items()):
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"{OPTIMIZER}{key}/{name}"] = value
        write_checkpoint(self.run.folder / LAST, tensors, asdict(self.progress))

    def _restore(self) -> Progress:
        tensors, state = read_checkpoint(self.run.folder / LAST)
        own = weights(self.model)
        for name, value in tensors.items():
            if name.startswith(OPTIMIZER):
                _, key, of = name.split("/", 2)
                # the fused AdamW wants its step where the parameter is, too
                self.optimizer.state[own[of]][key] = value.to(self.device)
        return Progress(**state)

    def _write(self, event: str, task: str, name: str, value: float) -> None:
        self.values[event, task, name] = value
        if self.world.is_main:
            write_metric(self.run.folder, event, self.progress.step, task, name, value)
