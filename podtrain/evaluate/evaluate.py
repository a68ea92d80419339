"""Evaluation of a run: each task of a split, beside the baselines that need no model."""

import os
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from podprep.contract.errors import PodError
from podprep.contract.schema import EXPLANATIONS
from podprep.contract.shards import Shards
from podtrain.data.interactions import Interactions
from podtrain.evaluate.files import write_lists, write_ranks, write_results, write_texts
from podtrain.evaluate.published import published_name
from podtrain.metrics.compare import compare
from podtrain.metrics.ranking import (
    per_user,
    pod_ranking_metrics,
    rank_lists,
    ranking_metrics,
)
from podtrain.metrics.text import text_metrics
from podtrain.recommenders.base import Recommender
from podtrain.recommenders.queries import Floats, Ints, Pairs, Queries, held_out
from podtrain.recommenders.ranking import BATCH, Ranked, Watch, candidates_of, rank
from podtrain.recommenders.registry import entries
from podtrain.run import LIBRARIES, Run
from podtrain.train.device import choose_precision

TOP = 10  # items kept of each list, as in the published code
BEST_BASELINE = "item-knn"  # whose lists are kept too, so that SQL can set the model beside them


@runtime_checkable
class Searches(Protocol):
    """A recommender that also answers as the published code did, by beams over its own words."""

    def search(
        self, queries: Queries, n: int, *, method: str, beams: int, candidates: Ints | None
    ) -> tuple[Ints, Floats, int]:
        """Return items (queries, n), scores, and how many items were drawn at random."""
        ...

    def cut_references(self, references: list[str]) -> list[str]:
        """Return references as the published evaluation cuts them."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table of results.

    kind: model, component (a part of the model on its own) or baseline; method: exact, beam or
    pod; exclude_seen: whether bought items are left out; n: users, or pairs explained.
    """

    name: str
    kind: str
    metrics: dict[str, float]
    n: int
    seconds: float
    method: str = "exact"
    exclude_seen: bool = False
    random_items: int = 0

    @property
    def label(self) -> str:
        """How files of the row are called: exact, exclude-seen, beam, item-knn and so on."""
        name = self.method if self.kind == "model" else self.name
        if not self.exclude_seen:
            return name
        return "exclude-seen" if name == "exact" else f"{name}-exclude-seen"


@dataclass(slots=True)
class Results:
    """What was found of one task and split.

    against: the model beside the best baseline, NDCG@10 by user: difference, its 95% interval
    and p, of a paired bootstrap over users.
    """

    task: str
    split: str
    dataset: str
    protocol: str
    status: str
    published: str = ""  # the dataset of the published figures, where it is this one
    rows: list[Row] = field(default_factory=list)
    against: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists."""
        return asdict(self)


def evaluate(
    run: Run,
    tasks: Iterable[str] | None = None,
    *,
    split: str = "test",
    method: str = "exact",
    beams: int = 20,
    precision: str = "fp32",
    watch: Mapping[str, Watch] | None = None,
) -> dict[str, Results]:
    """Evaluate tasks of a run, all of them by default; write predictions, ranks and results.

    method: exact, every item scored; beam, a search over the catalogue; pod, as the published code
    did. precision: fp32 unless another is asked for, so that figures compare. watch: called with
    the batches of a task, to show progress. Errors: `PodError` for a task that the run was not
    trained on, or a method that its model has not.
    """
    wanted = run.tasks if tasks is None else tuple(tasks)
    if missing := [task for task in wanted if task not in run.tasks]:
        raise PodError(
            f"{run.folder} was not trained on {missing[0]}, only on {', '.join(run.tasks)}"
        )
    model = run.recommender
    if method != "exact" and not isinstance(model, Searches):
        raise PodError(f"{model.name} scores every item: leave out --rank and --compat")
    chosen = choose_precision(precision, model.device)
    found: dict[str, Results] = {}
    published = published_name(run.shards)
    for task in wanted:
        results = Results(
            task, split, run.shards.name, run.shards.protocol, run.status, published,
            environment=environment(model.device, chosen, run),
        )  # fmt: skip
        shown = (watch or {}).get(task)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=chosen == "bf16"):
            if task == "explanation":
                _explain(run, results, method, shown)
            elif method == "exact":
                _rank(run, results, shown)
            else:
                _search(run, results, method, beams)
        write_results(run, results.as_json(), [row.label for row in results.rows])
        found[task] = results
    return found


def evaluate_baselines(shards: Shards, split: str = "test") -> dict[str, Results]:
    """Evaluate the recommenders that need no model, on every task of a dataset."""
    found = {}
    published = published_name(shards)
    for task in shards.tasks:
        results = Results(task, split, shards.name, shards.protocol, "finished", published)
        baselines = _baselines(shards, task)
        if task == "explanation":
            pairs, references, *features = _references(shards, split)
            for name, baseline in baselines.items():
                _text_row(results, name, "baseline", baseline.texts(pairs), references, *features)
        else:
            queries, targets, candidates = _held_out(shards, task, split)
            for name, baseline in baselines.items():
                _rank_one(baseline, name, "baseline", queries, targets, candidates, results)
        found[task] = results
    return found


def environment(device: torch.device, precision: str, run: Run) -> dict[str, Any]:
    """Return what figures depend on beside data and weights."""
    return {
        "device": str(device),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in LIBRARIES},
        "weights_sha256": run.weights_sha256,
        "step": run.best_step,
    }


def _baselines(shards: Shards, task: str) -> dict[str, Recommender]:
    """Return every recommender of a task that is not trained, by name."""
    known = (entry for entry in entries() if not entry.trained and task in entry.tasks)
    return {entry.name: entry.load()(shards) for entry in known}


def _held_out(shards: Shards, task: str, split: str) -> tuple[Queries, Ints, Ints | None]:
    queries, targets = held_out(Interactions.read(shards), split)
    among = candidates_of(shards, split, queries.user_id) if task == "topn" else None
    return queries, targets, among


def _rank(run: Run, results: Results, watch: Watch | None) -> None:
    """Rank the held-out items among all items, or among the candidates of top-N."""
    task, split, shards = results.task, results.split, run.shards
    queries, targets, candidates = _held_out(shards, task, split)
    model = run.recommender
    asked: list[tuple[str, str, Recommender]] = [("model", "model", model)]
    asked += [(name, "component", part) for name, part in model.components().items()]
    asked += [(name, "baseline", other) for name, other in _baselines(shards, task).items()]
    values: dict[str, Any] = {}
    for name, kind, recommender in asked:
        shown = watch if kind == "model" else None
        # to find the best of each list takes ten times as long as to rank one item
        top = TOP if kind == "model" or name == BEST_BASELINE else 0
        ways = _rank_one(
            recommender, name, kind, queries, targets, candidates, results, shown, top
        )  # fmt: skip
        for exclude_seen, ranked in ways.items():
            row = next(r for r in reversed(results.rows) if r.exclude_seen == exclude_seen)
            write_ranks(run, task, split, row.label, queries.user_id, ranked.ranks)
            if top:
                lists = (ranked.items, ranked.scores)
                write_lists(run, task, split, row.label, queries.user_id, *lists)
        values[name] = per_user(ways[candidates is None].ranks, 10)[1]
    _set_against(results, values)


def _rank_one(
    recommender: Recommender,
    name: str,
    kind: str,
    queries: Queries,
    targets: Ints,
    candidates: Ints | None,
    results: Results,
    watch: Watch | None = None,
    top: int = 0,
) -> dict[bool, Ranked]:
    start = time.monotonic()
    ways = rank(recommender, queries, targets, candidates=candidates, top=top, watch=watch)
    seconds = time.monotonic() - start
    for exclude_seen, ranked in ways.items():
        metrics = ranking_metrics(ranked.ranks)
        results.rows.append(
            Row(name, kind, metrics, len(queries), seconds, exclude_seen=exclude_seen)
        )
    return ways


def _set_against(results: Results, values: dict[str, Any]) -> None:
    """Set the model beside the baseline of the highest mean."""
    others = {row.name for row in results.rows if row.kind == "baseline"}
    if not others:
        return
    best = max(sorted(others), key=lambda name: float(values[name].mean()))
    [found] = compare({best: [values[best]], "model": [values["model"]]}, best)
    results.against = {
        "baseline": best, "metric": "ndcg@10", "exclude_seen": results.task == "sequential",
        "difference": found.difference, "low": found.low, "high": found.high, "p": found.p,
        "verdict": found.verdict,
    }  # fmt: skip


def _search(run: Run, results: Results, method: str, beams: int) -> None:
    """Rank by beams: over the catalogue, or over free text as the published code did."""
    task, split, model = results.task, results.split, run.recommender
    assert isinstance(model, Searches)
    queries, targets, candidates = _held_out(run.shards, task, split)
    start, unreadable = time.monotonic(), 0
    items, scores = np.zeros((len(queries), TOP), np.int64), np.full((len(queries), TOP), -np.inf)
    for rows, some in queries.batches(BATCH):
        among = None if candidates is None else candidates[rows]
        items[rows], scores[rows], failed = model.search(
            some, TOP, method=method, beams=beams, candidates=among
        )
        unreadable += failed
    ranks = rank_lists(items, targets)
    metrics = ranking_metrics(ranks)
    if method == "pod":
        metrics = pod_ranking_metrics(items.tolist(), targets)
    seconds = time.monotonic() - start
    row = Row("model", "model", metrics, len(queries), seconds, method, random_items=unreadable)
    results.rows.append(row)
    write_lists(run, task, split, row.label, queries.user_id, items, scores)
    write_ranks(run, task, split, row.label, queries.user_id, ranks, depth=TOP)


def _explain(run: Run, results: Results, method: str, watch: Watch | None) -> None:
    """Write the sentences of a split and compare them with those that people wrote."""
    model, split = run.recommender, results.split
    pairs, references, *features = _references(run.shards, split)
    start = time.monotonic()
    texts: list[str] = []
    batches = [slice(first, first + BATCH) for first in range(0, len(pairs), BATCH)]
    for part in watch(batches, len(pairs), BATCH) if watch else batches:
        texts += model.texts(Pairs(pairs.user_id[part], pairs.item_id[part]))
    seconds = time.monotonic() - start
    if method == "pod":
        assert isinstance(model, Searches)
        references = model.cut_references(references)
    row_method = "pod" if method == "pod" else "exact"
    _text_row(
        results, "model", "model", texts, references, *features,
        seconds=seconds, method=row_method,
    )  # fmt: skip
    write_texts(run, split, results.rows[0].label, pairs, texts)
    for name, baseline in _baselines(run.shards, "explanation").items():
        _text_row(results, name, "baseline", baseline.texts(pairs), references, *features)


def _text_row(
    results: Results,
    name: str,
    kind: str,
    texts: list[str],
    references: list[str],
    features: list[str],
    all_features: list[str],
    *,
    seconds: float = 0.0,
    method: str = "exact",
) -> None:
    metrics = text_metrics(texts, references, features, all_features)
    results.rows.append(Row(name, kind, metrics, len(texts), seconds, method))


def _references(shards: Shards, split: str) -> tuple[Pairs, list[str], list[str], list[str]]:
    """Return the explained pairs of a split, the sentences that people wrote, their features, and
    the features of the whole dataset.

    Row k of the catalogue's explanations of a split is sample k: a pair may be explained twice.
    """
    table = shards.table(EXPLANATIONS)
    own = [row for row in table.to_pylist() if row["split"] == split]
    if not own:
        raise PodError(
            f"{shards.folder} has no explanation samples of split {split}: name other tasks with "
            "--tasks, or build from more reviews"
        )
    pairs = Pairs.of([(row["user_id"], row["item_id"]) for row in own])
    every = table["feature"].to_pylist()
    return pairs, [row["sentence"] for row in own], [row["feature"] for row in own], every
