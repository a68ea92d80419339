"""The command line: reads options, calls one function, shows the result.

Heavy libraries are imported inside the commands, so that `--help` answers at once.
"""

import os
import sys
from typing import Annotated

import typer

from podprep import __version__
from podprep.commands import audit, build, exchange, query
from podprep.contract.errors import PodError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="From a raw dump of reviews to Parquet shards of prompts and targets.",
    epilog="Exit codes: 0 done, 1 an error, 2 a wrong option; audit and verify: 2 something found.",
)
for commands in (build, exchange, query, audit):
    commands.register(app)


def main() -> None:
    """Run the command line; errors that a user can mend are one line and exit code 1."""
    try:
        app()
    except PodError as error:
        message = " ".join(str(error).split("\n"))
        sys.stderr.write(f"podprep: {message}\n")
        raise SystemExit(1) from None
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        sys.stderr.write("podprep: interrupted; nothing was changed\n")
        raise SystemExit(130) from None


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"podprep {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
