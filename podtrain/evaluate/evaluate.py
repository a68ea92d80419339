"""Evaluation of a run: each task of a split, by the method asked for, beside the rules."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from podprep.contract.shards import Shards
from podtrain.data.interactions import Interactions
from podtrain.data.stream import Batch, Samples
from podtrain.evaluate.files import write_lists, write_ranks, write_results, write_texts
from podtrain.metrics.ranking import (
    TargetRanks,
    pod_ranking_metrics,
    rank_lists,
    ranking_metrics,
    ranks_of,
)
from podtrain.metrics.text import text_metrics
from podtrain.recommenders.baselines import RULES, Rules
from podtrain.recommenders.pod.inference import Asked, Floats, Ints, candidates_of
from podtrain.recommenders.pod.published import POD_TEXT_BEAMS, cut_references, pod_items
from podtrain.run import BEST, Run
from podtrain.train.checkpoint import read_checkpoint
from podtrain.watch import counted

TOP = 10  # items kept of each list, as in the published code
BATCH = 256
TEXT_BEAMS = 7  # the paper's 21 beams are three times the same 7 (exp.py: no diversity penalty)
UNSEEN_RULE = "item-knn unseen"
Found = dict[str, dict[str, Any]]  # by method or rule


@dataclass(frozen=True, slots=True)
class Question:
    """How to evaluate. `method`: exact, beam, or pod, as the published code does."""

    split: str = "test"
    method: str = "exact"
    beams: int = 20


def evaluate(
    run: Run, shards: Shards, asked: Asked, tasks: tuple[str, ...], question: Question
) -> dict[str, Found]:
    """Evaluate tasks, write predictions, ranks and results; return what was found by task.

    Of a method: metrics, users, seconds, and the step of the weights; of a rule metrics alone.
    """
    step = read_checkpoint(run.folder / BEST)[1]["step"]
    results: dict[str, Found] = {}
    for task in tasks:
        start = time.monotonic()
        found: Found
        samples = asked.reader.split(task, question.split)
        if task == "explanation":
            found = _explain(run, shards, asked, samples, question)
        elif question.method == "pod":
            found = _as_published(run, asked, samples, question)
        elif question.method == "beam":
            found = _beam(run, asked, samples, question)
        else:
            found = _exact(run, shards, asked, samples, question)
        same = {"users": len(samples), "step": step, "seconds": time.monotonic() - start}
        results[task] = {method: {**values, **same} for method, values in found.items()}
        if task != "explanation":
            results[task] |= rule_metrics(shards, task, question.split)
        if task == "sequential":
            _write_rule(run, shards, question.split)
        write_results(run, question.split, task, results[task])
    return results


def rule_metrics(shards: Shards, task: str, split: str) -> Found:
    """Return the metrics of the rules on the same users and candidates."""
    rules = Rules.count(Interactions.read(shards))
    if task == "topn":
        candidates = candidates_of(shards, split).astype(np.int32)
        return {r: {"metrics": ranking_metrics(rules.rank(r, split, candidates))} for r in RULES}
    found = {rule: {"metrics": ranking_metrics(rules.rank(rule, split))} for rule in RULES}
    # the other rules gain .001 by it at most
    unseen = ranking_metrics(rules.rank("item-knn", split, unseen=True))
    return found | {UNSEEN_RULE: {"metrics": unseen}}


def _write_rule(run: Run, shards: Shards, split: str, rule: str = "item-knn") -> None:
    """Write what the rule to beat recommends, so that SQL can set the model beside it."""
    rules = Rules.count(Interactions.read(shards))
    users, _ = rules.held_out(split)
    write_lists(run, "sequential", split, rule, users, *rules.top(rule, users, split, TOP))


class _Lists:
    """The best items of each sample and the rank of the right one, batch after batch."""

    def __init__(self, samples: Samples) -> None:
        n = len(samples)
        self.samples = samples
        self.items, self.scores = np.zeros((n, TOP), np.int64), np.full((n, TOP), -np.inf)
        self.above, self.equal = np.zeros(n, np.int64), np.zeros(n, np.int64)

    def add(self, batch: Batch, items: Ints, scores: Floats, ranks: TargetRanks) -> None:
        """Take a batch's lists and ranks."""
        self.items[batch.rows], self.scores[batch.rows] = items, scores
        self.above[batch.rows], self.equal[batch.rows] = ranks.above, ranks.equal

    def write(self, run: Run, split: str, method: str) -> dict[str, Any]:
        """Write predictions and ranks; return the metrics."""
        task, users, ranks = self.samples.task, self.samples.user_id, self.ranks()
        write_lists(run, task, split, method, users, self.items, self.scores)
        write_ranks(run, task, split, method, users, ranks)
        return {"metrics": ranking_metrics(ranks)}

    def ranks(self) -> TargetRanks:
        """Return the ranks of all samples."""
        return TargetRanks(self.above, self.equal)


def _exact(run: Run, shards: Shards, asked: Asked, samples: Samples, question: Question) -> Found:
    """Rank the whole catalogue, with and without what was bought; or the candidates of top-N."""
    split = question.split
    if samples.task == "topn":
        candidates, among = candidates_of(shards, split), _Lists(samples)
        for batch in _batches(samples, question):
            own = candidates[batch.rows]
            scores = asked.candidate_scores(batch, own)
            place = (own == batch.item_id[:, None]).argmax(1)
            among.add(batch, *best(scores, own), ranks_of(scores, place))
        return {"exact": among.write(run, split, "exact")}
    every, unseen, purchases = _Lists(samples), _Lists(samples), Interactions.read(shards)
    ids = np.arange(1, shards.n_items + 1)
    for batch in _batches(samples, question):
        scores, place = asked.catalogue_scores(batch), batch.item_id.astype(np.int64) - 1
        every.add(batch, *best(scores, ids), ranks_of(scores, place))
        scores[purchases.seen(batch.user_id, split)] = -np.inf
        unseen.add(batch, *best(scores, ids), ranks_of(scores, place))
    return {
        "exact": every.write(run, split, "exact"),
        "unseen": unseen.write(run, split, "unseen"),
    }


def _beam(run: Run, asked: Asked, samples: Samples, question: Question) -> Found:
    """Search the catalogue; for top-N, too, as published: the model is to copy a candidate."""
    lists = _Lists(samples)
    for batch in _batches(samples, question):
        items, scores = asked.beam(batch, question.beams, TOP)
        lists.add(batch, items, scores, rank_lists(items, batch.item_id.astype(np.int64)))
    return {"beam": lists.write(run, question.split, "beam")}


def best(scores: Floats, ids: Ints, n: int = TOP) -> tuple[Ints, Floats]:
    """Return the n best ids of each row, and their scores; equal scores in the order of ids.

    scores: (rows, columns); ids: the same shape, or (columns,). 0 and -inf where there are fewer.
    """
    ids = np.broadcast_to(ids, scores.shape)
    width = min(n, scores.shape[1])
    first = np.argpartition(-scores, width - 1, axis=1)[:, :width]
    found, value = np.take_along_axis(ids, first, 1), np.take_along_axis(scores, first, 1)
    order = np.lexsort((found, -value))
    out = np.zeros((len(scores), n), np.int64)
    out_scores = np.full((len(scores), n), -np.inf, np.float32)
    out[:, :width] = np.take_along_axis(found, order, 1)
    out_scores[:, :width] = np.take_along_axis(value, order, 1)
    out[out_scores == -np.inf] = 0
    return out, out_scores


def _as_published(run: Run, asked: Asked, samples: Samples, question: Question) -> Found:
    """Rank as the published code: free text, read as a number, a random item where it is none."""
    lists, unreadable = _Lists(samples), 0
    for batch in _batches(samples, question):
        items, scores, failed = pod_items(asked, batch, question.beams, TOP)
        lists.add(batch, items, scores, rank_lists(items, batch.item_id.astype(np.int64)))
        unreadable += failed
    lists.write(run, question.split, "pod")
    metrics = pod_ranking_metrics(lists.items.tolist(), samples.item_id)
    return {"pod": {"metrics": metrics, "random_items": unreadable}}


def _explain(run: Run, shards: Shards, asked: Asked, samples: Samples, question: Question) -> Found:
    """Write the sentences of a split and compare them with those that people wrote."""
    n, pod = len(samples), question.method == "pod"
    texts, scores = [""] * n, np.zeros(n)
    for batch in _batches(samples, question):
        written, scores[batch.rows] = asked.texts(batch, POD_TEXT_BEAMS if pod else TEXT_BEAMS)
        for row, text in zip(batch.rows, written, strict=True):
            texts[row] = text
    table = shards.sample_table("explanation", question.split)
    references = table["target"].to_pylist()
    if pod:
        references = cut_references(asked.reader.tokens, references)
    method = "pod" if pod else "beam"
    write_texts(run, question.split, method, samples.user_id, samples.item_id, scores, texts)
    return {method: {"metrics": text_metrics(texts, references, _features(shards, samples))}}


def _features(shards: Shards, samples: Samples) -> list[str]:
    """Return the feature that each sample's sentence is about."""
    table = shards.table("catalog/explanations.parquet", ["user_id", "item_id", "feature"])
    keys = zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True)
    known = dict(zip(keys, table["feature"].to_pylist(), strict=True))
    pairs = zip(samples.user_id.tolist(), samples.item_id.tolist(), strict=True)
    return [known[pair] for pair in pairs]


def _batches(samples: Samples, question: Question) -> Iterator[Batch]:
    name = f"{samples.task}, {question.split}, {question.method}"
    return counted(samples.by_length(BATCH), len(samples), name, BATCH)
