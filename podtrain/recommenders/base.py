"""The seam for models: all that evaluation, comparison, reports and serving know of one.

A new recommender is one class and one line, `@register`; see tests/test_seam.py for ten lines
that are trained, evaluated, compared, reported and asked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podtrain.data.interactions import Interactions
from podtrain.data.sequences import SequenceStream
from podtrain.metrics.ranking import per_user
from podtrain.recommenders.queries import Floats, Ints, Pairs, Queries
from podtrain.recommenders.ranking import gathered, rank
from podtrain.train.config import TrainConfig
from podtrain.train.options import Options
from podtrain.train.world import World


@runtime_checkable
class Recommender(Protocol):
    """Scores items for users, and may explain.

    name: as `podtrain models` lists it; tasks: what it can be asked, of `contract.tasks.TASKS`;
    n_items: the catalogue has items 1 to this.
    """

    @property
    def name(self) -> str: ...
    @property
    def tasks(self) -> frozenset[str]: ...
    @property
    def n_items(self) -> int: ...

    def scores(self, queries: Queries) -> Floats:
        """Return (queries, items), the larger the better; column k is item k + 1."""
        ...

    def candidate_scores(self, queries: Queries, candidates: Ints) -> Floats:
        """Return (queries, C) for candidates (queries, C), padded with 0: -inf there."""
        ...

    def texts(self, pairs: Pairs) -> list[str]:
        """Return a sentence for each pair. Errors: `PodError` where `tasks` has no explanation."""
        ...

    def components(self) -> "Mapping[str, Recommender]":
        """Return the parts that can be asked on their own, by what tables call them."""
        ...


class BatchLike(Protocol):
    """What the loop asks of a batch: its task, its samples, and targets in the whole batch."""

    @property
    def task(self) -> str: ...
    @property
    def n_targets(self) -> int: ...
    def __len__(self) -> int: ...


class Trainable(Recommender, Protocol):
    """What the training loop knows beside `torch.nn.Module`."""

    @property
    def epoch_steps(self) -> int:
        """How many steps an epoch has: training is validated after each."""
        ...

    def batches(self, step: int, world: World) -> Iterator[list[Any]]:
        """Yield what each step from `step` on trains on: batches, this process's part of each."""
        ...

    def validation_batches(self, task: str) -> Iterator[Any]:
        """Yield the validation samples of a task, the same each time."""
        ...

    def loss(self, batch: Any) -> Tensor:
        """Return the loss of a micro-batch, summed over its targets."""
        ...

    def micro_batches(self, batch: Any) -> Iterator[Any]:
        """Cut a batch into what `loss` takes at a time, on the model's device."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters in groups, as optimizers take them."""
        ...

    def take_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Move the weights along their gradients."""
        ...

    def begin_training(self) -> None:
        """Make what only training needs."""

    def validation_ndcg(
        self, queries: Queries, targets: Ints, candidates: Ints | None, world: World
    ) -> float:
        """Return the mean NDCG@10 of validation users, bought items left out.

        candidates: of top-N; None: all items are ranked. A model may choose here what it has left
        to be chosen on validation. The users are one process's part; the mean is over all.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return what `restore` needs to make the model again, as JSON."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOptions(Options):
    """The options of a model that has none of its own."""


class ScoresItems:
    """The defaults of a recommender: candidates are gathered, nothing is explained."""

    name: ClassVar[str]
    tasks: frozenset[str] = frozenset({"sequential", "topn"})

    def scores(self, queries: Queries) -> Floats:
        """See `Recommender.scores`."""
        raise NotImplementedError

    def candidate_scores(self, queries: Queries, candidates: Ints) -> Floats:
        """Take the candidates' scores out of those of all items."""
        return gathered(self.scores(queries), candidates)

    def texts(self, pairs: Pairs) -> list[str]:  # noqa: ARG002
        """Refuse: this recommender does not explain."""
        raise PodError(
            f"{self.name} was not trained to explain: train a model with --tasks explanation too"
        )

    def components(self) -> Mapping[str, Recommender]:
        """Return none."""
        return {}


class TrainableRecommender(ScoresItems, nn.Module):
    """The base of trained models; a subclass gives `loss`, `scores` and its layers.

    By default it is trained on the users' sequences of training purchases
    (`podtrain.data.sequences`), by AdamW with weight decay on matrices.
    """

    options_class: ClassVar[type] = NoOptions

    def __init__(self, config: TrainConfig, options: Any, shards: Shards) -> None:
        """`config` names its tasks."""
        super().__init__()
        self.config, self.options, self.shards = config, options, shards
        self.purchases = Interactions.read(shards)
        self._sequences: SequenceStream | None = None

    @classmethod
    def create(cls, config: TrainConfig, options: Any, shards: Shards) -> Self:
        """Make a model to train; weights are drawn from torch's generator."""
        return cls(config, options, shards)

    @classmethod
    def restore(
        cls,
        config: TrainConfig,
        options: Any,
        shards: Shards,
        folder: Path,  # noqa: ARG003
        description: dict[str, Any],  # noqa: ARG003
    ) -> Self:
        """Make a model of a run again, its weights still to be loaded."""
        return cls.create(config, options, shards)

    @property
    def n_items(self) -> int:
        """How many items the catalogue has."""
        return self.shards.n_items

    def resolved_options(self) -> dict[str, Any]:
        """Return the options that a default has left to the model, as they came out."""
        return {}

    def save_assets(self, folder: Path) -> None:
        """Write what the model needs beside its weights into the folder of its run."""

    def begin_training(self) -> None:
        """Make what only training needs."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def sequences(self) -> SequenceStream:
        """The stream of id sequences, for models that are trained on them."""
        if self._sequences is None:
            self._sequences = SequenceStream(
                self.purchases, self.config.batch_size, self.config.seed
            )
        return self._sequences

    @property
    def epoch_steps(self) -> int:
        """How many steps an epoch has."""
        return self.sequences.batches_in_epoch

    def batches(self, step: int, world: World) -> Iterator[list[Any]]:
        """Yield batches of id sequences."""
        return ([batch] for batch in self.sequences.batches(step, world.rank, world.size))

    def validation_batches(self, task: str) -> Iterator[Any]:
        """Yield batches of the validation purchases, each with its history."""
        return self.sequences.held_out("valid", task)

    def loss(self, batch: Any) -> Tensor:
        """See `Trainable.loss`."""
        raise NotImplementedError

    def forward(self, batch: Any) -> Tensor:
        """Return `loss`: what torch.compile compiles."""
        return self.loss(batch)

    def micro_batches(self, batch: Any) -> Iterator[Any]:
        """Take the batch whole."""
        yield batch.to(self.device)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return matrices that multiply, which decay, and all else, which does not."""
        embeddings = {id(m.weight) for m in self.modules() if isinstance(m, nn.Embedding)}
        decayed: list[Tensor] = []
        others: list[Tensor] = []
        for parameter in self.parameters():
            matrix = parameter.ndim >= 2 and id(parameter) not in embeddings
            (decayed if matrix else others).append(parameter)
        return [
            {"params": decayed, "weight_decay": self.config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]

    def take_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the optimizer's step."""
        optimizer.step()

    def validation_ndcg(
        self, queries: Queries, targets: Ints, candidates: Ints | None, world: World
    ) -> float:
        """Return the mean NDCG@10: there is nothing to choose."""
        ways = rank(self, queries, targets, candidates=candidates)
        _, ndcg = per_user(ways[candidates is None].ranks, 10)
        total = torch.tensor([ndcg.sum(), len(queries)], dtype=torch.float64, device=self.device)
        summed, users = world.sum(total).tolist()
        return float(summed / max(users, 1))

    def describe(self) -> dict[str, Any]:
        """Return nothing: config, options and dataset make the model again."""
        return {}
