"""The commands that distrust a dataset: audit and verify.

Exit codes of both: 0 nothing found, 2 leaks or faults found, 1 an error.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import podprep
from podprep.commands.options import SetMemory, Threads
from podprep.ui.cli import Json

FOUND = 2  # the exit code where something was found


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(audit)
    app.command()(verify)


def audit(
    path: Annotated[Path, typer.Argument(help="A dataset, a published folder, or one file of it.")],
    memory: SetMemory = "2GB",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Look for leaks: what gives the answer away without any behaviour.

    Reads a dataset made by podprep build, a folder with sequential.txt (and datamaps.json,
    negative.txt, explanation.json where there are some), or one file of `user item item ...` lines.
    Exit code: 0 clean, 2 leaks found, 1 an error.

    Example: podprep audit shards/
    """
    from podprep.audit.leaks import audit_table, audit_words
    from podprep.ui.console import print_json, print_lines, print_tables

    found = podprep.audit_folder(path, memory=memory, threads=threads)
    if as_json:
        print_json({**asdict(found), "leaks": found.leaks})
    else:
        print_tables(audit_table(found))
        print_lines(*audit_words(found))
    raise typer.Exit(FOUND if found.leaks else 0)


def verify(
    shards: Annotated[Path, typer.Argument(help="A dataset made by podprep build or import.")],
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build it again, and compare byte for byte.")
    ] = False,
    raw: Annotated[
        Path | None, typer.Option(help="The dump (or imported folder). Default: by name in data/.")
    ] = None,
    meta: Annotated[Path | None, typer.Option(help="The metadata dump, likewise.")] = None,
    sentiment: Annotated[Path | None, typer.Option(help="The sentiment file, likewise.")] = None,
    memory: SetMemory = "2GB",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Check every byte of a dataset, and every invariant that it promises.

    --rebuild needs the dump (found by its name and SHA-256) and room in $TMPDIR for another copy.
    Exit code: 0 everything holds, 2 faults found, 1 an error.

    Example: podprep verify shards/ --rebuild --raw reviews_Beauty_5.json.gz
    """
    from podprep.audit.verify import faults_words, invariants_table
    from podprep.ui.console import print_json, print_lines, print_tables
    from podprep.ui.progress import stage_progress

    with stage_progress() as progress:
        found = podprep.verify(
            shards, rebuild=rebuild, raw=raw, meta=meta, sentiment=sentiment, memory=memory,
            threads=threads, progress=progress,
        )  # fmt: skip
    if as_json:
        print_json({**asdict(found), "faults": found.faults})
    else:
        print_tables(invariants_table(found))
        print_lines(*faults_words(found))
    raise typer.Exit(FOUND if found.faults else 0)
