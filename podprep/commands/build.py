"""The commands that make a dataset: build, datasets, fetch, show."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from podprep.recipe.options import (
    BuildOptions,
    Compat,
    Duplicates,
    NegativeSampling,
    Protocol,
    Task,
    parse_tasks,
)

ShardsFolder = Annotated[Path, typer.Argument(help="A folder made by podprep build.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


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
    out: Annotated[Path, typer.Option(help="Where the dataset goes.")] = Path("shards"),
    compat: Annotated[
        Compat | None, typer.Option(help="pod: do as the published data and code did, leaks too.")
    ] = None,
    tasks: Annotated[str, typer.Option(help="Which tasks, with commas.")] = ",".join(Task),
    seed: Annotated[int, typer.Option(help="What every draw is keyed with.")] = 0,
    core: Annotated[int, typer.Option(help="Fewest purchases of a user and of a product.")] = 5,
    negatives: Annotated[int, typer.Option(help="Candidates beside the positive.")] = 99,
    negative_sampling: Annotated[
        NegativeSampling,
        typer.Option(help="Draw negatives from all products, by popularity, or existing by then."),
    ] = NegativeSampling.UNIFORM,
    history: Annotated[int, typer.Option(help="Longest history of a sequential sample.")] = 20,
    rounds: Annotated[int, typer.Option(help="Fresh draws of training samples.")] = 4,
    duplicates: Annotated[
        Duplicates | None,
        typer.Option(help="Which review of the same product by the same user counts."),
    ] = None,
    templates: Annotated[Path | None, typer.Option(help="Your own templates, TOML.")] = None,
    sentiment: Annotated[
        Path | None,
        typer.Option(help="(user, item, feature, sentence) from outside: JSON lines or pickle."),
    ] = None,
    max_bad: Annotated[float, typer.Option(help="Largest share of malformed lines.")] = 0.01,
    memory: Annotated[str | None, typer.Option(help="For the whole process, as 2GB.")] = None,
    threads: Annotated[int | None, typer.Option(help="Default: one a core.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace another dataset.")] = False,
    as_json: Json = False,
) -> None:
    """Build shards from a dump of reviews.

    Example: podprep build --dataset beauty --out shards/
    """
    from podprep.engine import Machine
    from podprep.raw.datasets import resolve
    from podprep.raw.sources import provide
    from podprep.recipe.inputs import Inputs
    from podprep.recipe.pipeline import build as run
    from podprep.recipe.templates import load_templates
    from podprep.report import (
        accounting_table,
        dataset_table,
        print_tables,
        stage_progress,
    )

    options = BuildOptions(
        protocol=Protocol.POD if compat else Protocol.CLEAN,
        tasks=parse_tasks(tasks),
        seed=seed,
        core=core,
        negatives=negatives,
        negative_sampling=negative_sampling,
        history=history,
        rounds=rounds,
        duplicates=duplicates,
        max_bad=max_bad,
    )
    machine = Machine.of(threads, memory)
    wording = load_templates(templates)
    chosen = resolve(dataset)
    dump, metadata = provide(chosen, raw, meta)
    inputs = Inputs(
        dataset=chosen.name,
        options=options,
        templates=wording,
        dump=dump,
        metadata=metadata,
        sentiment=sentiment,
    )
    with stage_progress() as progress:
        manifest = run(inputs, machine, out, force=force, progress=progress)
    if as_json:
        _print_json({**manifest, "path": str(out)})
        return
    print_tables(accounting_table(manifest), dataset_table(manifest))
    typer.echo(f"{out} is ready: podprep show {out}")


def datasets(
    every: Annotated[bool, typer.Option("--all", help="Every category of each release.")] = False,
    as_json: Json = False,
) -> None:
    """List the datasets that have a name, and where each is looked for.

    Example: podprep datasets --all
    """
    from podprep.raw.datasets import DATASETS, every_dataset, search_paths
    from podprep.report import datasets_table, print_tables

    listed = every_dataset() if every or as_json else list(DATASETS.values())
    if as_json:
        _print_json([{**asdict(d), "looked_for": search_paths(d)} for d in listed])
    else:
        print_tables(datasets_table(listed))


def fetch(
    dataset: Annotated[str, typer.Argument(help="Which dataset: see podprep datasets.")],
    meta: Annotated[bool, typer.Option("--meta", help="The metadata, not the reviews.")] = False,
) -> None:
    """Download a dump to data/ (or $PODPREP_DATA), going on where an earlier try broke off.

    Example: podprep fetch beauty --meta
    """
    from podprep.raw.datasets import data_folder, resolve
    from podprep.raw.fetch import fetch as run

    typer.echo(run(resolve(dataset), data_folder(), meta=meta))


def show(
    shards: ShardsFolder,
    task: Annotated[Task | None, typer.Option(help="One task; default: all.")] = None,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "train",
    n: Annotated[int, typer.Option("-n", help="How many samples of each task.")] = 3,
    as_json: Json = False,
) -> None:
    """Show samples as prompt and target.

    Example: podprep show shards/ --task topn --split test -n 2
    """
    from podprep.contract.shards import Shards
    from podprep.report import print_tables, sample_table

    dataset = Shards.open(shards)
    samples = {t: dataset.first_samples(t, split, n) for t in ([task] if task else dataset.tasks)}
    if as_json:
        _print_json(samples)
    else:
        print_tables(*(sample_table(t, split, rows) for t, rows in samples.items()))


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))
