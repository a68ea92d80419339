"""Templates: what is wrong with a file is found when it is loaded, and named."""

from pathlib import Path

import pytest

from podprep.contract.errors import PodError
from podprep.recipe.options import Task
from podprep.recipe.templates import load_templates, templates_table

GOOD = """
[[template]]
id = "s"
task = "sequential"
text = "{user} {history}"
bare = true
[[template]]
id = "t"
task = "topn"
text = "{user} {candidates}"
bare = true
[[template]]
id = "e"
task = "explanation"
text = "{user} {item}"
bare = true
"""


def load(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "templates.toml"
    path.write_text(text, encoding="utf-8")
    return [t.id for t in load_templates(path)]


def test_our_own_templates_are_several_a_task_and_one_bare() -> None:
    templates = load_templates()
    for task in Task:
        assert sum(t.task is task for t in templates) >= 5
        bare = [t for t in templates if t.task is task and t.bare]
        assert len(bare) == 1
        assert set(bare[0].text.replace(" ", "")) <= set("{}userhistorycandidatesitem")


def test_places_count_within_a_task() -> None:
    table = templates_table(load_templates()).to_pylist()
    for task in Task:
        places = [row["place"] for row in table if row["task"] == task]
        assert places == list(range(len(places)))


def test_a_good_file_loads(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD) == ["s", "t", "e"]


BAD = {
    "no TOML": ("[[template", "is not TOML"),
    "no templates": ("x = 1", r"no \[\[template\]\]"),
    "missing placeholder": (GOOD.replace("{user} {history}", "{history}"), "once each"),
    "unknown placeholder": (GOOD.replace("{user} {history}", "{user} {past}"), "once each"),
    "repeated placeholder": (GOOD.replace("{history}", "{history} {user}"), "once each"),
    "stray brace": (GOOD.replace("{history}", "{history} }"), "no other braces"),
    "format tricks": (GOOD.replace("{history}", "{history!r}"), "once each"),
    "looks like an id": (GOOD.replace("{item}", "item_5 {item}"), "must not contain"),
    "a comma at an id": (
        GOOD.replace("{user} {history}", "{user}, {history}"),
        "put a space before",
    ),
    "glued ids": (GOOD.replace("{user} {candidates}", "{user}{candidates}"), "a space before"),
    "two bare": (GOOD + GOOD.replace('"s"', '"s2"'), "2 templates with bare"),
    "no bare": (GOOD.replace("bare = true", ""), "0 templates with bare"),
    "unknown task": (GOOD.replace('"topn"', '"top-n"'), "task must be one of"),
    "unknown key": (GOOD.replace("bare =", "naked ="), "unknown key 'naked'"),
    "id twice": (
        GOOD + '[[template]]\nid = "s"\ntask = "topn"\ntext = "{user} {candidates}"',
        "twice",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_name(tmp_path: Path, name: str) -> None:
    text, words = BAD[name]
    with pytest.raises(PodError, match=words) as error:
        load(tmp_path, text)
    assert "templates.toml" in str(error.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PodError, match="cannot be read"):
        load_templates(tmp_path / "none.toml")
