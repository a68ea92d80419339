"""Options as fields of dataclasses: default, help, choices and range stand in one place.

The command line, TOML files, the library and the checks are made from them.
"""

import dataclasses
import tomllib
from dataclasses import Field, dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from podprep.contract.errors import PodError
from podprep.contract.tasks import TASKS

CHOICES, LEAST, MOST, HELP = "choices", "least", "most", "help"


def option(
    default: Any,
    words: str,
    *,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """Declare an option of a frozen dataclass; `words` are its help."""
    known = {HELP: words, CHOICES: choices, LEAST: least, MOST: most}
    return dataclasses.field(default=default, metadata=known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options that check themselves. Errors: `PodError` naming the option and what it takes."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))


def split_tasks(value: Any) -> tuple[str, ...]:
    """Return the tasks of a list, or of words with commas between. Errors: `PodError`."""
    names = value.split(",") if isinstance(value, str) else value
    tasks = tuple(stripped for name in names if (stripped := str(name).strip()))
    for task in tasks:
        if task not in TASKS:
            raise PodError(f"tasks: {task!r} is none of {', '.join(TASKS)}")
    return tasks


def read_options_file(file: Path) -> dict[str, Any]:
    """Return the values of a TOML file. Errors: `PodError` if it cannot be read."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise PodError(f"{file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PodError(f"{file} is not TOML: {error}") from None


def check_types(where: str, values: dict[str, Any], fields: dict[str, "Field[Any]"]) -> None:
    """Refuse values of the wrong type. Errors: `PodError`."""
    for name, value in values.items():
        wanted = option_type(fields[name])
        allowed = (
            (int, float) if wanted is float else (list, tuple, str) if wanted is tuple else wanted
        )
        wrong = isinstance(value, bool) and wanted is not bool
        if value is not None and (wrong or not isinstance(value, allowed)):
            raise PodError(f"{where}: {name} = {value!r} is not {_WORDS[wanted]}")


_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    tuple: "a list",
}


def option_type(field: "Field[Any]") -> type:
    """Return bool, int, float, str or tuple: what an option takes beside None."""
    annotated: Any = field.type
    if get_origin(annotated) is tuple:
        return tuple
    kinds = get_args(annotated) or (annotated,)
    return next(kind for kind in kinds if kind in _WORDS)  # type: ignore[no-any-return]


def _check(field: "Field[Any]", value: Any) -> None:
    known = field.metadata
    if value is None or not known:
        return
    if known[CHOICES] and value not in known[CHOICES]:
        raise PodError(f"{field.name}: {value!r} is none of {', '.join(known[CHOICES])}")
    least, most = known[LEAST], known[MOST]
    if (least is not None and not value >= least) or (most is not None and not value <= most):
        raise PodError(f"{field.name}: {value} is not between {least} and {most}")
