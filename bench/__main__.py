"""Run every benchmark: one table, and where asked for JSON and the picture of how cost grows.

usage: python -m bench [--dump FILE] [--sizes N,N] [--json FILE] [--picture FILE]

Each part is a process of its own, one after the other. All work on the same reviews: a dump of
2014, or without one the embedded sample, copied up to the size of Beauty.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from bench import build
from bench.figures import Figure, arguments, load, show
from bench.growth import growth, panels
from podprep.raw.sample import write_sample

MOST = 20 * 60.0  # s, of the issue


def run(module: str, *options: str) -> None:
    """Run one benchmark; what it prints is shown where it fails."""
    command = [sys.executable, "-m", module, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def main() -> None:
    """Run all parts and show what they found."""
    parser = arguments(__doc__)
    parser.add_argument("--dump", type=Path, help="of 2014, gzipped")
    parser.add_argument("--sizes", default=",".join(map(str, build.SIZES)))
    parser.add_argument("--picture", type=Path, help="an SVG")
    args = parser.parse_args()
    start, console = time.perf_counter(), Console(stderr=True)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        dump, shards = args.dump, str(work / "shards")
        if dump is None:
            write_sample(work / "sample.gz")
            text = build.marked(work / "sample.gz")
            dump = build.write_copies(text, build.BEAUTY, work / "dump.json.gz")
        parts = {
            "startup": [],
            "build": ["--dump", str(dump), "--sizes", args.sizes],
            "stream": ["--shards", shards],
            "train": ["--shards", shards],
            "infer": ["--shards", shards],
        }
        with console.status("build the shards") as status:
            run("podprep", "build", "--dataset", "beauty", "--raw", str(dump), "--out", shards)
            for name, options in parts.items():
                status.update(f"{name}, {time.perf_counter() - start:,.0f} s so far")
                found = work / f"{name}.json"
                run(f"bench.{name}", *options, "--json", str(found))
                figures += load(found)
    took = time.perf_counter() - start
    figures.append(Figure("bench", "all of it", "s", took, asked=MOST))
    show(figures, args.json)
    if args.picture:
        args.picture.write_text(growth(panels(figures)), encoding="utf-8")


if __name__ == "__main__":
    main()
