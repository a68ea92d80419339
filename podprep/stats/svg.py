"""Small pictures as SVG text: bars, curves and steps on axes with units. Colours come from CSS."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 420, 250  # about what a column of the page has, so that letters keep their size
LEFT, RIGHT, TOP, BOTTOM = 60, 14, 14, 42
Point = tuple[float, float]


def short(value: float) -> str:
    """Return a number in few letters: 950, 12k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def percent(value: float) -> str:
    """Return a share in percent."""
    return f"{100 * value:.3g}%"


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: from low to high, its ticks, and what it counts in which unit."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False
    words: Callable[[float], str] = short

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 to 1."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = (math.log10(max(v, 1e-12)) for v in (value, low, high))
        return (value - low) / (high - low) if high > low else 0.5


def linear(
    label: str,
    high: float,
    *,
    low: float = 0,
    words: Callable[[float], str] = short,
    whole: int = 0,
) -> Axis:
    """Return an axis with four to seven round ticks; `whole` keeps them off fractions."""
    high = max(high, low + (1 if whole else 1e-9))
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    if whole:
        step = max(1, math.ceil(step))
    first, last = math.ceil(low / step), math.floor(high / step + 1e-9)
    return Axis(label, low, high, tuple(n * step for n in range(first, last + 1)), words=words)


def logarithmic(label: str, high: float, *, low: float = 1) -> Axis:
    """Return an axis with a tick at each power of ten, and between them where there are few."""
    high = max(high, low * 10)
    between = (1, 2, 5) if high < low * 1000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = tuple(m * 10.0**n for n in powers for m in between if low <= m * 10.0**n <= high)
    return Axis(label, low, high, ticks, log=True)


@dataclass(slots=True)
class Picture:
    """A picture with axes, drawn from the back to the front."""

    name: str
    x: Axis
    y: Axis
    height: int = HEIGHT
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> Point:
        """Return the place of a value on the sheet."""
        across, up = WIDTH - LEFT - RIGHT, self.height - TOP - BOTTOM
        return LEFT + across * self.x.place(x), TOP + up * (1 - self.y.place(y))

    def bar(self, low: float, high: float, value: float, tip: str, style: str = "a") -> None:
        """Draw a bar from 0 to a value; one that is not nothing is seen."""
        (left, top), (right, bottom) = self.at(low, value), self.at(high, self.y.low)
        gap = 0.5 if right - left > 3 else 0
        if value > 0:
            top = min(top, bottom - 1)
        self.parts.append(
            f'<rect class="{style}" x="{left + gap:.1f}" y="{top:.1f}" '
            f'width="{max(right - left - 2 * gap, 0.5):.1f}" height="{bottom - top:.1f}">'
            f"<title>{escape(tip)}</title></rect>"
        )

    def curve(self, points: Sequence[Point], style: str = "a") -> None:
        """Draw a line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*p) for p in points))
        self.parts.append(f'<polyline class="curve {style}" points="{path}"/>')

    def dot(self, point: Point, tip: str, style: str = "a", radius: float = 3) -> None:
        """Draw a point with its words."""
        x, y = self.at(*point)
        self.parts.append(
            f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">'
            f"<title>{escape(tip)}</title></circle>"
        )

    def mark(self, start: Point, end: Point) -> None:
        """Draw a dashed line."""
        (x1, y1), (x2, y2) = self.at(*start), self.at(*end)
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.parts.append(f'<line class="mark" {ends}/>')

    def note(self, place: Point, words: str) -> None:
        """Write words to the right of a place."""
        x, y = self.at(*place)
        self.parts.append(f'<text class="note" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>')

    def svg(self, *, names: Sequence[tuple[float, str]] | None = None) -> str:
        """Return the picture; `names` stand at places of the x axis instead of its ticks."""
        bottom, right = self.height - BOTTOM, WIDTH - RIGHT
        under: list[str] = []
        for tick in self.y.ticks:
            y = self.at(self.x.low, tick)[1]
            under.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
            under.append(
                f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                f"{escape(self.y.words(tick))}</text>"
            )
        over = [f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>']
        places = names or [(tick, self.x.words(tick)) for tick in self.x.ticks]
        for value, words in places:
            x = self.at(value, self.y.low)[0]
            over.append(
                f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(words)}</text>'
            )
            if not names:
                ends = f'x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}"'
                over.append(f'<line class="axis" {ends}/>')
        over.append(
            f'<text class="unit" x="{(LEFT + right) / 2}" y="{self.height - 6}" '
            f'text-anchor="middle">{escape(self.x.label)}</text>'
        )
        middle = (TOP + bottom) / 2
        over.append(
            f'<text class="unit" transform="translate(11 {middle}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.y.label)}</text>'
        )
        inside = "".join([*under, *self.parts, *over])
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" '
            f'aria-label="{escape(self.name)}">{inside}</svg>'
        )
