"""Runs side by side, from the ranks that evaluation wrote."""

from pathlib import Path

import numpy as np

from podprep.contract.errors import PodError
from podtrain.evaluate.files import read_ranks
from podtrain.metrics.compare import Comparison, compare
from podtrain.metrics.ranking import per_user
from podtrain.run import RUN, Run


def compare_runs(
    folders: list[Path], task: str, split: str, metric: str, method: str
) -> tuple[Comparison, list[Comparison]]:
    """Return the first run by itself, and the others beside it.

    A folder is a run, or holds runs of several seeds. Errors: `PodError` for a run that was not
    evaluated so, runs of different datasets, or users that differ.
    """
    name, _, k = metric.partition("@")
    if name not in ("hit", "ndcg") or not k.isdigit() or int(k) < 1:
        raise PodError(f"--metric {metric}: give hit@K or ndcg@K, such as ndcg@10")
    if len({str(folder) for folder in folders}) < max(2, len(folders)):
        raise PodError("name two runs or more, each once: podtrain compare BASELINE RUN ...")
    values: dict[str, list[np.ndarray]] = {}
    users, dataset = None, None
    for folder in folders:
        for run in _seeds(folder):
            own, ranks = read_ranks(run, task, split, method)
            same = run.description["manifest_sha256"]
            if users is not None and (dataset != same or not np.array_equal(users, own)):
                raise PodError(f"{run.folder} is about other users: compare runs of one dataset")
            users, dataset = own, same
            values.setdefault(str(folder), []).append(per_user(ranks, int(k))[name == "ndcg"])
    first = str(folders[0])
    means = [float(v.mean()) for v in values[first]]
    baseline = Comparison(
        run=first,
        seeds=len(means),
        mean=float(np.mean(means)),
        sd=float(np.std(means, ddof=1)) if len(means) > 1 else None,
        difference=0.0,
        low=0.0,
        high=0.0,
        verdict="within noise",
    )
    return baseline, compare(values, first)


def _seeds(folder: Path) -> list[Run]:
    """Return the run in a folder, or the runs of its seeds."""
    if not (folder / RUN).exists() and folder.is_dir():
        inside = sorted(path.parent for path in folder.glob(f"seed-*/{RUN}"))
        if inside:
            return [Run.open(path) for path in inside]
    return [Run.open(folder)]
