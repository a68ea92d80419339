"""Every invariant fails when its fault is planted, and only a sound dataset passes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from podprep.audit.rebuild import rebuild
from podprep.audit.verify import Verification, faults_words, invariants_table, verify
from podprep.commands.audit import register
from podprep.contract.errors import PodError
from podprep.engine import Machine
from podprep.recipe.inputs import Inputs
from podprep.recipe.options import BuildOptions, NegativeSampling, Protocol
from podprep.recipe.pipeline import build
from podprep.recipe.templates import load_templates
from podprep.ui.console import print_tables
from tests.conftest import Build, arithmetic_rows, write_dump
from tests.tamper import Row, edit_manifest, rewrite

MACHINE = Machine(threads=1, memory=1 << 30)
INTERACTIONS, ITEMS = "catalog/interactions.parquet", "catalog/items.parquet"
NEGATIVES, EXPLANATIONS = "catalog/negatives.parquet", "catalog/explanations.parquet"
Rows = list[Row]


def silent(*_: object) -> None:
    pass


def broken(found: Verification) -> set[str]:
    return {invariant.name for invariant in found.invariants if invariant.faults}


def part(task: str, split: str, round_: int = 0) -> str:
    return f"samples/task={task}/split={split}/round={round_}/part-00000.parquet"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with dump.gz and the shards made of it."""
    folder = tmp_path_factory.mktemp("built")
    dump = write_dump(folder / "dump.gz", arithmetic_rows(30, 25, 7))
    options = BuildOptions(negatives=9, rounds=2, core=3, history=3)
    inputs = Inputs(dataset="tiny", options=options, templates=load_templates(), dump=dump)
    build(inputs, MACHINE, folder / "shards", progress=silent)
    return folder


@pytest.fixture
def shards(built: Path, tmp_path: Path) -> Path:
    """A copy of its own, elsewhere."""
    return Path(shutil.copytree(built / "shards", tmp_path / "moved"))


# ------------------------------------------------------------------ what is sound


@pytest.mark.parametrize(
    ("protocol", "sampling"),
    [
        (Protocol.CLEAN, NegativeSampling.TIME),
        (Protocol.CLEAN, NegativeSampling.POPULARITY),
        (Protocol.POD, NegativeSampling.UNIFORM),
    ],
)
def test_every_build_is_sound(
    build_rows: Build, protocol: Protocol, sampling: NegativeSampling
) -> None:
    rows = arithmetic_rows(20, 15, 6)
    rows += [{**r, "unixReviewTime": 86_400 * 300} for r in rows[:9]]  # bought again
    tasks = ("sequential", "topn") if sampling is NegativeSampling.TIME else ("explanation",)
    options: dict[str, Any] = {"tasks": tasks, "negatives": 5, "core": 2, "rounds": 2}
    made = build_rows(rows, protocol=protocol, negative_sampling=sampling, **options)
    assert broken(verify(made, MACHINE)) == set()


def test_a_sound_dataset_passes_wherever_it_lies(
    shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = verify(shards, MACHINE)
    assert broken(found) == set()
    print_tables(invariants_table(found))
    shown = capsys.readouterr().out
    assert all(invariant.name in shown and invariant.words for invariant in found.invariants)
    assert faults_words(found) == [f"Everything holds: {len(found.invariants)} invariants."]


# ------------------------------------------------------------------ bytes


def test_one_flipped_byte_in_any_file_is_found(shards: Path) -> None:
    files = sorted(p for p in shards.rglob("*") if p.is_file() and p.name != "manifest.json")
    for n, path in enumerate(files):
        data = path.read_bytes()
        at = (0, len(data) // 2, len(data) - 1)[n % 3]
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        found = verify(shards, MACHINE)
        assert found.invariants[1].examples == [f"{path.relative_to(shards)} was changed"]
        path.write_bytes(data)
    assert broken(verify(shards, MACHINE)) == set()


def test_missing_longer_and_foreign_files_are_found(shards: Path) -> None:
    (shards / "rejects.parquet").unlink()
    with (shards / ITEMS).open("ab") as file:
        file.write(b"\0")
    (shards / "samples" / "notes.txt").write_text("mine")
    (shards / "link").symlink_to(shards / "nowhere")
    found = verify(shards, MACHINE)
    assert [f.partition(" has ")[0] for f in found.invariants[1].examples] == [
        ITEMS,
        "rejects.parquet is missing",
        "link is not in the manifest",
        "samples/notes.txt is not in the manifest",
    ]
    assert found.invariants[1].faults == 4
    assert all(invariant.skipped == "mend the files first" for invariant in found.invariants[3:])


EDITS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "seed": ("order", lambda m: m["inputs"].update(seed=1)),
    "protocol": ("manifest", lambda m: m["inputs"].update(reading="pod")),
    "no such protocol": ("manifest", lambda m: m["inputs"].update(reading="mine")),
    "option": ("samples", lambda m: m["inputs"]["options"].update(rounds=3)),
    "impossible option": ("manifest", lambda m: m["inputs"]["options"].update(core=0)),
    "core": ("core", lambda m: m["inputs"]["options"].update(core=8)),
    "template": ("prompts", lambda m: m["inputs"]["templates"][0].update(text="{user}{history}")),
    "bare": ("manifest", lambda m: m["inputs"]["templates"][0].update(bare=True)),
    "stage": ("accounting", lambda m: m["stages"][0]["out"].update(kept=1)),
    "statistics": ("statistics", lambda m: m["statistics"].update(mean_length=7.5)),
    "rows": ("columns", lambda m: m["files"][ITEMS].update(rows=3)),
    "no file": ("columns", lambda m: m["files"].pop("rejects.parquet")),
    "strange file": ("manifest", lambda m: m["files"].update(x=m["files"][ITEMS])),
    "digest": ("manifest", lambda m: m["inputs"]["sources"][0].update(sha256="0")),
    "role": ("manifest", lambda m: m["inputs"]["sources"][0].update(role="text")),
    "no versions": ("manifest", lambda m: m.pop("versions")),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_manifest_is_found(shards: Path, name: str) -> None:
    invariant, edit = EDITS[name]
    edit_manifest(shards, edit)
    assert invariant in broken(verify(shards, MACHINE))


def test_a_manifest_written_otherwise_is_found(shards: Path) -> None:
    path = shards / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert broken(verify(shards, MACHINE)) == {"manifest"}


def test_the_seal_shows_an_edit_that_no_invariant_can_see(shards: Path) -> None:
    path = shards / "manifest.json"
    text = path.read_text()
    assert '"pyarrow": "' in text
    path.write_text(text.replace('"pyarrow": "', '"pyarrow": "9'))
    assert broken(verify(shards, MACHINE)) == {"manifest"}


def test_no_dataset_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PodError, match="not a dataset"):
        verify(tmp_path, MACHINE)


# ------------------------------------------------------------------ invariants


def change(at: int, **values: Any) -> Callable[[Rows], Rows]:
    """Change columns of one row; a function is given the row."""

    def run(rows: Rows) -> Rows:
        new = {k: v(rows[at]) if callable(v) else v for k, v in values.items()}
        rows[at] = {**rows[at], **new}
        return rows

    return run


def swap(column: str, a: int, b: int) -> Callable[[Rows], Rows]:
    def run(rows: Rows) -> Rows:
        rows[a][column], rows[b][column] = rows[b][column], rows[a][column]
        return rows

    return run


def swap_tied(rows: Rows) -> Rows:
    at = next(n for n, r in enumerate(rows) if r["tied"] and r["split"] == "train")
    return swap("item_id", at, at + 1)(rows)


def buy_again(rows: Rows) -> Rows:
    return change(1, item_id=rows[0]["item_id"])(rows)


def bought(row: Row) -> list[int]:
    return [row["item_id"], *row["candidates"][:-1]]


def without_one(row: Row) -> list[int]:
    return list(row["item_ids"][:-1])


PLANTED: dict[str, tuple[str, str, Callable[[Rows], Rows]]] = {
    "gap in numbers": ("numbers", ITEMS, lambda rows: rows[:-2] + rows[-1:]),
    "name twice": ("numbers", ITEMS, change(0, asin="I003")),
    "no name": ("numbers", "catalog/users.parquet", change(0, reviewer_id=None)),
    "position": ("sequences", INTERACTIONS, change(0, position=9)),
    "time": ("sequences", INTERACTIONS, swap("timestamp", 0, 5)),
    "tied": ("sequences", INTERACTIONS, change(2, tied=lambda r: not r["tied"])),
    "bought twice": ("sequences", INTERACTIONS, buy_again),
    "rating": ("sequences", INTERACTIONS, change(0, rating=7.0)),
    "no such item": ("sequences", INTERACTIONS, change(0, item_id=99)),
    "too few": ("core", INTERACTIONS, lambda rows: rows[:2] + rows[7:]),
    "split": ("split", INTERACTIONS, swap("split", 4, 5)),
    "item numbers": ("order", ITEMS, swap("asin", 0, 1)),
    "user numbers": ("order", "catalog/users.parquet", swap("reviewer_id", 0, 1)),
    "tie order": ("order", INTERACTIONS, swap_tied),
    "negative twice": (
        "negatives",
        NEGATIVES,
        change(0, item_ids=lambda r: [r["item_ids"][1], *r["item_ids"][1:]]),
    ),
    "negative missing": ("negatives", NEGATIVES, change(0, item_ids=without_one)),
    "negatives of a user missing": ("negatives", NEGATIVES, lambda rows: rows[1:]),
    "negative unknown": (
        "negatives",
        NEGATIVES,
        change(0, item_ids=lambda r: [*r["item_ids"][:-1], 99]),
    ),
    "explained, not bought": ("explanations", EXPLANATIONS, change(0, item_id=99)),
    "explained elsewhere": ("explanations", EXPLANATIONS, change(0, split="test")),
    "no sentence": ("explanations", EXPLANATIONS, change(0, sentence=" ")),
    "sample missing": ("samples", part("topn", "train", 1), lambda rows: rows[1:]),
    "sample twice": ("samples", part("explanation", "valid"), lambda rows: [*rows[1:], rows[1]]),
    "sample number": ("samples", part("sequential", "test"), change(0, sample_id=5)),
    "history": (
        "sequential",
        part("sequential", "train"),
        change(0, history=lambda r: [*r["history"], 24 + (r["item_id"] == 24)]),
    ),
    "history cut": (
        "sequential",
        part("sequential", "test"),
        change(0, history=lambda r: r["history"][1:]),
    ),
    "target": ("sequential", part("sequential", "valid"), change(0, target="1")),
    "candidates": (
        "topn",
        part("topn", "valid"),
        change(0, candidates=lambda r: r["candidates"][::-1]),
    ),
    "candidate bought": (
        "topn",
        part("topn", "train"),
        change(0, candidates=bought),
    ),
    "words": ("explanation", part("explanation", "train"), change(0, target="It is fine.")),
    "prompt": (
        "prompts",
        part("sequential", "train"),
        change(0, prompt=lambda r: r["prompt"] + " "),
    ),
    "template": ("prompts", part("topn", "train"), change(0, template_id="sequential-next")),
    "not bare": ("prompts", part("topn", "test"), change(0, template_id="topn-pick")),
    "reject": (
        "accounting",
        "rejects.parquet",
        lambda rows: [*rows, {"line_number": 1, "reason": "not JSON", "line": "x"}],
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_an_invariant_finds_what_no_hash_can(shards: Path, name: str) -> None:
    invariant, file, mutate = PLANTED[name]
    rewrite(shards, file, mutate)
    found = verify(shards, MACHINE)
    assert invariant in broken(found)
    assert "bytes" not in broken(found)
    assert f"FAULT {invariant}: " in "\n".join(faults_words(found))


def test_every_invariant_has_a_planted_fault() -> None:
    from podprep.audit.leaks import sql_files, title
    from podprep.engine import sql_text

    invariants = {title(sql_text(f"audit/{name}"))[0] for name in sql_files("invariant")}
    assert invariants == {invariant for invariant, _, _ in PLANTED.values()}


def test_other_columns_are_found(shards: Path) -> None:
    import pyarrow.parquet as pq

    from tests.tamper import seal

    table = pq.read_table(shards / ITEMS)
    pq.write_table(table.set_column(0, "item_id", table["item_id"].cast("int64")), shards / ITEMS)
    seal(shards, ITEMS)
    found = verify(shards, MACHINE)
    assert broken(found) == {"columns"}
    assert "item_id int64" in found.invariants[2].examples[0]


# ------------------------------------------------------------------ rebuild


def test_rebuild_passes_on_a_moved_folder(
    built: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PODPREP_DATA", str(built))  # found by its name
    assert rebuild(shards, {}, MACHINE, silent).faults == 0


def test_rebuild_names_what_differs(built: Path, shards: Path) -> None:
    sources = {"dump": built / "dump.gz"}
    rewrite(shards, part("topn", "train"), swap("template_id", 0, 1))
    edit_manifest(shards, lambda m: m["versions"].update(pyarrow="1.0"))
    invariant = rebuild(shards, sources, MACHINE, silent)
    assert invariant.faults == 1
    assert invariant.examples[0].startswith(f"{part('topn', 'train')} differs from byte ")
    assert "pyarrow 1.0 (here " in invariant.examples[1]


def test_rebuild_sees_an_edited_manifest(built: Path, shards: Path) -> None:
    edit_manifest(shards, lambda m: m.update(release="2018"))
    invariant = rebuild(shards, {"dump": built / "dump.gz"}, MACHINE, silent)
    assert invariant.examples == ["manifest.json: release differs"]


def test_rebuild_does_not_trust_a_broken_manifest(shards: Path) -> None:
    edit_manifest(shards, lambda m: m["inputs"]["options"].update(core=0))
    assert rebuild(shards, {}, MACHINE, silent).skipped == "mend the manifest first"


def test_another_dump_is_refused(shards: Path, tmp_path: Path) -> None:
    other = write_dump(tmp_path / "dump.gz", arithmetic_rows(30, 25, 6))
    with pytest.raises(PodError, match="not the dump this dataset was built from"):
        rebuild(shards, {"dump": other}, MACHINE, silent)
    with pytest.raises(PodError, match="there is no such file"):
        rebuild(shards, {"dump": tmp_path / "none"}, MACHINE, silent)
    with pytest.raises(PodError, match=r"dump\.gz is neither in .* nor here: name it with --raw"):
        rebuild(shards, {}, MACHINE, silent)


# ------------------------------------------------------------------ the commands


def run(*arguments: object) -> Any:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_exit_codes_and_json(built: Path, shards: Path) -> None:
    done = run("verify", shards, "--rebuild", "--raw", built / "dump.gz", "--json")
    assert (done.exit_code, json.loads(done.stdout)["faults"]) == (0, 0)
    assert json.loads(done.stdout)["invariants"][-1]["name"] == "rebuild"
    assert json.loads(run("audit", shards, "--json").stdout)["leaks"] == 0
    (shards / "rejects.parquet").unlink()
    done = run("verify", shards)
    assert done.exit_code == 2
    assert "FAULT bytes: rejects.parquet is missing" in done.stdout
    sequences = shards.parent / "raw.txt"
    sequences.write_text("".join(f"U{n} " + " ".join("ABCDEFGHI") + "\n" for n in range(9)))
    done = run("audit", sequences)
    assert done.exit_code == 2
    assert "LEAK tie order" in done.stdout
    assert run("audit", shards / "none").exit_code == 1
