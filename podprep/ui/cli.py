"""The frame of both command lines: options they share, errors in one line, exit codes."""

import os
import sys
from collections.abc import Callable
from inspect import getdoc
from typing import Annotated, NoReturn

import typer
from typer.main import get_command

from podprep.contract.errors import PodError
from podprep.ui.text import visible

OURS = ("podprep", "podtrain")
DONE, FAILED, WRONG_OPTION, INTERRUPTED = 0, 1, 2, 130  # exit codes

Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output, no tables.")]


def application(
    name: str, version: str, *groups: Callable[[typer.Typer], None], about: str, exit_codes: str
) -> typer.Typer:
    """Return a command line with --version, -h and --help; each group adds its commands."""
    app = typer.Typer(
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,  # whose tables cut the names of options at 80 columns
        pretty_exceptions_enable=False,
        help=about,
        epilog=f"Exit codes: 0 done, 1 an error, 2 a wrong option, 130 interrupted{exit_codes}.",
    )

    def show_version(wanted: bool) -> None:
        if wanted:
            typer.echo(f"{name} {version}")
            raise typer.Exit

    @app.callback()
    def common(
        version: Annotated[
            bool,
            typer.Option(
                "--version", callback=show_version, is_eager=True, help="Print the version."
            ),
        ] = False,
    ) -> None:
        pass

    for add_commands in groups:
        add_commands(app)
    for command in app.registered_commands:  # by itself it would be cut
        command.short_help = (getdoc(command.callback) or "").partition("\n")[0]
    return app


def main(app: typer.Typer, name: str, *, interrupted: str, extra: str = "") -> NoReturn:
    """Run a command line and end the process; what a user can mend is one line on stderr.

    interrupted: what Ctrl-C leaves behind, in words. extra: how libraries are installed that only
    some commands need; without it a missing library is a fault.
    """
    for stream in (sys.stdout, sys.stderr):  # a title in Japanese, a terminal in Latin-1
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    raise SystemExit(_exit_code(app, name, interrupted, extra))


def _exit_code(app: typer.Typer, name: str, interrupted: str, extra: str) -> int:
    try:
        # not standalone: it would end with its own words and codes
        code = get_command(app).main(prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except PodError as error:
        return _failed(name, str(error))
    except typer.TyperException as error:
        return _wrong_option(name, error)
    except ModuleNotFoundError as error:
        if not extra or (error.name or name).split(".")[0] in OURS:
            raise
        return _failed(name, f"{error.name} is not installed: {extra}")
    except (BrokenPipeError, SystemExit) as end:  # SystemExit: what typer and rich make of it
        if not isinstance(end if isinstance(end, OSError) else end.__context__, BrokenPipeError):
            raise
        code = _reader_gone()
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED  # as typer has it
    if code == INTERRUPTED:
        return _failed(name, f"interrupted; {interrupted}", INTERRUPTED)
    return code if isinstance(code, int) else DONE


def _failed(name: str, message: str, code: int = FAILED) -> int:
    sys.stderr.write(f"{name}: {visible(' '.join(message.splitlines()))}\n")
    return code


def _wrong_option(name: str, error: typer.TyperException) -> int:
    """Say what is wrong with an option and where help is; without any command show the help."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else name
    message = error.format_message().rstrip(".")
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(f"{message}\n")
        return error.exit_code
    return _failed(command, f"{message}: see {command} --help", error.exit_code)


def _reader_gone() -> int:
    """The reader of a pipe has seen enough: nothing more is written, not even at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE
