"""Curves as SVG text. Colours come from the style sheet of the page."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 290, 180  # about a column of the page, so that letters keep their size
LEFT, RIGHT, TOP, BOTTOM = 36, 10, 22, 34
MOST_POINTS = 300  # of a curve, more are averaged: a long run logs thousands
MOST_DOTS = 60

Point = tuple[float, float]


def curves(name: str, lines: Mapping[str, Sequence[Point]], mark: Point | None) -> str:
    """Draw losses over steps: a curve for each style of the style sheet, and one point marked.

    lines: {style: [(step, loss), ...]}, not all empty; a point whose loss is wanted exactly has a
    dot with its figure, as long as there are few.
    """
    shown = {style: thinned(points) for style, points in lines.items() if points}
    steps = [x for points in shown.values() for x, _ in points]
    values = [y for points in shown.values() for _, y in points]
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or 0.5
    across, up = (0.0, max(steps)), (low - room, high + room)

    def at(x: float, y: float) -> str:
        return f"{_place(x, across, LEFT, WIDTH - RIGHT):.1f},{_y(y, up):.1f}"

    parts = _axes(across, up)
    if mark:
        parts += _marked(mark, across)
    for style, points in shown.items():
        path = " ".join(at(x, y) for x, y in points)
        parts.append(f'<polyline class="curve {style}" points="{path}"/>')
    for style, points in shown.items():
        for x, y in points if len(points) <= MOST_DOTS else ():
            cx, cy = at(x, y).split(",")
            tip = f"step {x:,.0f}: {y:.4f}"
            parts.append(_dot(style, cx, cy, 2, tip))
    if mark:
        cx, cy = at(*mark).split(",")
        parts.append(_dot("best", cx, cy, 4, f"best, step {mark[0]:,.0f}: {mark[1]:.4f}"))
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">'
        f"{''.join(parts)}</svg>"
    )


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return at most so many points, each the mean of its neighbours; the last stays the last."""
    size = -(-len(points) // most)
    if size <= 1:
        return list(points)
    groups = [points[max(0, end - size) : end] for end in range(len(points), 0, -size)]
    return [(group[-1][0], math.fsum(y for _, y in group) / len(group)) for group in groups[::-1]]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers from low to high: a step of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


def _place(value: float, span: Point, start: float, end: float) -> float:
    low, high = span
    return start + (end - start) * (value - low) / (high - low or 1)


def _y(value: float, span: Point) -> float:
    return _place(value, span, HEIGHT - BOTTOM, TOP)


def _axes(across: Point, up: Point) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in ticks(*up):
        y = _y(value, up)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>')
    for value in ticks(*across, 4) if across[1] else ():
        x = _place(value, across, LEFT, right)
        words = f"{value:g}" if value < 1000 else f"{value / 1000:g}k"
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{words}</text>')
    middle = (LEFT + right) / 2
    parts.append(
        f'<text class="unit" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">step</text>'
    )
    return parts


def _marked(mark: Point, across: Point) -> list[str]:
    """A dashed line at the step of the marked point, its words where there is room."""
    x = _place(mark[0], across, LEFT, WIDTH - RIGHT)
    share = (x - LEFT) / (WIDTH - RIGHT - LEFT)
    anchor = "start" if share < 0.2 else "end" if share > 0.8 else "middle"
    return [
        f'<line class="mark" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>',
        f'<text class="unit" x="{x:.1f}" y="{TOP - 8}" text-anchor="{anchor}">{mark[1]:.3f}</text>',
    ]


def _dot(style: str, cx: str, cy: str, radius: float, tip: str) -> str:
    return (
        f'<circle class="{style}" cx="{cx}" cy="{cy}" r="{radius}">'
        f"<title>{escape(tip)}</title></circle>"
    )
