"""Tiny dumps through the real code: no network, no GPU, seeded."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# before torch is imported anywhere: tiny models on two threads wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

from podprep.engine import Machine
from podprep.recipe.inputs import Inputs
from podprep.recipe.options import BuildOptions
from podprep.recipe.pipeline import build
from podprep.recipe.templates import load_templates

SHARED = Path(__file__).parent.parent.parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared beside the checkout")

Row = dict[str, Any]
Build = Callable[..., Path]


def review(user: str, item: str, day: int, **more: Any) -> Row:
    """One review of the 2014 format."""
    return {
        "reviewerID": user,
        "asin": item,
        "overall": 5.0,
        "reviewText": f"I use it daily. The {FEATURES[int(item[1:]) % 3]} is very sturdy.",
        "unixReviewTime": 86_400 * day,
        **more,
    }


FEATURES = ("handle", "strap", "zipper")
STRIDES = (1, 7, 11, 13)  # no common factor with the numbers of items: no product comes twice


def arithmetic_rows(users: int = 30, items: int = 15, length: int = 6) -> list[Row]:
    """A dump in product order in which every third purchase shares its day with the one before."""
    rows = [
        review(f"U{u:03}", f"I{(u + n * STRIDES[u % 4]) % items:03}", 100 + n - (n % 3 == 2))
        for u in range(users)
        for n in range(length)
    ]
    return sorted(rows, key=lambda r: (r["asin"], r["reviewerID"]))


def write_dump(path: Path, rows: list[Row]) -> Path:
    """Write rows as gzipped JSON lines."""
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


@pytest.fixture
def build_rows(tmp_path: Path) -> Build:
    """Return a function that builds a dataset from rows, or from a dump, and returns its folder."""

    def run(
        source: list[Row] | Path, *, threads: int = 1, memory: int = 1 << 30, **options: Any
    ) -> Path:
        n = len(list(tmp_path.iterdir()))
        dump = source if isinstance(source, Path) else write_dump(tmp_path / f"dump{n}.gz", source)
        out = tmp_path / f"shards{n}"
        extra = {k: options.pop(k) for k in ("metadata", "sentiment", "templates") if k in options}
        inputs = Inputs(
            dataset="tiny",
            options=BuildOptions(**options),
            templates=extra.pop("templates", None) or load_templates(),
            dump=dump,
            **extra,
        )
        machine = Machine(threads=threads, memory=memory)
        build(inputs, machine, out, progress=lambda *_: None)
        return out

    return run
