"""The command line: reads options, calls one function, shows the result.

Heavy libraries are imported inside the commands, so that `--help` answers at once.
"""

from podprep.ui import cli
from podtrain import __version__
from podtrain.commands import evaluate, fit, recommend

app = cli.application(
    "podtrain",
    __version__,
    *(group.register for group in (fit, evaluate, recommend)),
    about="From shards of prompts to a recommender with distilled prompts, and to numbers.",
    exit_codes="",
)


def main() -> None:
    """Run the command line; errors that a user can mend are one line and exit code 1."""
    cli.main(
        app,
        "podtrain",
        interrupted="a training run goes on with podtrain fit --resume",
        extra="pip install -c constraints.txt '.[train]'",
    )
