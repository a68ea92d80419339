"""What evaluation writes: predictions and ranks as Parquet, for DuckDB to join to everything."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from podprep.contract.errors import PodError
from podprep.contract.writing import replacing, write_json
from podtrain.metrics.ranking import TargetRanks
from podtrain.recommenders.queries import Pairs
from podtrain.run import Run
from podtrain.train.log import read_lines, rewrite

RESULTS = "results.json"
WEIGHTS, DEPTH = b"weights_sha256", b"depth"  # what a file of ranks says of itself
Ints = npt.NDArray[Any]

# the contract with sql/views_run.sql
PREDICTIONS = pa.schema(
    [
        *[(name, pa.string()) for name in ("task", "split", "method")],
        *[(name, pa.int32()) for name in ("user_id", "rank", "item_id")],
        ("score", pa.float64()),
        ("text", pa.string()),
    ]
)


def write_lists(
    run: Run, task: str, split: str, label: str, users: Ints, items: Ints, scores: Ints
) -> None:
    """Write ranked lists: items (users, n), the best first, 0 where a text named no item."""
    n, width = items.shape
    # a user has a row for every list place that holds an item, and always one for the first
    kept = (items > 0) | (np.arange(width) == 0)
    flat = np.where(items > 0, items, 0)[kept]
    table = pa.table(
        {
            **_same(task, split, label, int(kept.sum())),
            "user_id": np.repeat(users, width).reshape(n, width)[kept],
            "rank": np.broadcast_to(np.arange(1, width + 1), items.shape)[kept],
            "item_id": pa.array(flat, mask=flat == 0),
            "score": scores[kept],
            "text": pa.nulls(int(kept.sum()), pa.string()),
        }
    )
    _write(run.folder / "predictions" / f"{task}-{split}-{label}.parquet", table, "rank")


def write_texts(run: Run, split: str, label: str, pairs: Pairs, texts: list[str]) -> None:
    """Write one sentence for each user and item."""
    table = pa.table(
        {
            **_same("explanation", split, label, len(texts)),
            "user_id": pairs.user_id,
            "rank": np.ones(len(texts), np.int32),
            "item_id": pairs.item_id,
            "score": pa.nulls(len(texts), pa.float64()),
            "text": texts,
        }
    )
    _write(run.folder / "predictions" / f"explanation-{split}-{label}.parquet", table, "item_id")


def write_ranks(
    run: Run,
    task: str,
    split: str,
    label: str,
    users: Ints,
    ranks: TargetRanks,
    *,
    depth: int | None = None,
) -> None:
    """Write where each user's held-out item came: what `podtrain compare` reads.

    depth: how long the lists were that the ranks are from; None: every item was ranked.
    """
    order = np.argsort(users)
    table = pa.table(
        {"user_id": users[order], "above": ranks.above[order], "equal": ranks.equal[order]}
    )
    about = {WEIGHTS: run.weights_sha256.encode(), DEPTH: str(depth or "").encode()}
    _replace(_ranks_path(run, task, split, label), table.replace_schema_metadata(about))


def read_ranks(
    run: Run, task: str, split: str, label: str, *, k: int = 0
) -> tuple[Ints, TargetRanks]:
    """Read users and ranks.

    Errors: `PodError` if the run was not evaluated so, if its weights have changed since, or if
    the lists end before k.
    """
    path = _ranks_path(run, task, split, label)
    again = f"podtrain evaluate {run.folder} --task {task} --split {split}"
    again += {"beam": " --rank beam", "pod": " --compat pod"}.get(label, "")
    try:
        table = pq.read_table(path)
        about = table.schema.metadata or {}
        users = table["user_id"].to_numpy()
        ranks = TargetRanks(
            table["above"].to_numpy().astype(np.int64), table["equal"].to_numpy().astype(np.int64)
        )
    except (OSError, pa.ArrowException, KeyError):
        raise PodError(f"{path} is missing or damaged: {again}") from None
    if about.get(WEIGHTS, b"").decode() != run.weights_sha256:
        raise PodError(f"{path} was made by other weights than {run.folder} has now: {again}")
    if (depth := about.get(DEPTH, b"").decode()) and k > int(depth):
        raise PodError(f"{path} has lists of {depth}, which say nothing of @{k}: give a smaller K")
    return users, ranks


def read_results(folder: Path) -> dict[str, Any]:
    """Return what has been found so far: {split: {task: Results as JSON}}."""
    try:
        return dict(json.loads((folder / RESULTS).read_text(encoding="utf-8")))
    except OSError:
        return {}
    except ValueError:
        raise PodError(
            f"{folder / RESULTS} is damaged: remove it, then podtrain evaluate"
        ) from None


def write_results(run: Run, found: dict[str, Any], labels: list[str]) -> None:
    """Add what was found to results.json, and the model's metrics to metrics.jsonl.

    found: `Results` as JSON; labels: of its rows. Rows of another label stay while the weights
    are the same.
    """
    results = read_results(run.folder)
    split, task = found["split"], found["task"]
    for row, label in zip(found["rows"], labels, strict=True):
        row["label"] = label
    before = results.setdefault(split, {}).get(task)
    key = "weights_sha256"
    if before and before["environment"].get(key) == found["environment"].get(key):
        others = [row for row in before["rows"] if row["label"] not in labels]
        found = {**found, "rows": found["rows"] + others}
        found["against"] = found["against"] or before["against"]
    results[split][task] = found
    write_json(run.folder / RESULTS, results)
    model = [row for row in found["rows"] if row["kind"] == "model"]
    shown = next((row for row in model if row["exclude_seen"]), model[0])
    rewrite(
        run.folder,
        [
            line
            for line in read_lines(run.folder)
            if (line["event"], line["task"], line.get("label")) != (split, task, "evaluate")
        ]
        + [
            {
                "event": split, "step": found["environment"]["step"], "task": task, "name": name,
                "value": value, "label": "evaluate",
            }
            for name, value in shown["metrics"].items()
        ],
    )  # fmt: skip


def _ranks_path(run: Run, task: str, split: str, label: str) -> Path:
    return run.folder / "ranks" / f"{task}-{split}-{label}.parquet"


def _same(task: str, split: str, label: str, n: int) -> dict[str, pa.Array]:
    named = {"task": task, "split": split, "method": label}
    return {name: pa.repeat(pa.scalar(value), n) for name, value in named.items()}


def _write(path: Path, table: pa.Table, then: str) -> None:
    ordered = table.sort_by([("user_id", "ascending"), (then, "ascending")])
    _replace(path, ordered.cast(PREDICTIONS))


def _replace(path: Path, table: pa.Table) -> None:
    with replacing(path) as work:
        pq.write_table(table, work, compression="zstd")
