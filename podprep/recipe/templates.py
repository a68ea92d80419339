"""Templates: the words around the ids, as data with names."""

import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pyarrow as pa

from podprep.contract.errors import PodError
from podprep.recipe.options import Task

PLACEHOLDERS = {
    Task.SEQUENTIAL: {"user", "history"},
    Task.TOPN: {"user", "candidates"},
    Task.EXPLANATION: {"user", "item"},
}
_PLACEHOLDER = re.compile(r"\{\w+\}")


@dataclass(frozen=True, slots=True)
class Template:
    """One wording of one task's prompt. The bare one has the ids and no words."""

    id: str
    task: Task
    text: str
    bare: bool


def load_templates(path: Path | None = None) -> list[Template]:
    """Read and check a template file, the package's own by default.

    Errors: `PodError` for a file that is not TOML, a missing, unknown or repeated placeholder, a
    repeated id, or a task without exactly one bare template.
    """
    name = str(path) if path else "templates.toml"
    try:
        text = (path or files("podprep") / "data" / "templates.toml").read_text(encoding="utf-8")
        entries = tomllib.loads(text)["template"]
        templates = [_template(name, n, entry) for n, entry in enumerate(entries, 1)]
    except OSError as error:
        raise PodError(f"{name} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PodError(f"{name} is not TOML: {error}") from None
    except (KeyError, TypeError):
        raise PodError(
            f"{name} has no [[template]] tables: see podprep/data/templates.toml"
        ) from None
    for task in Task:
        bare = sum(t.bare for t in templates if t.task is task)
        if bare != 1:
            raise PodError(f"{name}: task {task} has {bare} templates with bare = true, not one")
    ids = [t.id for t in templates]
    if twice := next((i for i in ids if ids.count(i) > 1), None):
        raise PodError(f"{name}: id {twice!r} is used twice")
    return templates


def _template(name: str, number: int, entry: dict[str, object]) -> Template:
    where = f"{name}, template {number} ({entry.get('id', 'no id')})"
    if unknown := entry.keys() - {"id", "task", "text", "bare"}:
        raise PodError(f"{where}: unknown key {min(unknown)!r}")
    template_id, text, bare = entry.get("id"), entry.get("text"), entry.get("bare", False)
    if not isinstance(template_id, str) or not isinstance(text, str) or not template_id:
        raise PodError(f"{where}: id, task and text must be strings")
    if entry.get("task") not in set(Task):
        raise PodError(f"{where}: task must be one of {', '.join(Task)}")
    if not isinstance(bare, bool):
        raise PodError(f"{where}: bare must be true or false")
    task = Task(str(entry["task"]))
    found = re.findall(r"\{(\w*)\}", text)
    if sorted(found) != sorted(PLACEHOLDERS[task]) or re.search(
        r"[{}]", re.sub(r"\{\w+\}", "", text)
    ):
        wanted = " and ".join(f"{{{p}}}" for p in sorted(PLACEHOLDERS[task]))
        raise PodError(f"{where}: a {task} template has {wanted}, once each, and no other braces")
    if any("{" in word and not _PLACEHOLDER.fullmatch(word) for word in text.split(" ")):
        # prompts are cut into words at spaces: `user_12,` would be no user
        raise PodError(f"{where}: put a space before and after each placeholder")
    if re.search(r"(user|item)_", text):
        # `user_12` and `item_345` are how ids are written: words must not look like one
        raise PodError(f"{where}: the words must not contain 'user_' or 'item_'")
    return Template(template_id, task, text, bare)


def templates_table(templates: list[Template]) -> pa.Table:
    """Return (template_id, task, text, bare, place), place counting from 0 within a task."""
    places = {task: iter(range(len(templates))) for task in Task}
    return pa.table(
        {
            "template_id": [t.id for t in templates],
            "task": [str(t.task) for t in templates],
            "text": [t.text for t in templates],
            "bare": [t.bare for t in templates],
            "place": pa.array([next(places[t.task]) for t in templates], pa.int64()),
        }
    )
