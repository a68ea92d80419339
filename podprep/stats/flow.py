"""The accounting of a build as a flow: from raw lines, past what was dropped, to samples."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from podprep.ui.svg import element

SPLITS = ("train", "valid", "test")  # also the styles of their colours
BAR, TEXT, GAP = 26, 34, 20  # heights: a bar, the words above it, the ribbon below it
SPLIT_NAMES = {"train": "training", "valid": "validation", "test": "test"}


@dataclass(frozen=True, slots=True)
class Level:
    """What there is after one stage: parts that go on, and the drops."""

    title: str
    parts: tuple[tuple[str, int, str], ...]  # name, rows, style
    dropped: dict[str, int]
    ends: str = "dropped"  # what happens to those

    @property
    def kept(self) -> int:
        """Return how many rows go on."""
        return sum(rows for _, rows, _ in self.parts)

    @property
    def total(self) -> int:
        """Return how many rows came in."""
        return self.kept + sum(self.dropped.values())


def levels(manifest: dict[str, Any]) -> list[Level]:
    """Return the stages through which purchases go, from the raw lines to the explanations."""
    stages = {stage["stage"]: stage for stage in manifest["stages"]}
    imported = manifest["inputs"].get("imported")
    first = "lines of the dump" if not imported else "purchases in the files"
    titles = {
        "read": first,
        "deduplicate": "reviews that can be read",
        "core": "purchases, one a user and product",
        "split": "purchases of the catalogue, by split",
        "explain": "purchases, searched for an explanation",
    }
    found = []
    for name, title in titles.items():
        if (stage := stages.get(name)) is None or not stage["in"]:
            continue
        if name == "explain" and (imported or not stage["out"]):
            continue
        parts = tuple(
            (SPLIT_NAMES.get(what, "go on"), stage["out"][what], what)
            for what in (*SPLITS, "kept")
            if stage["out"].get(what)
        )
        if name == "core" and manifest["inputs"]["options"]["duplicates"] == "all":
            title = "purchases"  # noqa: PLW2901
        ends = "unexplained" if name == "explain" else "dropped"
        found.append(Level(title, parts, stage["dropped"], ends))
    return found


def flow(manifest: dict[str, Any], width: int) -> Markup:
    """Return the flow as SVG for a sheet of this width: letters keep their size, bars shrink."""
    found = levels(manifest)
    samples = [
        Level(
            f"{task} samples",
            tuple((SPLIT_NAMES[s], n, s) for s, n in counts.items() if n),
            {},
        )
        for task, counts in sorted(manifest["statistics"]["samples"].items(), key=_order)
    ]
    most = max((level.total for level in found), default=1)
    parts: list[Markup] = []
    y = 0.0
    above: tuple[float, float] | None = None  # bottom and kept width of the level before
    for level in found:
        bottom, kept = _level(parts, level, y, most, width, above)
        above = (bottom, kept)
        y = bottom + GAP
    if samples:
        rounds = manifest["inputs"]["options"]["rounds"]
        noun = "draw" if rounds == 1 else "fresh draws"
        words = f"Drawn from these (own scale): {rounds} {noun} for training"
        parts.append(element("text", words, class_="note", x=0, y=y + 12))
        y += 16
        largest = max(level.total for level in samples) or 1
        for level in samples:
            y = _level(parts, level, y, largest, width, None)[0] + 4
    size = f"0 0 {width} {y + 4:.0f}"
    name = "From raw lines to samples"
    return element("svg", *parts, view_box=size, role="img", aria_label=name)


def _order(item: tuple[str, Any]) -> int:
    return ("sequential", "topn", "explanation").index(item[0])


def _level(
    parts: list[Markup],
    level: Level,
    y: float,
    most: int,
    width: int,
    above: tuple[float, float] | None,
) -> tuple[float, float]:
    """Draw one level; return its bottom and the width of what goes on."""
    top = y + TEXT
    scale = width / most
    if above:
        (start, before), now = above, max(level.total * scale, 1)
        middle = (start + top) / 2
        path = (
            f"M0,{start:.1f} H{before:.1f} C{before:.1f},{middle:.1f} {now:.1f},{middle:.1f} "
            f"{now:.1f},{top:.1f} H0 Z"
        )
        parts.append(element("path", class_="ribbon", d=path))
    title = f"{level.total:,} {level.title}"
    parts.append(element("text", title, class_="strong", x=0, y=y + 15))
    parts.append(element("text", _words(level, width), class_="note", x=0, y=y + 29))
    x = 0.0
    for name, rows, style in level.parts:
        x = _part(parts, x, top, rows * scale, style, f"{rows:,} {name}", width)
    kept = x
    for why, rows in level.dropped.items():
        style = "drop" if level.ends == "dropped" else "rest"
        x = _part(parts, x, top, rows * scale, style, f"{rows:,} {level.ends}: {why}", width)
    return top + BAR, kept


def _part(
    parts: list[Markup], x: float, y: float, wide: float, style: str, tip: str, width: int
) -> float:
    """Draw a part that is seen however small, and return where it ends."""
    start = min(x, width - 2)
    shown = max(wide, 2)
    words = element("title", tip)
    parts.append(element("rect", words, class_=style, x=start, y=y, width=shown, height=BAR))
    return min(x + max(wide, 2), width)


def _words(level: Level, width: int) -> str:
    """Return what becomes of a level, cut to the width of the sheet."""
    said = [f"{rows:,} {name}" for name, rows, style in level.parts if style != "kept"]
    if level.dropped:
        reasons = ", ".join(f"{rows:,} {why}" for why, rows in level.dropped.items())
        said.append(f"{sum(level.dropped.values()):,} {level.ends}: {reasons}")
    text = "; ".join(said) or "all go on"
    room = int(width / 6.8)
    return text if len(text) <= room else f"{text[: room - 1].rsplit(' ', 1)[0]} …"
