"""The commands that measure: `evaluate`, `rules`, `compare`, `report`."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from podprep.contract.errors import PodError
from podprep.ui.cli import Json
from podtrain.commands.recommend import Device, Run, ShardsOption


class Task(StrEnum):
    """A task of the paper."""

    SEQUENTIAL = "sequential"
    TOPN = "topn"
    EXPLANATION = "explanation"


class Split(StrEnum):
    """A held-out split."""

    VALID = "valid"
    TEST = "test"


class Rank(StrEnum):
    """How items are ranked."""

    EXACT = "exact"
    BEAM = "beam"


class Method(StrEnum):
    """What was ranked how: as evaluate writes it."""

    EXACT = "exact"
    UNSEEN = "unseen"
    BEAM = "beam"
    POD = "pod"


class Compat(StrEnum):
    """Whose quirks are kept."""

    POD = "pod"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (evaluate, rules, compare, report):
        app.command()(command)


def evaluate(
    run: Run,
    task: Annotated[Task | None, typer.Option(help="One task; default: all of the run.")] = None,
    split: Annotated[Split, typer.Option(help="valid or test.")] = Split.TEST,
    rank: Annotated[
        Rank, typer.Option(help="exact: every item scored; beam: beam search over the catalogue.")
    ] = Rank.EXACT,
    beams: Annotated[int, typer.Option(min=10, help="Beams of a beam search.")] = 20,
    compat: Annotated[
        Compat | None, typer.Option(help="pod: evaluate as the published code does.")
    ] = None,
    shards: ShardsOption = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Evaluate a run beside the rules that need no model.

    Example: podtrain evaluate runs/beauty --task sequential
    """
    from podprep.ui.console import print_json, print_lines, print_tables
    from podtrain.evaluate.evaluate import Question
    from podtrain.evaluate.evaluate import evaluate as measure
    from podtrain.recommenders.pod.inference import Asked
    from podtrain.report.tables import results_table
    from podtrain.run import Run as Trained

    trained = Trained.open(run)
    dataset = trained.shards(shards)
    tasks = trained.config.tasks
    if task is not None and task not in tasks:
        raise PodError(f"{run} was not trained on {task}, only on {', '.join(tasks)}")
    question = Question(split=split, method="pod" if compat else rank, beams=beams)
    asked = Asked.of(trained, dataset, device)
    results = measure(trained, dataset, asked, (task,) if task else tasks, question)
    name = trained.description["dataset"]
    if as_json:
        print_json({"dataset": name, "reading": dataset.protocol, split: results})
        return
    for one, found in results.items():
        print_tables(results_table(name, dataset.protocol, split, one, found))
    print_lines(f"{run / 'predictions'}: podprep query SHARDS --run {run} asks about it")


def rules(
    shards: Annotated[Path, typer.Argument(help="A folder made by podprep build.")],
    split: Annotated[Split, typer.Option(help="valid or test.")] = Split.TEST,
    as_json: Json = False,
) -> None:
    """Evaluate the recommendations that need no model.

    Example: podtrain rules shards/ --split valid
    """
    from podprep.contract.shards import Shards
    from podprep.ui.console import print_json, print_tables
    from podtrain.evaluate.evaluate import rule_metrics
    from podtrain.report.tables import results_table

    dataset = Shards.open(shards)
    name = dataset.manifest["inputs"]["dataset"]
    results = {}
    for task in (t for t in ("sequential", "topn") if t in dataset.tasks):
        results[task] = rule_metrics(dataset, task, split)
    if as_json:
        print_json({"dataset": name, "reading": dataset.protocol, split: results})
        return
    for task, found in results.items():
        print_tables(results_table(name, dataset.protocol, split, task, found))


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Runs, or folders of seeds; first: baseline.")],
    task: Annotated[Task, typer.Option(help="Which task.")] = Task.SEQUENTIAL,
    split: Annotated[Split, typer.Option(help="valid or test.")] = Split.TEST,
    metric: Annotated[str, typer.Option(help="hit@K or ndcg@K.")] = "ndcg@10",
    method: Annotated[
        Method, typer.Option(help="exact, unseen (bought items left out), beam or pod.")
    ] = Method.EXACT,
    as_json: Json = False,
) -> None:
    """Compare runs with the first: mean and sd over seeds, bootstrap over users, a verdict.

    Example: podtrain compare runs/plain runs/no-prompts --metric ndcg@10
    """
    from podprep.ui.console import print_json, print_tables
    from podtrain.evaluate.comparison import compare_runs
    from podtrain.report.tables import comparison_table

    baseline, others = compare_runs(runs, task, split, metric, method)
    if as_json:
        print_json([asdict(c) for c in (baseline, *others)])
        return
    print_tables(comparison_table(baseline, others, f"{task}, {split}, {metric}"))


def report(
    run: Run,
    to: Annotated[
        Path | None, typer.Option(help="A file. Default: report.html in the run.")
    ] = None,
    shards: ShardsOption = None,
) -> None:
    """Write one page about a run: curves, results, a gallery of users.

    Example: podtrain report runs/beauty
    """
    from podprep.ui.console import print_lines
    from podtrain.report.page import write_report
    from podtrain.run import Run as Trained

    trained = Trained.open(run)
    path = to or run / "report.html"
    write_report(trained, trained.shards(shards), path)
    print_lines(f"{path} is ready")
