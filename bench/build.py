"""`podprep build` beside the pandas reference, and as the dump grows.

usage: python -m bench.build [--dump FILE] [--sizes N,N,N] [--memory 4GB] [--json FILE]

Without a dump the embedded sample stands in, copied up to the reviews of Beauty. Larger dumps are
copies, each with users and products of its own: what a user looks like stays the same, so that
the cost of a review should. Every build is a process of its own; its peak is the kernel's figure.
"""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from bench.figures import THREADS, Figure, arguments, show, timed
from podprep.contract.hashing import file_sha256
from podprep.contract.writing import write_parquet
from podprep.engine import Machine
from podprep.raw.dumps import LINES, open_dump, read_lines
from podprep.raw.sample import write_sample

BEAUTY = 198_502  # reviews
SIZES = (200_000, 4_000_000)  # and 20 million, where a quarter of an hour more is to be had
MEMORY = "4GB"
IDS = rb'("(?:reviewerID|asin)"\s*:\s*"[^"]*)"'
MARK = b"\0"  # (JSON has no such byte)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took."""

    wall: float
    cpu: float
    peak_mb: float
    printed: str


def run(command: list[str], scratch: Path) -> Cost:
    """Run a command to its end. Errors: `SystemExit` if it fails."""
    result = scratch / "printed"
    start = time.perf_counter()
    pid = os.fork()
    if not pid:
        os.dup2(os.open(result, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 1)
        os.execv(command[0], command)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, result.read_text())


def build(dump: Path, work: Path, memory: str) -> Cost:
    """Build all three tasks with the default options at work/shards."""
    command = [sys.executable, "-m", "podprep", "build", "--dataset", "beauty", "--raw", str(dump)]
    where = ["--out", str(work / "shards"), "--force", "--json"]
    return run([*command, *where, "--memory", memory], work)


def marked(dump: Path) -> bytes:
    """Return a dump's whole reviews with a mark behind each user and product."""
    with open_dump(dump) as stream:
        text = re.sub(IDS, rb"\1" + MARK + b'"', stream.read())
    return b"".join(line + b"\n" for line in text.split(b"\n") if _is_whole(line))


def _is_whole(line: bytes) -> bool:
    """Whether the reference, which checks nothing, can read the line."""
    try:
        return line.count(MARK) == 2 and json.loads(line.replace(MARK, b""))["unixReviewTime"] > 0
    except (ValueError, KeyError, TypeError):
        return False


def write_copies(text: bytes, reviews: int, to: Path) -> Path:
    """Write a marked text as often as comes nearest to a number of reviews: gzip, or zstd."""
    copies = max(1, round(reviews / text.count(b"\n")))
    codec = "gzip" if to.suffix == ".gz" else "zstd"

    def frame(copy: int) -> bytes:
        return bytes(pa.compress(text.replace(MARK, b"-%d" % copy), codec=codec, asbytes=True))

    with to.open("wb") as out, ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, copies, THREADS):  # few at a time: one may have 100 MB
            for compressed in pool.map(frame, range(first, min(copies, first + THREADS))):
                out.write(compressed)
    return to


def floor(dump: Path, shards: Path) -> float:
    """Return the seconds, all cores at work, of what must happen once.

    Decompress the dump and parse its lines; encode and compress what is written, and hash it.
    """
    with duckdb.connect(config={"threads": 1}) as con:
        lines = pa.Table.from_batches(read_lines(dump), LINES)
        con.register("lines", lines)
        names = sorted(p.relative_to(shards) for p in shards.rglob("*.parquet"))
        tables = {name: pq.ParquetFile(shards / name).read() for name in names}
        scratch = shards.with_name("again")

        def once() -> None:
            with open_dump(dump) as stream:
                while stream.read(1 << 20):
                    pass
            con.execute("SELECT count(*) FROM lines WHERE json_valid(line)").fetchall()
            for name, table in tables.items():
                write_parquet(scratch, name.name, table.schema, [table])
            file_sha256(dump)

        return timed(once, 1) / THREADS


def against_reference(dump: Path, work: Path, memory: str, runs: int = 3) -> list[Figure]:
    """Return the build against the reference, and against the part of it that is no training."""
    ours = sorted((build(dump, work, memory) for _ in range(runs)), key=lambda c: c.wall)[runs // 2]
    script = Path(__file__).parent / "reference" / "prep.py"
    theirs = run([sys.executable, str(script), str(dump), str(work / "reference")], work)
    stages, left = json.loads(theirs.printed)
    found = json.loads(ours.printed)["statistics"]
    if [found["users"], found["items"]] != left:
        raise SystemExit(f"the reference kept {left} users and products, the build others")
    note = "reference, s: " + ", ".join(f"{name} {s:.1f}" for name, s in stages.items())
    least = floor(dump, work / "shards")
    what = "decompress, parse, encode, compress and hash once, on all cores"
    whole = Figure("build", "dump to shards, 3 tasks, 4 rounds", "s", ours.wall, theirs.wall, 8)
    part = theirs.wall - stages["training draws"]
    only = Figure("build", "reference without training draws", "s", ours.wall, part)
    return [replace(f, floor=least, floor_of=what, note=note) for f in (whole, only)]


def at_scale(text: bytes, work: Path, sizes: Sequence[int], memory: str) -> list[Figure]:
    """Return the cost of a review at each size, how flat it is, and the most memory."""
    part = "build at scale"
    costs, peaks = [], []
    most = Machine.of(None, memory).memory / 2**20
    for size in sizes:
        dump = write_copies(text, size, work / "copies.zst")
        cost = build(dump, work, memory)
        dump.unlink()
        reviews = json.loads(cost.printed)["stages"][0]["in"]
        name = f"{reviews / 1e6:.3g} M reviews"
        note = f"{cost.wall:.1f} s, {cost.cpu:.0f} s of processor"
        costs.append(Figure(part, name, "us/review", cost.wall / reviews * 1e6, note=note))
        peaks.append(Figure(part, name, "MB", cost.peak_mb, asked=most, note=f"--memory {memory}"))
    what = "a review of the largest against one of the smallest"
    flat = Figure(part, what, "times", costs[-1].ours / costs[0].ours, asked=1.3)
    return [*costs, flat, *peaks]


def figures(
    work: Path,
    dump: Path | None = None,
    sizes: Sequence[int] = SIZES,
    memory: str = MEMORY,
) -> list[Figure]:
    """Return all figures, made in an empty folder; without a dump the sample's copies stand in."""
    if dump is None:
        write_sample(work / "sample.gz")
        dump = write_copies(marked(work / "sample.gz"), BEAUTY, work / "dump.json.gz")
    found = against_reference(dump, work, memory)
    return [*found, *(at_scale(marked(dump), work, sizes, memory) if sizes else [])]


def main() -> None:
    """Run it and print one table."""
    parser = arguments(__doc__)
    parser.add_argument("--dump", type=Path, help="of 2014, gzipped")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--memory", default=MEMORY)
    args = parser.parse_args()
    sizes = [int(size) for size in args.sizes.split(",") if size]
    with tempfile.TemporaryDirectory() as folder:
        show(figures(Path(folder), args.dump, sizes, args.memory), args.json)


if __name__ == "__main__":
    main()
