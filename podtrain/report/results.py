"""Results as rows: the model, its parts, the baselines, the published figures where they fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from podtrain.evaluate.published import published

METHODS = {"exact": "model", "beam": "model, beam search", "pod": "model, as published"}
RANK_COLUMNS = tuple(f"{name}@{k}" for k in (1, 5, 10) for name in ("hit", "ndcg"))
TEXT_COLUMNS = (
    *("usr", "fmr", "fcr", "div", "bleu1", "bleu4", "rouge1", "rouge2", "rougeL"),
    *("rouge1_pod", "rouge2_pod", "rougeL_pod"),
)
SHARES = ("usr", "fmr", "fcr", "div")  # measures that are no percentages

Found = Mapping[str, Any]  # `Results` of an evaluation as JSON


@dataclass(frozen=True, slots=True)
class Result:
    """One row of a table of results."""

    kind: Literal["model", "component", "baseline", "published"]
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
        return f"{value:.4f}" if "@" in column or column in SHARES else f"{value:.2f}"


def result_rows(found: Found, *, exclude_seen: bool) -> list[Result]:
    """Return the rows of a task, bought items left out or not.

    The published figures are of the test split of the published dataset, and are shown where
    nothing is left out, as they were measured.
    """
    rows = [
        Result(row["kind"], METHODS[row["method"]] if row["kind"] == "model" else row["name"],
               row["metrics"])
        for kind in ("model", "component", "baseline")
        for row in sorted(found["rows"], key=lambda row: list(METHODS).index(row["method"]))
        if row["kind"] == kind and row["exclude_seen"] == exclude_seen
    ]  # fmt: skip
    if rows and found["status"] != "finished":
        rows = [
            Result(r.kind, f"{r.name} (unfinished)", r.metrics)
            if r.kind in ("model", "component") else r
            for r in rows
        ]  # fmt: skip
    if not exclude_seen and found["split"] == "test" and found.get("published"):
        known = published(found["task"], found["published"])
        leaky = ", leaky data" if found["protocol"] == "clean" else ""
        rows.append(Result("published", f"POD as published{leaky}", known))
    return rows


def ways(found: Found) -> list[bool]:
    """Return whether there are rows with all items, and with bought items left out."""
    kept = {row["exclude_seen"] for row in found["rows"]}
    return sorted(kept)


def against_words(found: Found) -> str:
    """Say how far the model is from the best baseline, and whether that could be chance."""
    a = found.get("against")
    if not a:
        return ""
    left_out = ", bought items left out" if a["exclude_seen"] else ""
    p = f"p < {a['p'] * 1.0001:.0e}" if a["p"] <= 1e-3 else f"p = {a['p']:.3f}"
    return (
        f"NDCG@10{left_out}: {a['difference']:+.4f} beside {a['baseline']} "
        f"(95% {a['low']:+.4f} to {a['high']:+.4f}, {p}: {a['verdict']})"
    )


def heading(column: str) -> str:
    """Return a metric as the head of a column."""
    for name, words in {"hit@": "HR@", "ndcg": "NDCG", "bleu": "BLEU-", "rouge": "ROUGE-"}.items():
        column = column.replace(name, words)
    return column.upper() if column in SHARES else column.replace("_pod", " POD")


def best_baseline(rows: Sequence[Result], column: str) -> Result | None:
    """Return the baseline with the largest figure; none if no one has one."""
    own = [row for row in rows if row.kind == "baseline" and row.value(column) is not None]
    return max(own, key=lambda row: (row.value(column) or 0.0, row.name), default=None)
