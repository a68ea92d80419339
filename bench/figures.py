"""What a benchmark found: one line a figure, the same for people and as JSON."""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

THREADS = os.cpu_count() or 1
SERIES = ("training step", "training by length", "exact ranking by catalogue")  # drawn, or details


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement beside its reference.

    ours, reference and floor are in `unit`; the floor is the best that this machine's plain copy,
    product of matrices or codec allows for the same work. asked: the ratio that is at least
    wanted, or the most that `ours` may be where there is no reference.
    """

    part: str
    work: str
    unit: str
    ours: float
    reference: float | None = None
    asked: float | None = None
    floor: float | None = None
    floor_of: str = ""
    note: str = ""

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.unit.endswith("/s")

    def against(self, other: float | None) -> float | None:
        """Return how many times better this is than another value, None without one."""
        if other is None:
            return None
        return self.ours / other if self.is_rate else other / self.ours

    @property
    def ratio(self) -> float | None:
        """How many times better than the reference."""
        return self.against(self.reference)

    @property
    def of_floor(self) -> float | None:
        """What share of the floor's speed is reached."""
        return self.against(self.floor)

    @property
    def holds(self) -> bool | None:
        """Whether it is what was asked for; None where nothing was."""
        if self.asked is None:
            return None
        if self.ratio is not None:
            return self.ratio >= self.asked
        return self.ours >= self.asked if self.is_rate else self.ours <= self.asked


def timed(work: Callable[[], object], runs: int = 3) -> float:
    """Return the median wall seconds of some runs, after what the caller has warmed up."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    return parser


def show(figures: Iterable[Figure], file: Path | None = None) -> None:
    """Print one table; write JSON where a file is named."""
    figures = list(figures)
    table = Table(title=f"{THREADS} cores; ratios of one run")
    for name in ("part", "work", "unit"):
        table.add_column(name)
    for name in ("ours", "reference", "times", "asked", "of floor", "holds"):
        table.add_column(name, justify="right")
    for f in figures:
        table.add_row(
            f.part,
            f.work,
            f.unit,
            _number(f.ours),
            _number(f.reference),
            _number(f.ratio),
            _number(f.asked),
            "" if f.of_floor is None else f"{f.of_floor:.0%}",
            {None: "", True: "yes", False: "no"}[f.holds],
        )
    Console(width=150).print(table)
    if file:
        rows = [asdict(f) | {"ratio": f.ratio, "holds": f.holds} for f in figures]
        file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def load(file: Path) -> list[Figure]:
    """Read figures that `show` wrote."""
    names = Figure.__dataclass_fields__
    return [Figure(**{k: row[k] for k in names}) for row in json.loads(file.read_text())]


def markdown(figures: Iterable[Figure]) -> str:
    """Return the table of docs/speed.md: what was asked for, or has a reference and no series."""
    head = ("part", "work", "unit", "here", "reference", "times", "asked", "of the floor", "holds")
    rows = [head, ("---",) * 3 + ("---:",) * 5 + ("---",)]
    for f in figures:
        if f.asked is None and (f.reference is None or f.part in SERIES):
            continue
        numbers = (f.ours, f.reference, f.ratio, f.asked)
        share = "" if f.of_floor is None else f"{f.of_floor:.0%}"
        holds = {None: "", True: "yes", False: "**no**"}[f.holds]
        rows.append((f.part, f.work, f.unit, *map(_number, numbers), share, holds))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
