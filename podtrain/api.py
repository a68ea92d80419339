"""The library: what the commands do, as functions.

import podtrain
run = podtrain.fit("shards", out="runs/a", base="tiny", epochs=2)
run.recommend(users=[7], n=5)
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podtrain.data.stream import Batch, SampleTokenizer, TaskStream
from podtrain.data.tokenizer import default_id_digits, learn
from podtrain.data.tokens import Tokens
from podtrain.evaluate.comparison import compare_runs
from podtrain.evaluate.evaluate import Results, evaluate_baselines
from podtrain.metrics.compare import Comparison
from podtrain.recommenders.registry import Entry, entries
from podtrain.run import Run
from podtrain.train.config import RunConfig, make_config
from podtrain.train.device import choose_device
from podtrain.train.loop import Watch, train
from podtrain.train.world import World, join_world

Watched = Callable[[World, Path], AbstractContextManager[Watch]]


class TrainingShards(Shards):
    """A dataset as training reads it."""

    def batches(
        self,
        task: str,
        *,
        tokenizer: Any = None,
        batch_size: int = 64,
        epoch: int = 0,
        seed: int = 0,
    ) -> Iterator[Batch]:
        """Yield the training batches of one epoch of a task, as numpy arrays.

        tokenizer: any of transformers that keeps words apart; None: one that is learned from the
        training split, with users and items whole. Errors: `PodError` for a task without samples.

        >>> batch = next(podtrain.open("shards").batches("sequential", batch_size=8))
        >>> len(batch), batch.ids.shape == batch.mask.shape
        (8, True)
        """
        if task not in self.tasks:
            raise PodError(f"{self.folder} has {', '.join(self.tasks)} samples, none of {task}")
        if tokenizer is None:
            tokens = Tokens(learn(self, self.tasks, default_id_digits(self))[0], "item_{}")
        else:
            tokens = Tokens(tokenizer)
        reader = SampleTokenizer(self, tokens, int(tokens.tokenizer.eos_token_id))
        stream = TaskStream(reader, task, batch_size, seed)
        first = sum(map(stream.batches_in_epoch, range(epoch)))
        endless = stream.batches(first)
        return (next(endless) for _ in range(stream.batches_in_epoch(epoch)))


def open_shards(folder: Path | str) -> TrainingShards:
    """Open a dataset: its seal is checked, its files are hashed before they are read.

    >>> podtrain.open("shards").tasks
    ('sequential', 'topn', 'explanation')
    """
    return TrainingShards.open(folder)


def fit(
    shards: Path | str,
    out: Path | str | None = None,
    *,
    config: Path | str | None = None,
    resume: bool = False,
    watch: Watch | None = None,
    **options: Any,
) -> Run:
    """Train a run and return it; options as `podtrain fit` has them, such as `epochs=2`.

    out: runs/DATASET by default; config: a TOML file of options, which the others overrule; watch:
    called with a `Report` now and then. Errors: `PodError` as the command.

    >>> run = podtrain.fit("shards", out="runs/b", base="tiny", tasks="sequential", epochs=1)
    >>> run.status
    'finished'
    """
    own = make_config(options, Path(config) if config else None)
    found = fit_seeds(
        shards, out, own, 1, resume=resume, watched=lambda *_: nullcontext(watch or _no)
    )
    return found[0]


def fit_seeds(
    shards: Path | str,
    out: Path | str | None,
    config: RunConfig,
    seeds: int,
    *,
    resume: bool,
    watched: Watched,
) -> list[Run]:
    """Train one run, or several that differ in their seed, in OUT/seed-N.

    watched: makes what is called with each report, for a process and a folder.
    """
    dataset = Shards.open(shards)
    folder = Path(out) if out else Path("runs") / dataset.name.replace("/", "-")
    runs = []
    with join_world(choose_device(config.shared.device)) as world:
        for n in range(seeds):
            seed = config.shared.seed + n
            own = RunConfig(replace(config.shared, seed=seed), config.model)
            where = folder if seeds == 1 else folder / f"seed-{seed}"
            with watched(world, where) as watch:
                runs.append(train(where, own, dataset, world, watch, resume=resume))
    return runs


def load(run: Path | str, *, shards: Path | str | None = None, device: str = "auto") -> Run:
    """Open a run: its weights are loaded once, when it is first asked.

    shards: where its dataset lies now, if it was moved.

    >>> run = podtrain.load("runs/a")
    >>> run.recommend([7, 9], n=3).shape
    (6, 7)
    >>> run.recommend(histories=[[1, 2, 3]], n=1)["user_id"].to_list()  # somebody new
    [0]
    >>> run.evaluate(tasks=["sequential"])["sequential"].rows[0].name
    'model'
    """
    return Run.open(run, shards=shards, device=device)


def compare(
    runs: list[Run | Path | str],
    *,
    metric: str = "ndcg@10",
    task: str = "sequential",
    split: str = "test",
    method: str = "exact",
) -> list[Comparison]:
    """Compare runs with the first, user by user: see `podtrain.evaluate.comparison`.

    >>> for name in ("runs/a", "runs/c"):
    ...     found = podtrain.load(name).evaluate(tasks=["sequential"])
    >>> [c.verdict for c in podtrain.compare(["runs/a", "runs/c"])]
    ['within noise', 'within noise']
    """
    first, others = compare_runs(runs, task=task, split=split, metric=metric, method=method)
    return [first, *others]


def baselines(shards: Path | str, split: str = "test") -> dict[str, Results]:
    """Evaluate what needs no model, by task.

    >>> [row.name for row in podtrain.baselines("shards")["explanation"].rows][:2]
    ['frequent-sentence', 'item-sentence']
    """
    return evaluate_baselines(Shards.open(shards), split)


def models() -> list[Entry]:
    """Return every recommender there is, those that are trained first.

    >>> [m.name for m in podtrain.models()][0]
    'pod'
    """
    return entries()


def _no(_: Any) -> None:
    """Watch nothing."""
