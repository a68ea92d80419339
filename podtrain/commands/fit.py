"""The command that trains: `fit`."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(fit)


def fit(
    shards: Annotated[Path, typer.Argument(help="A folder made by podprep build.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the run goes. Default: runs/DATASET.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="tiny, compact, small; or a T5 by folder or hub name.")
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Which tasks, with commas. Default: all.")
    ] = None,
    prompts: Annotated[int | None, typer.Option(help="Trained vectors before a prompt.")] = None,
    whole_words: Annotated[
        bool | None,
        typer.Option("--whole-words/--no-whole-words", help="ItemVectors of ids' places."),
    ] = None,
    id_digits: Annotated[
        int | None, typer.Option(help="Digits a piece of an id has; 0: ids whole.")
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="spectral: from training co-purchases; or random.")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="alternate: a task a batch, in turn; mixed: all in each.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate at its highest.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of the steps until then.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of matrices.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Of the T5.")] = None,
    user_dropout: Annotated[
        float | None, typer.Option(help="Share of sequential prompts without their user.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="At most so many.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Validations in a row that bring nothing.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    compile_: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="With torch.compile.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and dropout.")] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="So many runs, from --seed on, in OUT/seed-N.")
    ] = 1,
    config: Annotated[Path | None, typer.Option(help="TOML with the same names.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
) -> None:
    """Train one T5 for the tasks of a dataset, with prompts that replace the templates.

    Example: podtrain fit shards/ --out runs/beauty --tasks sequential --epochs 30
    """
    from podprep.contract.shards import Shards
    from podtrain.train.config import load_config
    from podtrain.train.device import choose_device
    from podtrain.train.loop import fit as run
    from podtrain.train.world import join_world
    from podtrain.watch import fit_progress

    given = {
        "base": base,
        "tasks": tasks,
        "prompts": prompts,
        "whole_words": whole_words,
        "id_digits": id_digits,
        "init": init,
        "schedule": schedule,
        "batch_size": batch_size,
        "lr": lr,
        "warmup": warmup,
        "weight_decay": weight_decay,
        "dropout": dropout,
        "user_dropout": user_dropout,
        "epochs": epochs,
        "patience": patience,
        "precision": precision,
        "compile": compile_,
        "device": device,
        "seed": seed,
    }
    dataset = Shards.open(shards)
    first = load_config(config, given)
    folder = out or Path("runs") / dataset.manifest["inputs"]["dataset"].replace("/", "-")
    with join_world(choose_device(first.device)) as world:
        for n in range(seeds):
            each = load_config(config, given | {"seed": first.seed + n})
            where = folder if seeds == 1 else folder / f"seed-{each.seed}"
            with fit_progress(world.is_main, str(where)) as watch:
                done = run(where, each, dataset, world, watch, resume=resume)
            if world.is_main:
                typer.echo(done.summary())
