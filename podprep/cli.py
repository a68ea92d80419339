"""The command line: reads options, calls one function, shows the result.

Heavy libraries are imported inside the commands, so that `--help` answers at once.
"""

from podprep import __version__
from podprep.commands import audit, build, exchange, query
from podprep.ui import cli

app = cli.application(
    "podprep",
    __version__,
    *(group.register for group in (build, exchange, query, audit)),
    about="From a raw dump of reviews to Parquet shards of prompts and targets.",
    exit_codes="; audit and verify: 2 something found",
)


def main() -> None:
    """Run the command line; errors that a user can mend are one line and exit code 1."""
    cli.main(app, "podprep", interrupted="nothing was changed")
