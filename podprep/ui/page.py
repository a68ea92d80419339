"""Pages: one HTML file that needs nothing beside itself, from Jinja2 templates that escape.

All pages are one template with one style sheet, in which a colour means the same everywhere. What
only one page has, such as the gallery of a run, is a template beside that page's code.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from podprep.ui.text import visible


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page.

    body: pictures or a table, as `Markup`; legend: (style, name); size: wide, double.
    """

    title: str
    words: str = ""
    body: str = ""
    legend: Sequence[tuple[str, str]] = ()
    size: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a column of a table. style: n for numbers, room for what a small page omits."""

    name: str
    style: str = ""


def page(
    title: str,
    heading: str,
    about: str,
    tiles: Iterable[tuple[str, str]],
    sections: Iterable[Section],
    footer: str,
    *,
    details: Iterable[tuple[str, str]] = (),
    broad: bool = False,
) -> str:
    """Return a page as HTML; the same values give the same bytes.

    tiles: figures and what they count. details: names and values, folded away under the tiles.
    broad: sections are half as wide as a desk's window, not a third.
    """
    text = render(
        "podprep.ui",
        "page.html.j2",
        title=title,
        heading=heading,
        about=about,
        tiles=list(tiles),
        sections=list(sections),
        footer=footer,
        details=list(details),
        broad=broad,
    )
    return str(text)


def table(
    heads: Sequence[Head],
    rows: Sequence[Sequence[str]],
    kinds: Sequence[str] = (),
    *,
    scrolls: bool = False,
) -> Markup:
    """Return a table. kinds: a style for each row; scrolls: it is wider than a small window."""
    lines = list(zip(kinds or [""] * len(rows), rows, strict=True))
    return render("podprep.ui", "table.html.j2", heads=heads, lines=lines, scrolls=scrolls)


def render(package: str, template: str, **values: Any) -> Markup:
    """Return a template of a package as HTML: text is escaped, `Markup` is not."""
    return Markup(_environment(package).get_template(template).render(**values))


@cache
def _environment(package: str) -> Environment:
    own = package == "podprep.ui"
    return Environment(
        loader=PackageLoader(package, "templates" if own else ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )


def _shown(value: Any) -> Any:
    """Make text that is not ours fit to be shown; what is HTML already is ours."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
