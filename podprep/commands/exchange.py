"""The commands that show a dataset as figures, and carry datasets to other tools and back."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import podprep
from podprep.commands.options import (
    CompatOption,
    Force,
    History,
    MaxBad,
    Memory,
    Negatives,
    Out,
    Rounds,
    Seed,
    ShardsFolder,
    Templates,
    Threads,
)
from podprep.recipe.options import DEFAULTS
from podprep.ui.cli import Json


class ExportFormat(StrEnum):
    """Layouts that others read."""

    POD = "pod"
    RECBOLE = "recbole"
    JSONL = "jsonl"
    HF = "hf"


class ImportFormat(StrEnum):
    """Layouts that are read."""

    POD = "pod"
    RECBOLE = "recbole"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(stats)
    app.command()(export)
    app.command("import")(import_)


def stats(
    shards: ShardsFolder,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with pictures, which needs no network.")
    ] = None,
    memory: Memory = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Show what is in a dataset: lengths, popularity, times, ties, samples, prompts, negatives.

    Example: podprep stats shards/ --html stats.html
    """
    from podprep.commands.tables import stats_tables
    from podprep.contract.writing import refuse_inside
    from podprep.stats.page import write_page
    from podprep.ui.console import print_json, print_lines, print_tables

    refuse_inside(html, shards)
    found = podprep.open(shards).stats(memory=memory, threads=threads)
    if html:
        write_page(found, html)
    if as_json:
        print_json(found)
        return
    print_tables(*stats_tables(found))
    if html:
        print_lines(f"{html} is written: open it in a browser")


def export(
    shards: ShardsFolder,
    to: Annotated[Path, typer.Option(help="The folder to write to; its other files stay.")],
    layout: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="pod: the published files. recbole: atomic files. jsonl: samples as JSON lines. "
            "hf: Parquet and a card for the datasets library.",
        ),
    ],
    memory: Memory = None,
    threads: Threads = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a dataset in a layout that others read.

    Example: podprep export shards/ --format recbole --to dataset/
    """
    from podprep.ui.console import print_json, print_lines

    dataset = podprep.open(shards)
    paths = dataset.export(layout, to, force=force, memory=memory, threads=threads)
    if as_json:
        print_json([{"file": str(p), "bytes": p.stat().st_size} for p in paths])
    else:
        print_lines(*map(str, paths))


def import_(
    folder: Annotated[Path, typer.Argument(help="The folder with the files.")],
    layout: Annotated[
        ImportFormat,
        typer.Option(
            "--format",
            help="pod: sequential.txt, with datamaps.json, negative.txt, explanation.json where "
            "there are. recbole: NAME.inter, or NAME.train.inter and so on, and NAME.item.",
        ),
    ],
    out: Out = Path("shards"),
    dataset: Annotated[
        str | None, typer.Option(help="Its name. Default: that of the files or the folder.")
    ] = None,
    compat: CompatOption = None,
    tasks: Annotated[
        str | None, typer.Option(help="Which tasks, with commas. Default: all that it can serve.")
    ] = None,
    seed: Seed = DEFAULTS.seed,
    negatives: Negatives = DEFAULTS.negatives,
    history: History = DEFAULTS.history,
    rounds: Rounds = DEFAULTS.rounds,
    templates: Templates = None,
    max_bad: MaxBad = DEFAULTS.max_bad,
    memory: Memory = None,
    threads: Threads = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make a dataset of files in another layout: their ids, order, split and negatives stay.

    Example: podprep import published/beauty --format pod --out shards/
    """
    from podprep.commands.tables import accounting_table
    from podprep.ui.console import print_json, print_lines, print_tables
    from podprep.ui.progress import stage_progress

    with stage_progress() as progress:
        made = podprep.import_folder(
            folder, layout, out=out, dataset=dataset, compat=compat, tasks=tasks, seed=seed,
            negatives=negatives, history=history, rounds=rounds, templates=templates,
            max_bad=max_bad, memory=memory, threads=threads, force=force, progress=progress,
        )  # fmt: skip
    if as_json:
        print_json({**made.manifest, "path": str(out)})
        return
    print_tables(accounting_table(made.manifest))
    print_lines(f"{out} is ready: podprep stats {out}")
