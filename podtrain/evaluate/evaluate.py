"""Evaluation of a run: each task of a split, by the method asked for, beside the rules."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from podtrain.data.shards import Shards
from podtrain.data.stream import Batch, Samples
from podtrain.evaluate.compat import POD_TEXT_BEAMS, cut_references, pod_items
from podtrain.evaluate.decode import Asked, Floats, Ints, candidates_of
from podtrain.evaluate.files import write_lists, write_ranks, write_results, write_texts
from podtrain.metrics.ranking import (
    Ranks,
    pod_ranking_metrics,
    rank_lists,
    ranking_metrics,
    ranks_of,
)
from podtrain.metrics.text import text_metrics
from podtrain.model.checkpoint import read_checkpoint
from podtrain.rules import RULES, Rules
from podtrain.train.run import BEST, Run
from podtrain.watch import counted

TOP = 10  # items kept of each list, as in the published code
BATCH = 256
TEXT_BEAMS = 7  # the paper's 21 beams are three times the same 7 (exp.py: no diversity penalty)
METHODS = ("exact", "beam")
Found = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Question:
    """How to evaluate. `method`: exact, beam, or pod, as the published code does."""

    split: str = "test"
    method: str = "exact"
    beams: int = 20


def evaluate(
    run: Run, shards: Shards, asked: Asked, tasks: tuple[str, ...], question: Question
) -> dict[str, Found]:
    """Evaluate tasks, write predictions, ranks and results; return {task: {method: found}}.

    `found` has metrics, users, seconds, and the step of the weights; for rules metrics alone.
    """
    step = read_checkpoint(run.folder / BEST)[1]["step"]
    results: dict[str, Found] = {}
    for task in tasks:
        start = time.monotonic()
        samples = asked.reader.split(task, question.split)
        if task == "explanation":
            found = _explain(run, shards, asked, samples, question)
        elif question.method == "pod":
            found = _as_published(run, asked, samples, question)
        else:
            found = _rank(run, shards, asked, samples, question)
        method = "beam" if task == "explanation" and question.method == "exact" else question.method
        seconds = time.monotonic() - start
        results[task] = {method: {**found, "step": step, "seconds": seconds}}
        if task != "explanation":
            results[task] |= rule_metrics(shards, task, question.split)
        write_results(run, question.split, task, results[task])
    return results


def rule_metrics(shards: Shards, task: str, split: str) -> Found:
    """Return the metrics of the rules on the same users and candidates."""
    rules = Rules.count(shards.interactions())
    candidates = candidates_of(shards, split).astype(np.int32) if task == "topn" else None
    return {
        rule: {"metrics": ranking_metrics(rules.rank(rule, split, candidates))} for rule in RULES
    }


def _rank(
    run: Run, shards: Shards, asked: Asked, samples: Samples, question: Question
) -> dict[str, Any]:
    """Rank the whole catalogue, or the candidates of the top-N task."""
    n, beam = len(samples), question.method == "beam"
    candidates = candidates_of(shards, question.split) if samples.task == "topn" else None
    items, scores = np.zeros((n, TOP), np.int64), np.full((n, TOP), -np.inf)
    above, equal = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for batch in _batches(samples, question):
        rows, target = batch.rows, batch.item_id.astype(np.int64)
        if beam:
            # beams are not told the candidates: as published, the model is to copy one of them
            items[rows], scores[rows] = asked.beam(batch, question.beams, TOP)
            found = rank_lists(items[rows], target)
        elif candidates is None:
            all_scores = asked.catalogue_scores(batch)
            found = ranks_of(all_scores, target - 1)
            items[rows], scores[rows] = best(all_scores, np.arange(1, all_scores.shape[1] + 1))
        else:
            own = candidates[rows]
            own_scores = asked.candidate_scores(batch, own)
            found = ranks_of(own_scores, (own == target[:, None]).argmax(1))
            items[rows], scores[rows] = best(own_scores, own)
        above[rows], equal[rows] = found.above, found.equal
    ranks = Ranks(above, equal)
    write_lists(run, samples.task, question.split, question.method, samples.user_id, items, scores)
    write_ranks(run, samples.task, question.split, question.method, samples.user_id, ranks)
    return {"metrics": ranking_metrics(ranks), "users": n}


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


def _as_published(run: Run, asked: Asked, samples: Samples, question: Question) -> dict[str, Any]:
    """Rank as the published code: free text, read as a number, a random item where it is none."""
    n = len(samples)
    items, scores = np.zeros((n, TOP), np.int64), np.zeros((n, TOP))
    unreadable = 0
    for batch in _batches(samples, question):
        found, scores[batch.rows], failed = pod_items(asked, batch, question.beams, TOP)
        items[batch.rows] = found
        unreadable += failed
    write_lists(run, samples.task, question.split, "pod", samples.user_id, items, scores)
    ranks = rank_lists(items, samples.item_id.astype(np.int64))
    write_ranks(run, samples.task, question.split, "pod", samples.user_id, ranks)
    metrics = pod_ranking_metrics(items.tolist(), samples.item_id)
    return {"metrics": metrics, "users": n, "random_items": unreadable}


def _explain(
    run: Run, shards: Shards, asked: Asked, samples: Samples, question: Question
) -> dict[str, Any]:
    """Write the sentences of a split and compare them with those that people wrote."""
    n, pod = len(samples), question.method == "pod"
    texts, scores = [""] * n, np.zeros(n)
    for batch in _batches(samples, question):
        written, scores[batch.rows] = asked.texts(batch, POD_TEXT_BEAMS if pod else TEXT_BEAMS)
        for row, text in zip(batch.rows, written, strict=True):
            texts[row] = text
    table = shards.samples("explanation", question.split)
    references = table["target"].to_pylist()
    if pod:
        references = cut_references(asked.reader.tokens, references)
    method = "pod" if pod else "beam"
    write_texts(run, question.split, method, samples.user_id, samples.item_id, scores, texts)
    features = _features(shards, samples)
    return {"metrics": text_metrics(texts, references, features), "users": n}


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
