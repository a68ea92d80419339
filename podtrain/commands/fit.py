"""The commands that train: `fit`, and `models` that can be trained."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from podprep.ui.cli import Json
from podtrain.commands.options import ShardsFolder
from podtrain.train.config import all_fields
from podtrain.train.options import CHOICES, HELP, option_type


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(_with_options(fit))
    app.command()(models)


def fit(
    shards: ShardsFolder,
    out: Annotated[
        Path | None, typer.Option(help="Where the run goes. Default: runs/DATASET.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of options by their names.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of runs, from --seed on, in OUT/seed-N.")
    ] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
    **options: Any,
) -> None:
    """Train a recommender on a dataset: by default POD, one T5 for all its tasks.

    Example: podtrain fit shards/ --out runs/beauty --tasks sequential --epochs 30
    """
    from podprep.ui.console import print_lines
    from podtrain.api import fit_seeds
    from podtrain.train.config import make_config
    from podtrain.watch import fit_progress

    runs = fit_seeds(
        shards,
        out,
        make_config(options, config),
        seeds,
        resume=resume,
        watched=lambda world, folder: fit_progress(world.is_main, str(folder)),
    )
    for run in runs:
        print_lines(run.summary())


def _with_options(command: Any) -> Any:
    """Give a command every option of every model, in the place of `**options`."""
    signature = inspect.signature(command)
    fixed = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = []
    for name, field in all_fields().items():
        kind: Any = option_type(field)
        kind = str if kind is tuple else kind
        flag = f"--{name.replace('_', '-')}"
        names = [f"{flag}/--no-{flag[2:]}"] if kind is bool else [flag]
        shown = typer.Option(*names, help=_help(field), metavar=_metavar(field))
        added.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind | None, shown],
            )
        )
    command.__signature__ = signature.replace(parameters=[*fixed, *added])
    command.__annotations__ = {p.name: p.annotation for p in (*fixed, *added)} | {"return": None}
    return command


def _help(field: Any) -> str:
    """An option's words with its default, which a TOML file and the model may overrule."""
    said: str = field.metadata[HELP]
    if field.default in ((), None):
        return said
    default = field.default
    if isinstance(default, bool):
        default = "yes" if default else "no"
    return f"{said} [default: {default}]"


def _metavar(field: Any) -> str | None:
    choices = field.metadata[CHOICES]
    return f"[{'|'.join(choices)}]" if choices else None


def models(
    as_json: Json = False,
) -> None:
    """List the recommenders: those that are trained, and those that count.

    Example: podtrain models
    """
    from podprep.ui.console import print_json, print_tables
    from podtrain.api import models as listed
    from podtrain.report.tables import models_table

    if as_json:
        print_json(
            [
                {"name": m.name, "tasks": m.tasks, "summary": m.summary, "trained": m.trained}
                for m in listed()
            ]
        )
    else:
        print_tables(models_table(listed()))
