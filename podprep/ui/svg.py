"""Pictures as SVG: bars, curves and dots on axes with units. Colours come from the style sheet."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from podprep.ui.text import visible

WIDTH, HEIGHT = 420, 250  # about what a column of a page has, so that letters keep their size
LEFT, RIGHT, TOP, BOTTOM = 60, 14, 14, 42
MOST_POINTS = 300  # of a curve, more are averaged: a long run logs thousands
MOST_DOTS = 60

Point = tuple[float, float]


def element(name: str, *inside: str, **attributes: object) -> Markup:
    """Return an element; text in it is escaped, `Markup` is not. `class_`, `view_box`: as in SVG.

    A float of the attributes is rounded to a tenth.
    """
    words = []
    for key, value in attributes.items():
        shown = f"{value:.1f}" if isinstance(value, float) else visible(value)
        named = "viewBox" if key == "view_box" else key.rstrip("_").replace("_", "-")
        words.append(f' {named}="{escape(shown)}"')
    text = "".join(part if isinstance(part, Markup) else escape(visible(part)) for part in inside)
    return Markup(f"<{name}{''.join(words)}>{text}</{name}>")


def short(value: float) -> str:
    """Return a number in few letters: 950, 12k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def percent(value: float) -> str:
    """Return a share in percent."""
    return f"{100 * value:.3g}%"


def ticks(low: float, high: float, about: int = 5, *, whole: bool = False) -> tuple[float, ...]:
    """Return round numbers from low to high, by steps of 1, 2, 2.5 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    if whole:
        step = max(1, math.ceil(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(n * step, 10) for n in range(first, last + 1))


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return at most so many points, each the mean of its neighbours; the last stays the last."""
    size = -(-len(points) // most)
    if size <= 1:
        return list(points)
    groups = [points[max(0, end - size) : end] for end in range(len(points), 0, -size)]
    return [(group[-1][0], math.fsum(y for _, y in group) / len(group)) for group in groups[::-1]]


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
    whole: bool = False,
    about: int = 5,
) -> Axis:
    """Return an axis with round ticks, about so many; `whole` keeps them off fractions."""
    high = max(high, low + (1 if whole else 1e-9))
    return Axis(label, low, high, ticks(low, high, about, whole=whole), words=words)


def logarithmic(label: str, high: float, *, low: float = 1) -> Axis:
    """Return an axis with a tick at each power of ten, and between them where there are few."""
    high = max(high, low * 10)
    between = (1, 2, 5) if high < low * 1000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = tuple(m * 10.0**n for n in powers for m in between if low <= m * 10.0**n <= high)
    return Axis(label, low, high, found, log=True)


@dataclass(slots=True)
class Picture:
    """A picture with axes, drawn from the back to the front."""

    name: str
    x: Axis
    y: Axis
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    top: int = TOP
    parts: list[Markup] = field(default_factory=list)

    def at(self, x: float, y: float) -> Point:
        """Return the place of a value on the sheet."""
        across, up = self.width - self.left - RIGHT, self.height - self.top - BOTTOM
        return self.left + across * self.x.place(x), self.top + up * (1 - self.y.place(y))

    def bar(self, low: float, high: float, value: float, tip: str, style: str = "data") -> None:
        """Draw a bar from 0 to a value; one that is not nothing is seen."""
        (left, top), (right, bottom) = self.at(low, value), self.at(high, self.y.low)
        gap = 0.5 if right - left > 3 else 0.0
        if value > 0:
            top = min(top, bottom - 1)
        size = {"width": max(right - left - 2 * gap, 0.5), "height": bottom - top}
        tip_ = element("title", tip)
        self.parts.append(element("rect", tip_, class_=style, x=left + gap, y=top, **size))

    def curve(self, points: Sequence[Point], style: str = "data") -> None:
        """Draw a line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*p) for p in points))
        self.parts.append(element("polyline", class_=f"curve {style}", points=path))

    def dot(self, point: Point, tip: str, style: str = "data", radius: float = 3) -> None:
        """Draw a point with its words."""
        x, y = self.at(*point)
        title = element("title", tip)
        self.parts.append(element("circle", title, class_=style, cx=x, cy=y, r=float(radius)))

    def mark(self, start: Point, end: Point) -> None:
        """Draw a dashed line."""
        (x1, y1), (x2, y2) = self.at(*start), self.at(*end)
        self.parts.append(element("line", class_="mark", x1=x1, y1=y1, x2=x2, y2=y2))

    def note(
        self, place: Point, words: str, style: str = "note", anchor: str = "start", up: float = 0
    ) -> None:
        """Write words at a place, or so far above it."""
        x, y = self.at(*place)
        self.parts.append(element("text", words, class_=style, x=x, y=y - up, text_anchor=anchor))

    def svg(self, *, names: Sequence[tuple[float, str]] | None = None) -> Markup:
        """Return the picture; `names` stand at places of the x axis instead of its ticks."""
        return element(
            "svg",
            *self._rows(),
            *self.parts,
            *self._columns(names),
            *self._labels(),
            view_box=f"0 0 {self.width} {self.height}",
            role="img",
            aria_label=self.name,
        )

    def _rows(self) -> list[Markup]:
        """The lines behind everything, and their numbers."""
        right, drawn = float(self.width - RIGHT), []
        for tick in self.y.ticks:
            y = self.at(self.x.low, tick)[1]
            drawn.append(element("line", class_="grid", x1=self.left, y1=y, x2=right, y2=y))
            number = self.y.words(tick)
            drawn.append(element("text", number, x=self.left - 6, y=y + 4, text_anchor="end"))
        return drawn

    def _columns(self, names: Sequence[tuple[float, str]] | None) -> list[Markup]:
        bottom, right = float(self.height - BOTTOM), float(self.width - RIGHT)
        ends = {"x1": float(self.left), "y1": bottom, "x2": right, "y2": bottom}
        drawn = [element("line", class_="axis", **ends)]
        for value, words in names or [(tick, self.x.words(tick)) for tick in self.x.ticks]:
            x = self.at(value, self.y.low)[0]
            drawn.append(element("text", words, x=x, y=bottom + 16, text_anchor="middle"))
            if not names:
                ends = {"x1": x, "y1": bottom, "x2": x, "y2": bottom + 4}
                drawn.append(element("line", class_="axis", **ends))
        return drawn

    def _labels(self) -> list[Markup]:
        middle = (self.left + self.width - RIGHT) / 2
        under = {"class_": "unit", "x": middle, "y": self.height - 6, "text_anchor": "middle"}
        turn = f"translate(11 {(self.top + self.height - BOTTOM) / 2:g}) rotate(-90)"
        beside = {"class_": "unit", "transform": turn, "text_anchor": "middle"}
        return [
            element("text", axis.label, **attributes)
            for axis, attributes in ((self.x, under), (self.y, beside))
            if axis.label
        ]


def curves(
    name: str,
    lines: Mapping[str, Sequence[Point]],
    mark: Point | None,
    *,
    x: str = "step",
    y: str = "",
    width: int = 380,
    height: int = 215,
) -> Markup:
    """Draw values over steps: a curve for each style of the style sheet, and one point marked.

    lines: {style: [(step, value), ...]}, not all empty; a point has a dot with its figure, as long
    as there are few.
    """
    shown = {style: thinned(points) for style, points in lines.items() if points}
    steps = [step for points in shown.values() for step, _ in points]
    values = [value for points in shown.values() for _, value in points]
    room = (max(values) - min(values)) * 0.06 or 0.5
    low, high = min(values) - room, max(values) + room
    up = Axis(y, low, high, ticks(low, high, 4), words=lambda value: f"{value:g}")
    across = linear(x, max(steps), about=4, whole=True)
    left = 54 if y else 42
    picture = Picture(name, across, up, width=width, height=height, left=left, top=24)
    if mark:
        picture.mark((mark[0], low), (mark[0], high))
        share = across.place(mark[0])
        anchor = "start" if share < 0.2 else "end" if share > 0.8 else "middle"
        picture.note((mark[0], high), f"{mark[1]:.3f}", "unit", anchor, up=8)
    for style, points in shown.items():
        picture.curve(points, style)
    for style, points in shown.items():
        for point in points if len(points) <= MOST_DOTS else ():
            picture.dot(point, f"{x} {point[0]:,.0f}: {point[1]:.4f}", style, radius=2)
    if mark:
        picture.dot(mark, f"best, {x} {mark[0]:,.0f}: {mark[1]:.4f}", "best", radius=4)
    return picture.svg()
