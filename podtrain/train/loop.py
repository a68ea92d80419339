"""The loop: tasks in turn, one optimizer step a batch, a checkpoint to go on from."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podtrain.data.stream import Batch, TaskStream
from podtrain.recommenders.pod.model import Inputs, Pod
from podtrain.recommenders.pod.spectral import leave_fold_out, vectors_of
from podtrain.run import BEST, LAST, RUN, Run
from podtrain.train.checkpoint import OPTIMIZER, read_checkpoint, weights, write_checkpoint
from podtrain.train.config import FitConfig
from podtrain.train.device import autocast, choose_device, choose_precision
from podtrain.train.log import Window, forget_later_losses, write_loss
from podtrain.train.prefetch import prefetch
from podtrain.train.world import World

VALID_SAMPLES = 4_096  # of each task, at most; the same each time
VALID_BATCH = 256
CLIP = 1.0  # largest norm of a step's gradient
LOG_STEPS = 50
# Of a step, for items' vectors that start from purchases. At full pace they rank as well (NDCG@10
# .0456 for .0437 on Beauty's validation split, within noise), but the loss, by which training is
# stopped, soon grows (8.56 for 8.46 after 3 epochs).
ITEM_RATE = 0.03
SAVE_SECONDS = 300.0  # at least, between checkpoints within an epoch


@dataclass(slots=True)
class Progress:
    """Where training stands; what a checkpoint holds beside tensors."""

    step: int = 0
    best: float = float("inf")
    best_step: int = 0
    worse: int = 0  # validations in a row without a new best
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What the loop tells whoever watches. `losses`: latest of (event, task)."""

    step: int
    steps: int
    epoch: float
    losses: dict[tuple[str, str], float]
    samples_per_second: float


Watch = Callable[[Report], None]


def fit(
    folder: Path,
    config: FitConfig,
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
    device = choose_device(config.device)
    config = config.for_shards(shards)
    if world.is_main:
        _begin(folder, config, shards, resume)
    world.wait()
    return Fit(Run.open(folder), shards, world, device, watch, save_seconds).run_through()


def _begin(folder: Path, config: FitConfig, shards: Shards, resume: bool) -> None:
    """Make the run's folder, or check that what is there is the same run."""
    if not (folder / RUN).exists():
        Run.begin(folder, config, shards, asdict(Progress()))
        return
    if not resume:
        raise PodError(f"{folder} holds a run: go on with --resume, or name another with --out")
    run = Run.open(folder)
    if run.description["manifest_sha256"] != shards.sha256:
        raise PodError(f"{folder} was trained on another dataset than {shards.folder}: give that")
    own = asdict(run.config)
    for name, value in asdict(config).items():
        # how it is reached may change from one machine to the next
        if name not in ("device", "compile") and value not in (own[name], None, "auto"):
            raise PodError(
                f"{folder} has {name} = {own[name]}, not {value}: resume with the same options"
            )


class Fit:
    """A run being trained."""

    def __init__(
        self,
        run: Run,
        shards: Shards,
        world: World,
        device: torch.device,
        watch: Watch,
        save_seconds: float,
    ) -> None:
        self.run, self.world, self.device, self.watch = run, world, device, watch
        self.config, self.save_seconds = run.config, save_seconds
        self.tasks = self.config.tasks
        self.precision = choose_precision(self.config.precision, device)
        self.model = run.model(LAST).to(device).train()
        self.optimizer = _optimizer(self.model, self.config)
        self.progress = self._restore()
        reader = run.reader(shards)
        self.slow: list[Tensor] = []
        if self.config.init == "spectral":
            first = int(reader.tokens.items(1).values[0])
            leave_fold_out(self.model, vectors_of(shards, self.model.t5, self.config.seed), first)
            items = slice(first, first + shards.n_items)
            tables = (self.model.input_embedding, self.model.t5.shared.weight)
            self.slow = [table.data[items] for table in tables if table is not None]
        self.forward = (
            torch.compile(self.model, dynamic=True) if self.config.compile else self.model
        )
        self.streams = [
            TaskStream(reader, task, size, self.config.seed)
            for task, size in zip(self.tasks, self._sizes(), strict=True)
        ]
        self.valid = {task: reader.split(task, "valid", VALID_SAMPLES) for task in self.tasks}
        in_epoch = [stream.batches_in_epoch(0) for stream in self.streams]
        self.epoch_steps = max(in_epoch) if self.config.schedule == "mixed" else sum(in_epoch)
        self.steps = self.epoch_steps * self.config.epochs
        self.losses: dict[tuple[str, str], float] = {}

    def run_through(self) -> Run:
        """Train until the last epoch, or until `patience` validations brought nothing."""
        progress, saved = self.progress, time.monotonic()
        if self.world.is_main:
            forget_later_losses(self.run.folder, progress.step)
        window = Window()
        while not progress.finished:
            for parts in prefetch(self.batches(progress.step)):
                window.add(self.step(parts, progress.step), parts)
                progress.step += 1
                at_end = progress.step % self.epoch_steps == 0
                if not at_end and progress.step % LOG_STEPS:
                    continue
                self._log(window)
                window = Window()
                if at_end:
                    self._validate()
                # after a line of the log, so that a run that goes on from here writes the same
                if at_end or time.monotonic() - saved > self.save_seconds:
                    self._save()
                    saved = time.monotonic()
                if progress.finished:
                    break
        return self.run

    def _sizes(self) -> list[int]:
        """How many samples of each task a batch has."""
        size, n = self.config.batch_size, len(self.tasks)
        if self.config.schedule == "alternate":
            return [size] * n
        return [size // n + (i >= n - size % n) for i in range(n)]

    def batches(self, step: int) -> Iterator[list[Batch]]:
        """Yield what each step from `step` on trains on: a batch, or a part of each task."""
        n, mixed = len(self.tasks), self.config.schedule == "mixed"
        endless = [
            s.batches(
                step if mixed else (step - i + n - 1) // n,
                rank=self.world.rank,
                world_size=self.world.size,
            )
            for i, s in enumerate(self.streams)
        ]
        while True:
            yield [next(e) for e in endless] if mixed else [next(endless[step % n])]
            step += 1

    def step(self, parts: list[Batch], step: int) -> list[Tensor]:
        """Take one step; return each part's loss, summed over this rank's tokens."""
        # so that a step's dropout is a function of where it stands, and a checkpoint needs no state
        words = np.random.SeedSequence([self.config.seed, step, self.world.rank]).generate_state(2)
        torch.manual_seed(int(words[0]) << 31 ^ int(words[1]))
        rate = self._rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        tokens = sum(part.target_tokens for part in parts)
        losses = []
        for part in parts:
            # nothing at all, where a last batch is smaller than the number of ranks
            losses.append(torch.zeros((), device=self.device))
            x = Inputs.of(part, self.device)
            for micro_batch in self.model.micro_batches(x) if len(part.user_id) else ():
                with autocast(self.precision, self.device):
                    loss = self.forward(micro_batch)
                (loss / tokens).backward()
                losses[-1] += loss.detach()
        self.world.sum_gradients(self.model)
        held = [p for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in held if p.grad is not None])
        if not torch.isfinite(norm):  # before the weights take it up
            tasks, mean = ", ".join(part.task for part in parts), float(sum(losses)) / tokens
            raise PodError(
                f"step {step:,} ({tasks}) has a loss of {mean} and a gradient of {float(norm)}: "
                f"lower --lr or take --precision fp32; {self.run.folder} keeps what was before"
            )
        if norm > CLIP:
            torch.nn.utils.clip_grads_with_norm_(held, CLIP, norm)
        before = [rows.clone() for rows in self.slow]
        self.optimizer.step()
        for rows, old in zip(self.slow, before, strict=True):
            torch.lerp(old, rows, ITEM_RATE, out=rows)
        return losses

    def _rate(self, step: int) -> float:
        """Up in a line for the warm-up, then down in a line to nothing at the last step."""
        rising = max(1, round(self.config.warmup * self.steps))
        share = (step + 1) / rising
        if step >= rising:
            share = (self.steps - step) / max(1, self.steps - rising)
        return self.config.lr * share

    def _log(self, window: Window) -> None:
        found = window.means(self.world)
        for task, loss in found.items():
            self._write("train", task, loss)
        steps = self.progress.step
        self.watch(
            Report(steps, self.steps, steps / self.epoch_steps, dict(self.losses), window.speed())
        )

    @torch.inference_mode()
    def _validate(self) -> None:
        """Measure the loss on the fixed validation samples, keep the best weights."""
        self.model.eval()
        means = []
        for task, samples in self.valid.items():
            sums = torch.zeros(2, dtype=torch.float64, device=self.device)
            batches = list(samples.by_length(VALID_BATCH))
            for batch in batches[self.world.rank :: self.world.size]:
                with autocast(self.precision, self.device):
                    sums[0] += self.model(Inputs.of(batch, self.device))
                sums[1] += batch.target_tokens
            total, tokens = self.world.sum(sums).tolist()
            means.append(total / max(tokens, 1))
            self._write("valid", task, means[-1])
        self.model.train()
        mean, progress = float(np.mean(means)), self.progress
        self._write("valid", "all", mean)
        progress.worse += 1
        if mean < progress.best:
            progress.best, progress.best_step, progress.worse = mean, progress.step, 0
            if self.world.is_main:
                state = {"step": progress.step, "loss": mean}
                write_checkpoint(self.run.folder / BEST, weights(self.model), state)
        progress.finished = progress.worse >= self.config.patience or progress.step >= self.steps

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
                held = value if key == "step" else value.to(self.device)
                self.optimizer.state[own[of]][key] = held
        return Progress(**state)

    def _write(self, event: str, task: str, value: float) -> None:
        self.losses[event, task] = value
        if self.world.is_main:
            write_loss(self.run.folder, event, self.progress.step, task, value)


def _optimizer(model: Pod, config: FitConfig) -> torch.optim.AdamW:
    """AdamW; weights that multiply decay, vectors that stand for something do not."""
    matrices: list[Tensor] = []
    vectors: list[Tensor] = []
    for name, parameter in weights(model).items():
        multiplies = parameter.ndim == 2 and name.startswith("t5.") and "shared" not in name
        (matrices if multiplies else vectors).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)
