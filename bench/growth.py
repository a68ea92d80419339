"""Draw how cost grows with size, from what the benchmarks wrote: one SVG, for light and dark pages.

usage: python -m bench.growth FIGURES.json ... --to growth.svg

A panel takes the figures of one part, and the size from their words: "0.2 M reviews" is 200,000.
What is a rate is drawn as milliseconds. A panel with fewer than two sizes is left out.
"""

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bench.figures import Figure, load
from podprep.ui.svg import HEIGHT, RIGHT, WIDTH, Picture, Point, linear, logarithmic, short

HEAD = 48  # above a panel: its title and its lines' names
GAP = 8
STYLES = ("a", "b", "c", "d")  # in the order of a panel's lines
LOG_FROM = 12.0  # times between the lowest and the highest cost past which small ones need a log

# Colours by class and not by variable, which not all that draws SVG understands.
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #66645d; }
.title { font-size: 15px; font-weight: 600; fill: #22211e; }
.name, .value { fill: #22211e; }
.card { fill: #fcfbf8; stroke: #e2dfd6; }
.grid { stroke: #e9e6de; } .axis { stroke: #b9b5aa; }
.curve { fill: none !important; stroke-width: 2; stroke-linejoin: round; }
.b.curve { stroke-dasharray: 6 4; } .c.curve { stroke-dasharray: 2 3; }
.a { fill: #2a78c8; stroke: #2a78c8; } .b { fill: #c0690f; stroke: #c0690f; }
.c { fill: #1d8a5a; stroke: #1d8a5a; } .d { fill: #8a5fb5; stroke: #8a5fb5; }
@media (prefers-color-scheme: dark) {
text { fill: #a8a59b; } .title, .name, .value { fill: #efede6; }
.card { fill: #1e1e1b; stroke: #33322d; } .grid { stroke: #33322d; } .axis { stroke: #5b5951; }
.a { fill: #6ca9ea; stroke: #6ca9ea; } .b { fill: #efa552; stroke: #efa552; }
.c { fill: #62c397; stroke: #62c397; } .d { fill: #b892e0; stroke: #b892e0; }
}
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A name and its (size, cost)."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One small picture: `x` and `y` say what is counted in which unit. Sizes go by powers."""

    title: str
    x: str
    y: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """Which figures a panel takes: those of a part in one of the units, sized in `noun`."""

    part: str
    units: tuple[str, ...]
    noun: str
    title: str
    y: str
    ours: str
    reference: str = ""


KINDS = (
    Kind("build at scale", ("us/review",), "reviews", "Building a dataset", "µs a review", "build"),
    Kind(
        "build at scale",
        ("MB",),
        "reviews",
        "Building a dataset: memory",
        "MB at the highest",
        "build",
    ),
    Kind(
        "training by length",
        ("ms/step", "samples/s", "steps/s"),
        "tokens",
        "Training: the length of a prompt",
        "ms a step",
        "podtrain",
        "a loop in transformers",
    ),
    Kind(
        "exact ranking by catalogue",
        ("ms/user", "users/s"),
        "items",
        "Ranking the whole catalogue",
        "ms a user",
        "podtrain, exact",
        "generate, 20 beams",
    ),
)


def panels(figures: Iterable[Figure]) -> list[Panel]:
    """Return the panels for which there are figures of two sizes or more."""
    figures, found = list(figures), []
    for kind in KINDS:
        own = [f for f in figures if f.part == kind.part and f.unit in kind.units]
        lines = [
            Line(kind.ours, _points((f, f.ours) for f in own)),
            Line(kind.reference, _points((f, f.reference) for f in own)),
        ]
        kept = tuple(line for line in lines if line.points)
        if kept and len(kept[0].points) > 1:
            found.append(Panel(kind.title, f"{kind.noun}", kind.y, kept))
    return found


def size(work: str, noun: str = "") -> float:
    """Return the first number in words that has `noun` after it: 20 M reviews, 12,101 items."""
    match = re.search(rf"(\d[\d,]*(?:\.\d+)?) ?([kMG]?)(?= {noun})", work)
    if match is None:
        raise SystemExit(f"no number of {noun} in {work!r}")
    power = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}[match[2]]
    return float(match[1].replace(",", "")) * power


def _points(values: Iterable[tuple[Figure, float | None]]) -> tuple[Point, ...]:
    """Return (size, cost) by size. A rate of one a second costs 1,000 ms."""
    found = []
    for figure, value in values:
        if value is not None:
            noun = next(k.noun for k in KINDS if k.part == figure.part and figure.unit in k.units)
            found.append((size(figure.work, noun), 1000 / value if figure.is_rate else value))
    return tuple(sorted(found))


def growth(drawn: Sequence[Panel], columns: int = 2) -> str:
    """Return one SVG of all panels, small ones side by side."""
    columns = min(columns, len(drawn))
    rows = -(-len(drawn) // columns)
    width = columns * (WIDTH + GAP) + GAP
    height = rows * (HEAD + HEIGHT + GAP) + GAP
    inside = "".join(
        _drawn(panel, GAP + n % columns * (WIDTH + GAP), GAP + n // columns * (HEAD + HEIGHT + GAP))
        for n, panel in enumerate(drawn)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="How cost grows with size">'
        f"<style>{STYLE}</style>{inside}</svg>\n"
    )


def _drawn(panel: Panel, left: float, top: float) -> str:
    """Return one panel with its card, title and the names of its lines, placed on the sheet."""
    sizes = [x for line in panel.lines for x, _ in line.points]
    costs = [y for line in panel.lines for _, y in line.points]
    across = logarithmic(panel.x, 1.25 * max(sizes), low=0.8 * min(sizes))
    if max(costs) > LOG_FROM * min(costs) > 0:
        up = logarithmic(panel.y, 1.8 * max(costs), low=min(costs) / 1.8)
    else:
        up = linear(panel.y, 1.15 * max(costs))
    picture = Picture(panel.title, across, up)
    for style, line in zip(STYLES, panel.lines, strict=False):
        picture.curve(line.points, style)
        for x, y in line.points:
            picture.dot((x, y), f"{line.name}: {short(x)} {panel.x}, {short(y)} {panel.y}", style)
        for x, y in (line.points[0], line.points[-1]):
            lower = any(b > y for line in panel.lines for a, b in line.points if a == x)
            over = -18 if lower else 9  # of two lines, one is written above, one below
            picture.note((x, y), short(y), "value", "middle", up=over)
    plot = str(picture.svg()).replace(
        "<svg ", f'<svg y="{HEAD - 6}" width="{WIDTH}" height="{HEIGHT}" ', 1
    )
    return (
        f'<g transform="translate({left} {top})"><rect class="card" width="{WIDTH}" '
        f'height="{HEAD + HEIGHT}" rx="6"/><text class="title" x="{RIGHT}" y="22">'
        f"{escape(panel.title)}</text>{_names(panel.lines)}{plot}</g>"
    )


def _names(lines: Sequence[Line]) -> str:
    """Return a stroke and the name of each line, in a row; of one line there is nothing to say."""
    if len(lines) < 2:
        return ""
    drawn, x = [], float(RIGHT)
    for style, line in zip(STYLES, lines, strict=False):
        drawn.append(
            f'<polyline class="curve {style}" points="{x},37 {x + 22},37"/>'
            f'<text class="name" x="{x + 28}" y="41">{escape(line.name)}</text>'
        )
        x += 28 + 6.5 * len(line.name) + 18
    return "".join(drawn)


def main() -> None:
    """Read the files, write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("figures", nargs="+", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    args = parser.parse_args()
    drawn = panels(figure for file in args.figures for figure in load(file))
    if not drawn:
        raise SystemExit("no part has figures of two sizes: nothing to draw")
    args.to.write_text(growth(drawn), encoding="utf-8")
    print(f"{args.to}: {', '.join(panel.title for panel in drawn)}")  # noqa: T201


if __name__ == "__main__":
    main()
