"""What evaluation writes: predictions and ranks as Parquet, for DuckDB to join to everything."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from podprep.contract.errors import PodError
from podtrain.metrics.ranking import TargetRanks
from podtrain.run import METRICS, Run, write_json

RESULTS = "results.json"
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
    run: Run, task: str, split: str, method: str, users: Ints, items: Ints, scores: Ints
) -> None:
    """Write ranked lists: items (users, n), the best first, 0 where a text named no item."""
    n, width = items.shape
    # a user has a row for every list place that holds an item, and always one for the first
    kept = (items > 0) | (np.arange(width) == 0)
    flat = np.where(items > 0, items, 0)[kept]
    table = pa.table(
        {
            **_same(task, split, method, int(kept.sum())),
            "user_id": np.repeat(users, width).reshape(n, width)[kept],
            "rank": np.broadcast_to(np.arange(1, width + 1), items.shape)[kept],
            "item_id": pa.array(flat, mask=flat == 0),
            "score": scores[kept],
            "text": pa.nulls(int(kept.sum()), pa.string()),
        }
    )
    _write(run.folder / "predictions" / f"{task}-{split}-{method}.parquet", table, "rank")


def write_texts(
    run: Run, split: str, method: str, users: Ints, items: Ints, scores: Ints, texts: list[str]
) -> None:
    """Write one sentence for each user and item."""
    table = pa.table(
        {
            **_same("explanation", split, method, len(texts)),
            "user_id": users,
            "rank": np.ones(len(texts), np.int32),
            "item_id": items,
            "score": scores,
            "text": texts,
        }
    )
    _write(run.folder / "predictions" / f"explanation-{split}-{method}.parquet", table, "item_id")


def write_ranks(
    run: Run, task: str, split: str, method: str, users: Ints, ranks: TargetRanks
) -> None:
    """Write where each user's held-out item came: what `podtrain compare` reads."""
    path = run.folder / "ranks" / f"{task}-{split}-{method}.parquet"
    path.parent.mkdir(exist_ok=True)
    order = np.argsort(users)
    table = pa.table(
        {
            "user_id": users[order],
            "above": ranks.above[order],
            "equal": ranks.equal[order],
        }
    )
    _replace(path, table)


def read_ranks(run: Run, task: str, split: str, method: str) -> tuple[Ints, TargetRanks]:
    """Read users and ranks. Errors: `PodError` if the run was not evaluated so."""
    path = run.folder / "ranks" / f"{task}-{split}-{method}.parquet"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        raise PodError(
            f"{path} is missing or damaged: podtrain evaluate {run.folder} "
            f"--task {task} --split {split} --rank {method}"
        ) from None
    return table["user_id"].to_numpy(), TargetRanks(
        table["above"].to_numpy().astype(np.int64), table["equal"].to_numpy().astype(np.int64)
    )


def read_results(folder: Path) -> dict[str, Any]:
    """Return what has been found so far: {split: {task: {method: {...}}}}."""
    try:
        return dict(json.loads((folder / RESULTS).read_text(encoding="utf-8")))
    except OSError:
        return {}
    except ValueError:
        raise PodError(
            f"{folder / RESULTS} is damaged: remove it, then podtrain evaluate"
        ) from None


def write_results(run: Run, split: str, task: str, found: dict[str, dict[str, Any]]) -> None:
    """Add what was found to results.json, and the model's metrics to metrics.jsonl."""
    results = read_results(run.folder)
    results.setdefault(split, {}).setdefault(task, {}).update(found)
    write_json(run.folder / RESULTS, results)
    method = next((m for m in ("exact", "beam") if m in found), None)
    if method is None:
        return
    path = run.folder / METRICS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if not _is_metric(json.loads(line), split, task)]
    for name, value in found[method]["metrics"].items():
        line = {"event": split, "step": found[method]["step"], "task": task, "name": name}
        kept.append(json.dumps(line | {"value": value}))
    half = path.with_name(f".{path.name}.writing")
    half.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    half.replace(path)


def _is_metric(line: dict[str, Any], split: str, task: str) -> bool:
    return (line["event"], line["task"]) == (split, task) and line["name"] != "loss"


def _same(task: str, split: str, method: str, n: int) -> dict[str, pa.Array]:
    named = {"task": task, "split": split, "method": method}
    return {name: pa.repeat(pa.scalar(value), n) for name, value in named.items()}


def _write(path: Path, table: pa.Table, then: str) -> None:
    path.parent.mkdir(exist_ok=True)
    ordered = table.sort_by([("user_id", "ascending"), (then, "ascending")])
    _replace(path, ordered.cast(PREDICTIONS))


def _replace(path: Path, table: pa.Table) -> None:
    half = path.with_name(f".{path.name}.writing")
    try:
        pq.write_table(table, half, compression="zstd")
        half.replace(path)
    except OSError as error:
        raise PodError(f"{path} could not be written: {error.strerror or error}") from None
