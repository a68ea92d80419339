"""Text that is not ours, made fit to be shown: titles, ids, paths, names, messages of libraries."""

import re
import unicodedata

# Joiners that scripts and emoji need; everything else that cannot be printed is shown as its code.
_JOINERS = "\u200c\u200d"
# What JSON leaves as it is, and a terminal may obey.
_IN_JSON = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(value: object) -> str:
    r"""Return text on one line, without anything that a terminal obeys or that hides.

    >>> print(visible("red \x1b[31m, two\nlines, 日本"))
    red \x1b[31m, two\nlines, 日本
    """
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def _is_shown(c: str) -> bool:
    return c.isprintable() or c in _JOINERS or unicodedata.category(c) == "Zs"


def visible_json(text: str) -> str:
    """Return JSON of the same value, without anything that a terminal obeys."""
    return _IN_JSON.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
