"""Time how long a command takes to answer, in a process of its own.

usage: python -m bench.startup [--json FILE]

Wall seconds, the median of seven fresh processes after one that warms the cache of files; the
floor is Python that does nothing. The notes say what importing typer alone takes, and the seconds
of the processor, which tell where the machine was busy with other things.
"""

import os
import resource
import statistics
import subprocess
import sys
import time

from bench.figures import Figure, arguments, show

RUNS = 7
MOST = 0.4  # s, of the issue
# `--help` is what the issue names; the others answer without a dataset, too
COMMANDS = {
    ("podprep", "--help"): MOST,
    ("podtrain", "--help"): MOST,
    ("podprep", "build", "--help"): None,
    ("podtrain", "fit", "--help"): None,
    ("podprep", "datasets"): None,
}


def answering(arguments: tuple[str, ...]) -> tuple[float, float]:
    """Return median wall seconds and processor seconds of Python with some arguments."""
    walls, processors = [], []
    environment = {**os.environ, "COLUMNS": "100"}
    for _ in range(1 + RUNS):
        used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment
        )
        walls.append(time.perf_counter() - start)
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        processors.append(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)
    return statistics.median(walls[1:]), statistics.median(processors[1:])


def figures() -> list[Figure]:
    """Return a figure a command."""
    floor, _ = answering(("-c", "pass"))
    typer, _ = answering(("-c", "import typer"))
    found = []
    for command, most in COMMANDS.items():
        wall, processor = answering(("-m", *command))
        found.append(
            Figure(
                part="start-up",
                work=" ".join(command),
                unit="s",
                ours=wall,
                asked=most,
                floor=floor,
                floor_of="python -c pass",
                note=f"{processor:.2f} s of the processor; python -c 'import typer' {typer:.2f} s",
            )
        )
    return found


def main() -> None:
    """Run and print one table."""
    args = arguments(__doc__).parse_args()
    show(figures(), args.json)


if __name__ == "__main__":
    main()
