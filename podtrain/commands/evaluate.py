"""The commands that measure: `evaluate`, `baselines`, `compare`, `report`."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from podprep.ui.cli import Json
from podtrain.commands.options import Device, RunFolder, ShardsFolder, ShardsOption, Split, Task


class Rank(StrEnum):
    """How items are ranked."""

    EXACT = "exact"
    BEAM = "beam"


class Method(StrEnum):
    """What was ranked how: as evaluate writes it."""

    EXACT = "exact"
    EXCLUDE_SEEN = "exclude-seen"
    BEAM = "beam"
    POD = "pod"


class Compat(StrEnum):
    """Whose quirks are kept."""

    POD = "pod"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (evaluate, baselines, compare, report):
        app.command()(command)


def evaluate(
    run: RunFolder,
    task: Annotated[Task | None, typer.Option(help="One task; default: all of the run.")] = None,
    split: Annotated[Split, typer.Option(help="valid or test.")] = Split.TEST,
    rank: Annotated[
        Rank, typer.Option(help="exact: every item scored; beam: beam search over the catalogue.")
    ] = Rank.EXACT,
    beams: Annotated[int, typer.Option(min=10, help="Beams of a beam search.")] = 20,
    compat: Annotated[
        Compat | None, typer.Option(help="pod: evaluate as the published code does.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="fp32, so that figures compare; or bf16.")
    ] = "fp32",
    shards: ShardsOption = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Evaluate a run beside the baselines that need no model.

    Example: podtrain evaluate runs/beauty --task sequential
    """
    from podprep.ui.console import print_json, print_lines, print_tables
    from podtrain.api import load
    from podtrain.report.tables import results_tables
    from podtrain.watch import counting

    trained = load(run, shards=shards, device=device)
    found = trained.evaluate(
        str(split),
        tasks=None if task is None else (str(task),),
        method="pod" if compat else str(rank),
        beams=beams,
        precision=precision,
        watch={name: counting(f"{name}, {split}") for name in trained.tasks},
    )
    if as_json:
        print_json({name: results.as_json() for name, results in found.items()})
        return
    for results in found.values():
        print_tables(*results_tables(results.as_json()))
    print_lines(f"{run / 'predictions'}: podprep query SHARDS --run {run} asks about it")


def baselines(
    shards: ShardsFolder,
    split: Annotated[Split, typer.Option(help="valid or test.")] = Split.TEST,
    as_json: Json = False,
) -> None:
    """Evaluate the recommenders that need no model.

    Example: podtrain baselines shards/ --split valid
    """
    from podprep.ui.console import print_json, print_tables
    from podtrain.api import baselines as measure
    from podtrain.report.tables import results_tables

    found = measure(shards, str(split))
    if as_json:
        print_json({name: results.as_json() for name, results in found.items()})
        return
    for results in found.values():
        print_tables(*results_tables(results.as_json()))


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Runs, or folders of seeds; first: baseline.")],
    task: Annotated[Task, typer.Option(help="sequential or topn.")] = Task.SEQUENTIAL,
    split: Annotated[Split, typer.Option(help="valid or test.")] = Split.TEST,
    metric: Annotated[str, typer.Option(help="hit@K or ndcg@K.")] = "ndcg@10",
    method: Annotated[
        Method, typer.Option(help="exact, exclude-seen (bought items left out), beam or pod.")
    ] = Method.EXACT,
    as_json: Json = False,
) -> None:
    """Compare runs with the first: mean and sd over seeds, bootstrap over users, a verdict.

    Example: podtrain compare runs/plain runs/no-prompts --metric ndcg@10
    """
    from podprep.ui.console import print_json, print_tables
    from podtrain.api import compare as measure
    from podtrain.report.tables import comparison_table

    found = measure(list(runs), metric=metric, task=str(task), split=str(split), method=str(method))
    if as_json:
        print_json([asdict(comparison) for comparison in found])
    else:
        print_tables(comparison_table(found[0], found[1:], f"{task}, {split}, {metric}, {method}"))


def report(
    run: RunFolder,
    to: Annotated[
        Path | None, typer.Option(help="A file. Default: report.html in the run.")
    ] = None,
    shards: ShardsOption = None,
) -> None:
    """Write one page about a run: curves, results, a gallery of users.

    Example: podtrain report runs/beauty
    """
    from podprep.ui.console import print_lines
    from podtrain.api import load

    print_lines(f"{load(run, shards=shards).report(to)} is ready")
