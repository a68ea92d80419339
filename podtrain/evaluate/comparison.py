"""Runs side by side, from the ranks that evaluation wrote."""

from pathlib import Path

import numpy as np

from podprep.contract.errors import PodError
from podtrain.evaluate.files import read_ranks
from podtrain.metrics.compare import Comparison, compare
from podtrain.metrics.ranking import per_user
from podtrain.run import RUN, Run


def compare_runs(
    runs: list[Run | Path | str],
    *,
    task: str = "sequential",
    split: str = "test",
    metric: str = "ndcg@10",
    method: str = "exact",
) -> tuple[Comparison, list[Comparison]]:
    """Return the first run by itself, and the others beside it.

    A folder is a run, or holds runs of several seeds. method: exact, exclude-seen (bought items
    left out), beam or pod. Errors: `PodError` for a run that was not evaluated so, runs of
    different datasets, or users that differ.
    """
    name, _, digits = metric.partition("@")
    if name not in ("hit", "ndcg") or not (digits.isascii() and digits.isdigit() and int(digits)):
        raise PodError(f"--metric {metric}: give hit@K or ndcg@K, such as ndcg@10")
    if task == "explanation":
        raise PodError(
            "--task explanation: sentences have no ranks; podtrain evaluate sets their measures "
            "beside those of the baselines"
        )
    if task == "topn" and method == "exclude-seen":
        raise PodError("the candidates of top-N were never bought: give --method exact")
    k = int(digits)
    groups = {_name(run): _seeds(run) for run in runs}
    if len({Path(name).resolve() for name in groups}) < max(2, len(runs)):
        raise PodError("name two runs or more, each once: podtrain compare BASELINE RUN ...")
    values: dict[str, list[np.ndarray]] = {}
    users, dataset = None, None
    for shown, seeds in groups.items():
        for run in seeds:
            own, ranks = read_ranks(run, task, split, method, k=k)
            same = run.description["manifest_sha256"]
            if users is not None and (dataset != same or not np.array_equal(users, own)):
                raise PodError(f"{run.folder} is about other users: compare runs of one dataset")
            users, dataset = own, same
            label = f"{shown} (unfinished)" if run.status != "finished" else shown
            values.setdefault(label, []).append(per_user(ranks, k)[name == "ndcg"])
    first = next(iter(values))
    means = [float(v.mean()) for v in values[first]]
    baseline = Comparison(
        run=first,
        seeds=len(means),
        mean=float(np.mean(means)),
        sd=float(np.std(means, ddof=1)) if len(means) > 1 else None,
        difference=0.0,
        low=0.0,
        high=0.0,
        p=1.0,
        verdict="within noise",
    )
    return baseline, compare(values, first)


def _name(run: Run | Path | str) -> str:
    return str(run.folder) if isinstance(run, Run) else str(run)


def _seeds(run: Run | Path | str) -> list[Run]:
    """Return the run in a folder, or the runs of its seeds."""
    if isinstance(run, Run):
        return [run]
    folder = Path(run)
    if not (folder / RUN).exists() and folder.is_dir():
        inside = sorted(path.parent for path in folder.glob(f"seed-*/{RUN}"))
        if inside:
            return [Run.open(path) for path in inside]
    return [Run.open(folder)]
