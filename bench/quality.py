"""Train and evaluate the recipes of the README, seed by seed; write bench/results/NAME.json.

usage: python -m bench.quality NAME [--raw DUMP] [--seeds N] [--work FOLDER]

NAME is one of RECIPES. What is already built, trained or evaluated is not done again: run the same
command after an interruption. Beauty's dump is the published one, or one rebuilt from the published
sequences; the others are 5-core dumps of their release.
"""

import argparse
import json
import platform
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

import podprep
import podtrain
from podprep.contract.writing import write_json
from podtrain.metrics.compare import compare
from podtrain.metrics.ranking import per_user
from podtrain.recommenders.baselines import ItemKnn
from podtrain.recommenders.queries import held_out
from podtrain.recommenders.ranking import candidates_of, rank
from podtrain.run import Run

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SECONDS = "seconds.json"
LIBRARIES = ("podprep", "torch", "transformers", "numpy", "duckdb", "pyarrow")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A dataset and how a run is made on it: options of `podprep build` and a TOML file.

    judged: the tasks that are evaluated, all by default.
    """

    dataset: str
    config: str
    build: dict[str, Any]
    judged: tuple[str, ...] | None = None


RECIPES = {
    "sample": Recipe("sample", "sample.toml", {}),
    "beauty-clean": Recipe("beauty", "beauty.toml", {"rounds": 5, "segments": "prefix"}),
    "beauty-pod": Recipe(
        "beauty", "beauty.toml", {"rounds": 5, "segments": "prefix", "compat": "pod"}
    ),
    # the rebuilt dump's texts are not the items' own: its explanations say nothing
    "beauty-tasks": Recipe(
        "beauty",
        "beauty-tasks.toml",
        {"rounds": 1, "segments": "prefix", "compat": "pod"},
        ("sequential", "topn"),
    ),
    "musical": Recipe("2014/Musical_Instruments", "reviews.toml", {"core": 3}),
    "all-beauty": Recipe("2018/All_Beauty", "reviews.toml", {}),
}


def main() -> None:
    """Do what is not done yet, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--raw", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("quality"))
    args = parser.parse_args()
    recipe = RECIPES[args.name]
    shards = args.work / args.name / "shards"
    if not (shards / "manifest.json").exists():
        podprep.build(recipe.dataset, raw=args.raw, out=shards, **recipe.build)
    runs = [
        trained(recipe, shards, args.work / args.name / f"seed-{seed}", seed)
        for seed in range(args.seeds)
    ]
    write_json(RESULTS / f"{args.name}.json", summary(recipe, runs))


def trained(recipe: Recipe, shards: Path, folder: Path, seed: int) -> Run:
    """Return the finished, evaluated run of a seed."""
    run = podtrain.load(folder) if (folder / "run.json").exists() else None
    if run is None or run.status != "finished":
        config = HERE / recipe.config
        start = time.monotonic()
        run = podtrain.fit(shards, folder, config=config, seed=seed, resume=run is not None)
        write_json(folder / SECONDS, time.monotonic() - start)
    if not (folder / "results.json").exists():
        run.evaluate("test", tasks=recipe.judged)
    sys.stderr.write(f"{run.summary()}\n")
    return run


def summary(recipe: Recipe, runs: list[Run]) -> dict[str, Any]:
    """Return what was found of all seeds, by task and row, and what it was found with."""
    found = [json.loads((run.folder / "results.json").read_text())["test"] for run in runs]
    shards = runs[0].shards
    build = {**recipe.build, "dataset": recipe.dataset}
    return {
        "dataset": shards.name,
        "protocol": shards.protocol,
        "manifest_sha256": shards.sha256,
        "build": build,
        "config": runs[0].config.flat(),
        "seeds": [run.config.shared.seed for run in runs],
        "parameters": runs[0].description["parameters"],
        "seconds_of_training": [seconds_of(run) for run in runs],
        "environment": {
            **{k: v for k, v in next(iter(found[0].values()))["environment"].items()
               if k in ("device", "precision", "threads", "cores")},
            "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in LIBRARIES},
        },
        "tasks": {task: rows_of([f[task] for f in found]) for task in found[0]},
        "against": {
            task: against_item_knn(runs, task) for task in found[0] if task != "explanation"
        },
    }  # fmt: skip


def rows_of(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each row of a task's results with the mean and sd of its metrics over seeds."""
    rows = []
    for n, row in enumerate(found[0]["rows"]):
        values = {name: [f["rows"][n]["metrics"][name] for f in found] for name in row["metrics"]}
        rows.append(
            {
                "name": row["name"],
                "kind": row["kind"],
                "exclude_seen": row["exclude_seen"],
                "n": row["n"],
                "mean": {name: fmean(v) for name, v in values.items()},
                "sd": {n: stdev(v) if len(v) > 1 else 0.0 for n, v in values.items()},
            }
        )
    return rows


def against_item_knn(runs: list[Run], task: str) -> dict[str, Any]:
    """Return the model beside item-kNN, NDCG@10 and HR@10 by user, bought items left out."""
    shards = runs[0].shards
    queries, targets = held_out(runs[0].recommender.purchases, "test")
    among = candidates_of(shards, "test", queries.user_id) if task == "topn" else None
    way = among is None
    own = rank(ItemKnn(shards), queries, targets, candidates=among)[way].ranks
    compared = {}
    ranks = [rank(run.recommender, queries, targets, candidates=among)[way].ranks for run in runs]
    for name, place in (("hit@10", 0), ("ndcg@10", 1)):
        # item-kNN has no seed: it is the same in each
        values = {
            "item-knn": [np.asarray(per_user(own, 10)[place])] * len(runs),
            "model": [np.asarray(per_user(r, 10)[place]) for r in ranks],
        }
        [c] = compare(values, "item-knn")
        compared[name] = {
            "difference": c.difference, "low": c.low, "high": c.high, "p": c.p,
            "verdict": c.verdict,
        }  # fmt: skip
    return compared


def seconds_of(run: Run) -> float:
    """Return how long a run trained, the last stretch of one that was stopped."""
    return float(json.loads((run.folder / SECONDS).read_text()))


if __name__ == "__main__":
    main()
