"""The commands that show a dataset as figures, and carry datasets to other tools and back."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from podprep.contract.errors import PodError
from podprep.recipe.options import Compat, Protocol, parse_tasks

ShardsFolder = Annotated[Path, typer.Argument(help="A folder made by podprep build.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Memory = Annotated[str | None, typer.Option(help="For the whole process, as 2GB.")]
Threads = Annotated[int | None, typer.Option(help="Default: one a core.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


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
    from podprep.contract.shards import Shards
    from podprep.engine import Machine
    from podprep.report import print_tables
    from podprep.stats.figures import collect, stats_tables
    from podprep.stats.page import write_page

    if html and html.resolve().is_relative_to(shards.resolve()):
        raise PodError(f"{html} lies in {shards}, which is only read: write somewhere else")
    found = collect(Shards.open(shards), Machine.of(threads, memory))
    if html:
        write_page(found, html)
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False, default=str))
        return
    print_tables(*stats_tables(found))
    if html:
        typer.echo(f"{html} is written: open it in a browser")


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
    from podprep.contract.shards import Shards
    from podprep.engine import Machine
    from podprep.exchange.exports import export_dataset

    machine = Machine.of(threads, memory)
    paths = export_dataset(Shards.open(shards), to, layout, machine, force=force)
    if as_json:
        typer.echo(json.dumps([{"file": str(p), "bytes": p.stat().st_size} for p in paths]))
    else:
        typer.echo("\n".join(map(str, paths)))


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
    out: Annotated[Path, typer.Option(help="Where the dataset goes.")] = Path("shards"),
    dataset: Annotated[
        str | None, typer.Option(help="Its name. Default: that of the files or the folder.")
    ] = None,
    compat: Annotated[
        Compat | None,
        typer.Option(help="pod: numbers by first appearance, ties as in the file (recbole)."),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Which tasks, with commas. Default: all that it can serve.")
    ] = None,
    seed: Annotated[int, typer.Option(help="What every draw is keyed with.")] = 0,
    negatives: Annotated[int, typer.Option(help="Candidates beside the positive.")] = 99,
    history: Annotated[int, typer.Option(help="Longest history of a sequential sample.")] = 20,
    rounds: Annotated[int, typer.Option(help="Fresh draws of training samples.")] = 4,
    templates: Annotated[Path | None, typer.Option(help="Your own templates, TOML.")] = None,
    max_bad: Annotated[float, typer.Option(help="Largest share of malformed lines.")] = 0.01,
    memory: Memory = None,
    threads: Threads = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make a dataset of files in another layout: their ids, order, split and negatives stay.

    Example: podprep import published/beauty --format pod --out shards/
    """
    from podprep.engine import Machine
    from podprep.exchange.imports import folder_inputs, import_folder
    from podprep.recipe.templates import load_templates
    from podprep.report import accounting_table, print_tables, stage_progress

    machine = Machine.of(threads, memory)
    inputs = folder_inputs(
        folder,
        layout,
        load_templates(templates),
        name=dataset,
        protocol=Protocol.POD if compat else Protocol.CLEAN,
        tasks=None if tasks is None else parse_tasks(tasks),
        seed=seed,
        negatives=negatives,
        history=history,
        rounds=rounds,
        max_bad=max_bad,
    )
    with stage_progress() as progress:
        manifest = import_folder(inputs, machine, out, force=force, progress=progress)
    if as_json:
        typer.echo(json.dumps({**manifest, "path": str(out)}, indent=1, ensure_ascii=False))
        return
    print_tables(accounting_table(manifest))
    typer.echo(f"{out} is ready: podprep stats {out}")
