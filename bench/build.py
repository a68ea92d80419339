"""Time `podprep build` whole: wall seconds, peak memory of the process, cost per review.

usage: python bench/build.py [--memory 2GB] [--runs 3] [--json FILE] [DUMP ...]

Without dumps two are made from the sample: one copied 50 times, one 500 times, each copy with
users and products of its own. Figures are medians; the ratio is the cost per review against the
first dump of the same run, which is what holds on a noisy machine.
"""

import argparse
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from podprep.raw.sample import write_sample


def copied_sample(path: Path, copies: int) -> Path:
    """Write a dump that is the sample `copies` times over."""
    once = path.with_name("sample.gz")
    write_sample(once)
    lines = [
        line for line in gzip.decompress(once.read_bytes()).splitlines() if b'"overall"' in line
    ]
    with gzip.open(path, "wb", compresslevel=1) as out:
        for copy in range(copies):
            mark = b"-%d" % copy
            for line in lines:
                head, asin, rest = line.partition(b'", "asin": "')
                product, quote, tail = rest.partition(b'"')
                out.write(head + mark + asin + product + mark + quote + tail + b"\n")
    return path


def timed(dump: Path, out: Path, options: list[str]) -> dict[str, Any]:
    """Build once in a process of its own; the peak is the kernel's figure for that process."""
    command = [sys.executable, "-m", "podprep", "build", "--dataset", "beauty", "--raw", str(dump)]
    command += ["--out", str(out), "--force", "--json", *options]
    result = out.with_suffix(".json")
    start = time.perf_counter()
    pid = os.fork()
    if not pid:
        os.dup2(os.open(result, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 1)
        os.execv(sys.executable, command)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"the build of {dump} failed")
    manifest = json.loads(result.read_text())
    size = sum(f["bytes"] for f in manifest["files"].values())
    return {
        "reviews": manifest["stages"][0]["in"],
        "wall_s": wall,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "written_mb": size / 1e6,
    }


def main() -> None:
    """Run and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dumps", nargs="*", type=Path)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table = Table(title=f"podprep build, {os.cpu_count()} cores, --memory {args.memory}")
    columns = ("dump", "reviews", "wall s", "cpu s", "peak MB", "written MB", "us/review", "ratio")
    for column in columns:
        table.add_column(column, justify="left" if column == "dump" else "right")
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        dumps = args.dumps or [copied_sample(work / f"sample-x{n}.gz", n) for n in (50, 500)]
        first = 0.0
        for dump in dumps:
            runs = [
                timed(dump, work / "shards", ["--memory", args.memory]) for _ in range(args.runs)
            ]
            median = {k: statistics.median(run[k] for run in runs) for k in runs[0]}
            cost = median["wall_s"] / median["reviews"] * 1e6
            first = first or cost
            figures.append(
                {"dump": dump.name, **median, "us_per_review": cost, "ratio": cost / first}
            )
            table.add_row(
                dump.name,
                f"{median['reviews']:,.0f}",
                *(f"{median[k]:,.1f}" for k in ("wall_s", "cpu_s", "peak_mb", "written_mb")),
                f"{cost:.1f}",
                f"{cost / first:.2f}",
            )
    Console(width=110).print(table)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
