"""Results as rows: the model, the baselines, and the published figures where they belong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from podtrain.evaluate.evaluate import UNSEEN_RULE
from podtrain.recommenders.baselines import RULES
from podtrain.report.published import published

METHODS = {
    "exact": "model, every item scored",
    "unseen": "model, bought items left out",
    "beam": "model, beam search",
    "pod": "model, as published",
}
BASELINES = {**{rule: rule for rule in RULES}, UNSEEN_RULE: "item-knn, bought items left out"}
RANK_COLUMNS = tuple(f"{name}@{k}" for k in (1, 5, 10) for name in ("hit", "ndcg"))
TEXT_COLUMNS = (
    *("bleu1", "bleu4", "rouge1", "rouge2", "rougeL"),
    *("rouge1_pod", "rouge2_pod", "rougeL_pod", "distinct", "feature"),
)

Found = Mapping[str, Mapping[str, Any]]  # by method or baseline: metrics and what belongs to them


@dataclass(frozen=True, slots=True)
class Result:
    """One row of a table of results."""

    kind: Literal["model", "baseline", "published"]
    name: str
    metrics: Mapping[str, float]

    def value(self, column: str) -> float | None:
        """Return a figure; the published way to count has names of its own."""
        return self.metrics.get(column, self.metrics.get(column.replace("@", "_pod@")))

    def figure(self, column: str) -> str:
        """Return a figure as tables show it; nothing where there is none."""
        value = self.value(column)
        if value is None:
            return ""
        share = "@" in column or column in ("distinct", "feature")
        return f"{value:.4f}" if share else f"{value:.2f}"


def result_rows(dataset: str, reading: str, split: str, task: str, found: Found) -> list[Result]:
    """Return the rows of a task: the model by each method, the baselines, and POD as published.

    The published figures are of the test split, and of datasets by name.
    """
    rows = [Result("model", METHODS[m], found[m]["metrics"]) for m in METHODS if m in found]
    rows += [
        Result("baseline", name, found[baseline]["metrics"])
        for baseline, name in BASELINES.items()
        if baseline in found
    ]
    if split == "test" and (known := published(task, dataset)):
        leaky = ", leaky data" if reading == "clean" else ""
        rows.append(Result("published", f"POD as published{leaky}", known))
    return rows


def users_of(found: Found) -> int:
    """Return how many users, or sentences, were measured; 0 if none of the model."""
    return next((int(f["users"]) for f in found.values() if "users" in f), 0)


def heading(column: str) -> str:
    """Return a metric as the head of a column."""
    for name, words in {"hit@": "HR@", "ndcg": "NDCG", "bleu": "BLEU-", "rouge": "ROUGE-"}.items():
        column = column.replace(name, words)
    return column.replace("_pod", " POD")


def best_baseline(rows: Sequence[Result], column: str) -> Result | None:
    """Return the baseline with the largest figure, bought items not left out; none if no one is."""
    own = [row for row in rows if row.kind == "baseline" and row.name in RULES]
    own = [row for row in own if row.value(column) is not None]
    return max(own, key=lambda row: (row.value(column) or 0.0, row.name), default=None)
