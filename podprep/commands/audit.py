"""The commands that distrust a dataset: audit and verify.

Exit codes of both: 0 nothing found, 2 leaks or faults found, 1 an error.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

FOUND = 2  # the exit code where something was found

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Memory = Annotated[str, typer.Option(help="For the whole process, as 2GB.")]
Threads = Annotated[int | None, typer.Option(help="Default: one a core.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(audit)
    app.command()(verify)


def audit(
    path: Annotated[Path, typer.Argument(help="A dataset, a published folder, or one file of it.")],
    memory: Memory = "2GB",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Look for leaks: what gives the answer away without any behaviour.

    Reads a dataset made by podprep build, a folder with sequential.txt (and datamaps.json,
    negative.txt, explanation.json where there are some), or one file of `user item item ...` lines.
    Exit code: 0 clean, 2 leaks found, 1 an error.

    Example: podprep audit shards/
    """
    from podprep.audit.leaks import audit as run
    from podprep.audit.leaks import audit_table, audit_words
    from podprep.engine import Machine
    from podprep.report import print_tables

    found = run(path, Machine.of(threads, memory))
    if as_json:
        typer.echo(json.dumps({**asdict(found), "leaks": found.leaks}, indent=1))
    else:
        print_tables(audit_table(found))
        typer.echo(audit_words(found))
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
    memory: Memory = "2GB",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Check every byte of a dataset, and every invariant that it promises.

    --rebuild needs the dump (found by its name and SHA-256) and room in $TMPDIR for another copy.
    Exit code: 0 everything holds, 2 faults found, 1 an error.

    Example: podprep verify shards/ --rebuild --raw reviews_Beauty_5.json.gz
    """
    from podprep.audit.verify import faults_words, invariants_table
    from podprep.audit.verify import verify as run
    from podprep.engine import Machine
    from podprep.report import print_tables, stage_progress

    machine = Machine.of(threads, memory)
    invariants = run(shards, machine)
    if rebuild:
        from podprep.audit.rebuild import Sources
        from podprep.audit.rebuild import rebuild as again

        given = {"dump": raw, "metadata": meta, "sentiment": sentiment}
        sources = Sources({role: path for role, path in given.items() if path is not None})
        with stage_progress() as progress:
            invariants.append(again(shards, sources, machine, progress))
    faults = sum(invariant.faults for invariant in invariants)
    if as_json:
        listed = {
            "path": str(shards),
            "faults": faults,
            "invariants": [asdict(invariant) for invariant in invariants],
        }
        typer.echo(json.dumps(listed, indent=1))
    else:
        print_tables(invariants_table(shards, invariants))
        typer.echo(faults_words(invariants))
    raise typer.Exit(FOUND if faults else 0)
