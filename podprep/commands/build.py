"""The commands that make a dataset: build, datasets, fetch, show."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import podprep
from podprep.commands.options import (
    CompatOption,
    Core,
    DuplicatesOption,
    Force,
    History,
    MaxBad,
    Memory,
    Negatives,
    Out,
    Rounds,
    Sampling,
    Seed,
    SegmentsOption,
    ShardsFolder,
    Tasks,
    Templates,
    Threads,
)
from podprep.recipe.options import DEFAULTS, Split, Task
from podprep.ui.cli import Json

ALL_TASKS = ",".join(DEFAULTS.tasks)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (build, datasets, fetch, show):
        app.command()(command)


def build(
    dataset: Annotated[str, typer.Option(help="Which dataset: see podprep datasets.")],
    raw: Annotated[
        Path | None, typer.Option(help="The dump. Default: looked for in data/, else downloaded.")
    ] = None,
    meta: Annotated[
        Path | None, typer.Option(help="A metadata dump: gives titles, brands, categories.")
    ] = None,
    out: Out = Path("shards"),
    compat: CompatOption = None,
    tasks: Tasks = ALL_TASKS,
    seed: Seed = DEFAULTS.seed,
    core: Core = DEFAULTS.core,
    negatives: Negatives = DEFAULTS.negatives,
    negative_sampling: Sampling = DEFAULTS.negative_sampling,
    segments: SegmentsOption = DEFAULTS.segments,
    history: History = DEFAULTS.history,
    rounds: Rounds = DEFAULTS.rounds,
    duplicates: DuplicatesOption = None,
    templates: Templates = None,
    sentiment: Annotated[
        Path | None,
        typer.Option(help="(user, item, feature, sentence) from outside: JSON lines or pickle."),
    ] = None,
    max_bad: MaxBad = DEFAULTS.max_bad,
    memory: Memory = None,
    threads: Threads = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Build shards from a dump of reviews.

    Example: podprep build --dataset beauty --out shards/
    """
    from podprep.commands.tables import accounting_table, dataset_table
    from podprep.ui.console import print_json, print_lines, print_tables
    from podprep.ui.progress import stage_progress

    with stage_progress() as progress:
        made = podprep.build(
            dataset, out=out, raw=raw, meta=meta, compat=compat, tasks=tasks, seed=seed, core=core,
            negatives=negatives, negative_sampling=negative_sampling, history=history,
            segments=segments, rounds=rounds, duplicates=duplicates, templates=templates,
            sentiment=sentiment, max_bad=max_bad, memory=memory, threads=threads, force=force,
            progress=progress,
        )  # fmt: skip
    if as_json:
        print_json({**made.manifest, "path": str(out)})
        return
    print_tables(accounting_table(made.manifest), dataset_table(made.manifest))
    print_lines(f"{out} is ready: podprep show {out}")


def datasets(
    every: Annotated[bool, typer.Option("--all", help="Every category of each release.")] = False,
    as_json: Json = False,
) -> None:
    """List the datasets that have a name, and where each is looked for.

    Example: podprep datasets --all
    """
    from podprep.commands.tables import datasets_table
    from podprep.raw.datasets import search_paths
    from podprep.ui.console import print_json, print_tables

    listed = podprep.datasets(every=every or as_json)
    if as_json:
        print_json([{**asdict(d), "looked_for": search_paths(d)} for d in listed])
    else:
        print_tables(datasets_table(listed))


def fetch(
    dataset: Annotated[str, typer.Argument(help="Which dataset: see podprep datasets.")],
    meta: Annotated[bool, typer.Option("--meta", help="The metadata, not the reviews.")] = False,
) -> None:
    """Download a dump to data/ (or $PODPREP_DATA), going on where an earlier try broke off.

    Example: podprep fetch beauty --meta
    """
    from podprep.ui.console import print_lines

    print_lines(str(podprep.fetch(dataset, meta=meta)))


def show(
    shards: ShardsFolder,
    task: Annotated[Task | None, typer.Option(help="One task; default: all.")] = None,
    split: Annotated[Split, typer.Option(help="Which split.")] = Split.TRAIN,
    n: Annotated[int, typer.Option("-n", min=1, help="How many samples of each task.")] = 3,
    as_json: Json = False,
) -> None:
    """Show samples as prompt and target.

    Example: podprep show shards/ --task topn --split test -n 2
    """
    from podprep.commands.tables import sample_table
    from podprep.ui.console import print_json, print_tables

    samples = podprep.open(shards).first_samples(task, split, n)
    if as_json:
        print_json(samples)
    else:
        print_tables(*(sample_table(t, split, rows) for t, rows in samples.items()))
