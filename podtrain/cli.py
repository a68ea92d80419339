"""The command line: reads options, calls one function, shows the result.

Heavy libraries are imported inside the commands, so that `--help` answers at once.
"""

import os
import sys
from typing import Annotated

import typer

from podprep.contract.errors import PodError
from podtrain import __version__
from podtrain.commands import evaluate, fit, recommend

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="From shards of prompts to a recommender with distilled prompts, and to numbers.",
    epilog="Exit codes: 0 done, 1 an error, 2 a wrong option.",
)
for commands in (fit, evaluate, recommend):
    commands.register(app)


def main() -> None:
    """Run the command line; errors that a user can mend are one line and exit code 1."""
    try:
        app()
    except PodError as error:
        message = " ".join(str(error).split("\n"))
        sys.stderr.write(f"podtrain: {message}\n")
        raise SystemExit(1) from None
    except ModuleNotFoundError as error:
        if (error.name or "podtrain").split(".")[0] == "podtrain":
            raise
        sys.stderr.write(
            f"podtrain: {error.name} is not installed: pip install -c constraints.txt '.[train]'\n"
        )
        raise SystemExit(1) from None
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        sys.stderr.write("podtrain: interrupted; podtrain fit goes on with --resume\n")
        raise SystemExit(130) from None


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"podtrain {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
