"""Show whether two datasets have the same bytes: of two folders, or of a folder and its hashes.

    python -m bench.same_bytes shards/ other-shards/
    python -m bench.same_bytes shards/ shards.sha256      # as sha256sum writes it, paths below

The manifest is left out: it names versions. --except samples/task=topn leaves out what is meant to
differ. Exit code: 0 the same, 1 not.
"""

import argparse
import sys
from pathlib import Path

from podprep.contract.hashing import file_sha256


def hashes(path: Path) -> dict[str, str]:
    """Return the SHA-256 by name of the Parquet files of a folder, or of a list of hashes."""
    if path.is_dir():
        files = sorted(path.rglob("*.parquet"))
        return {file.relative_to(path).as_posix(): file_sha256(file) for file in files}
    pairs = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines())
    return {name.removeprefix("./"): sha256 for sha256, name in pairs}


def compare(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return a line a file that is missing from one side, or differs."""
    lines = [
        f"{name} differs" for name in sorted(one.keys() & other.keys()) if one[name] != other[name]
    ]
    lines += [f"{name} is only in the first" for name in sorted(one.keys() - other.keys())]
    return lines + [f"{name} is only in the second" for name in sorted(other.keys() - one.keys())]


def main() -> None:
    """Compare, print, and exit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--except", dest="left_out", action="append", default=[], metavar="PREFIX")
    options = parser.parse_args()
    one, other = (
        {n: h for n, h in hashes(path).items() if not n.startswith(tuple(options.left_out))}
        for path in (options.one, options.other)
    )
    lines = compare(one, other)
    same = len(one.keys() & other.keys()) - sum(line.endswith("differs") for line in lines)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.write(f"{options.one}: {same} of {len(one)} files are the same\n")
    raise SystemExit(bool(lines) or not same)


if __name__ == "__main__":
    main()
