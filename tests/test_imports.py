"""What comes in: the same catalogue again, and one line about whatever is wrong with a file."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from podprep.contract.errors import PodError
from podprep.dataset import Dataset
from podprep.engine import Machine
from podprep.exchange.imports import folder_inputs, import_folder
from podprep.recipe.options import Protocol
from podprep.recipe.templates import load_templates
from tests.conftest import Build, Row, arithmetic_rows, review, write_dump

MACHINE = Machine(threads=2, memory=1 << 30)
TABLES = ("users", "items", "interactions", "negatives", "explanations")
NOT_TOLD = ("timestamp", "rating", "tied")  # what the pod layout has no place for


def imported(folder: Path, layout: str, out: Path | None = None, **options: Any) -> Path:
    out = out or folder.with_name(f"{folder.name}-imported")
    inputs = folder_inputs(folder, layout, load_templates(), **options)
    import_folder(inputs, MACHINE, out, progress=lambda *_: None)
    return out


def exported(shards: Path, layout: str) -> Path:
    to = shards.with_name(f"{shards.name}-{layout}")
    Dataset.open(shards).export(layout, to)
    return to


def catalog(shards: Path, name: str) -> list[Row]:
    return list(pq.read_table(shards / "catalog" / f"{name}.parquet").to_pylist())


def without(rows: list[Row], *names: str) -> list[Row]:
    return [{k: v for k, v in row.items() if k not in names} for row in rows]


def manifest_of(shards: Path) -> dict[str, Any]:
    return dict(json.loads((shards / "manifest.json").read_text()))


def stage(shards: Path, name: str) -> dict[str, Any]:
    return dict(next(s for s in manifest_of(shards)["stages"] if s["stage"] == name))


# ------------------------------------------------------------------ there and back


@pytest.mark.parametrize("protocol", list(Protocol))
def test_pod_there_and_back_is_the_same_catalogue(build_rows: Build, protocol: Protocol) -> None:
    shards = build_rows(arithmetic_rows(), protocol=protocol, negatives=5, rounds=2, seed=3)
    folder = exported(shards, "pod")
    back = imported(folder, "pod", negatives=5, rounds=2, seed=3)
    for name in ("users", "items", "explanations"):
        assert catalog(back, name) == catalog(shards, name) != []
    bought = catalog(shards, "interactions")
    assert without(catalog(back, "interactions"), *NOT_TOLD) == without(bought, *NOT_TOLD)
    assert {r[n] for r in catalog(back, "interactions") for n in NOT_TOLD} == {None}
    test = [r for r in catalog(shards, "negatives") if r["split"] == "test"]
    assert [r for r in catalog(back, "negatives") if r["split"] == "test"] == test
    # and a second time, byte for byte
    again = exported(back, "pod")
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {
        p.name: p.read_bytes() for p in folder.iterdir()
    }


@pytest.mark.parametrize("protocol", list(Protocol))
def test_recbole_there_and_back_is_the_same_dataset(
    build_rows: Build, tmp_path: Path, protocol: Protocol
) -> None:
    meta = write_dump(
        tmp_path / "meta",
        [
            {"asin": "I000", "title": '12" lid', "brand": "A", "categories": [["Hair Care", "B"]]},
            {"asin": "I001", "title": '"quoted"'},
        ],
    )
    options: dict[str, Any] = {"tasks": ("sequential", "topn"), "negatives": 5, "seed": 3}
    shards = build_rows(arithmetic_rows(), protocol=protocol, metadata=meta, **options)
    back = imported(exported(shards, "recbole"), "recbole", protocol=protocol, **options)
    files = {p.relative_to(shards) for p in shards.rglob("*.parquet")}
    assert files == {p.relative_to(back) for p in back.rglob("*.parquet")}
    for file in files - {Path("catalog/explanations.parquet")}:
        assert (back / file).read_bytes() == (shards / file).read_bytes(), file


def test_the_manifest_says_where_from(build_rows: Build) -> None:
    shards = build_rows(arithmetic_rows(), negatives=5)
    folder = exported(shards, "pod")
    inputs = manifest_of(imported(folder, "pod"))["inputs"]
    assert inputs["imported"] == "pod"
    assert inputs["reading"] == "pod"
    assert inputs["tie_policy"] == inputs["id_scheme"] == "as in the files"
    assert {s["role"]: s["file"] for s in inputs["sources"]} == {
        "sequences": "sequential.txt",
        "names": "datamaps.json",
        "negatives": "negative.txt",
        "explanations": "explanation.json",
    }
    assert all(len(s["sha256"]) == 64 for s in inputs["sources"])


# ------------------------------------------------------------------ pod


@pytest.fixture
def pod(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a folder of the layout, each file as given."""

    def write(**files: Any) -> Path:
        folder = tmp_path / "pod"
        folder.mkdir(exist_ok=True)
        lines = "".join(f"{u} {u} {u + 1} {u + 2} {u + 3}\n" for u in range(1, 6))
        names = {
            "id2user": {str(n): f"U{n}" for n in range(1, 6)},
            "id2item": {str(n): f"I{n}" for n in range(1, 10)},
        }
        given = {"sequential.txt": lines, "datamaps.json": names, **files.pop("more", {}), **files}
        for name, content in given.items():
            text = content if isinstance(content, str) else json.dumps(content)
            if content is not None:
                (folder / name).write_text(text)
        return folder

    return write


def test_sequences_alone_are_enough(pod: Callable[..., Path]) -> None:
    folder = pod(more={"datamaps.json": None})
    text = (folder / "sequential.txt").read_bytes()
    (folder / "sequential.txt").unlink()
    (folder / "sequential.txt.gz").write_bytes(gzip.compress(text))
    back = imported(folder, "pod", negatives=3)
    assert [r["asin"] for r in catalog(back, "items")] == [str(n) for n in range(1, 9)]
    assert manifest_of(back)["inputs"]["options"]["tasks"] == ["sequential", "topn"]
    frozen = catalog(back, "negatives")
    assert all(len(r["item_ids"]) == 3 for r in frozen)
    assert len(frozen) == 10
    with pytest.raises(PodError, match="nothing to make such samples"):
        imported(folder, "pod", tasks=("explanation",))


def test_negatives_that_are_no_strangers_are_counted_and_dropped(
    pod: Callable[..., Path],
) -> None:
    back = imported(pod(more={"negative.txt": "1 9 2 9 8\n3 1 2\n"}), "pod", negatives=2)
    test = {r["user_id"]: r["item_ids"] for r in catalog(back, "negatives") if r["split"] == "test"}
    assert test[1] == [9, 8]
    assert test[3] == [1, 2]
    assert len(test[5]) == 2  # not in the file: drawn
    assert stage(back, "negatives")["dropped"] == {"given twice, or bought by the user": 2}
    samples = pq.ParquetFile(
        back / "samples/task=topn/split=test/round=0/part-00000.parquet"
    ).read()
    assert sorted(samples.to_pylist()[0]["candidates"]) == [4, 8, 9]


def test_explanations_of_no_purchase_are_counted_and_kept_aside(
    pod: Callable[..., Path],
) -> None:
    entry = {"user": 1, "item": 2, "feature": "lid", "explanation": "it fits"}
    told = {
        "train": [entry, {**entry, "item": 9}, {**entry, "feature": " "}],
        "val": [{**entry, "user": "2"}],
        "test": [{"explanation": "alone"}, {**entry, "item": 4, "explanation": None}],
    }
    back = imported(pod(more={"explanation.json": told}), "pod", negatives=2)
    rows = [(r["user_id"], r["item_id"], r["split"]) for r in catalog(back, "explanations")]
    assert rows == [(1, 2, "train"), (2, 2, "valid")]
    assert stage(back, "explain")["dropped"] == {
        "no explanation": 1,
        "no feature": 1,
        "no numbers of a user and an item": 1,
        "no such purchase": 1,
    }
    rejects = pq.read_table(back / "rejects.parquet").to_pylist()
    assert [r["line_number"] for r in rejects] == [2, 3, 5, 6]
    assert json.loads(rejects[0]["line"])["item"] == 9


NAMES = {"id2user": {"1": "A"}, "id2item": {"1": "X", "2": "Y"}}
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "words": ({"sequential.txt": "1 2 3\n2 x 3\n"}, r"sequential.txt, line 2 is no 'user item"),
    "half a number": ({"sequential.txt": "1 2 3.5\n"}, r"line 1 is no 'user item"),
    "no items": ({"sequential.txt": "1\n"}, r"line 1 has a user and no item"),
    "zero": ({"sequential.txt": "1 0 2\n"}, r"line 1 has the number 0"),
    "far": ({"sequential.txt": "1 2\n2 99999999\n"}, "line 2 has the number 99999999, far beyond"),
    "twice": ({"sequential.txt": "1 2\n\n1 3\n"}, r"line 3 has user 1 a second time"),
    "gap": ({"sequential.txt": "1 2\n3 4\n"}, r"no line for user 2 of 5"),
    "unnamed user": ({"sequential.txt": "1 2\n2 1\n", "datamaps.json": NAMES}, "line 2 has user 2"),
    "unnamed item": ({"sequential.txt": "1 2 3\n", "datamaps.json": NAMES}, "line 1 has item 3"),
    "blank": ({"sequential.txt": "\n \n"}, "has no line of purchases"),
    "no JSON": ({"datamaps.json": "{\n{"}, r"datamaps.json, line 2 is not JSON"),
    "no maps": ({"datamaps.json": {"id2user": {"1": "A"}}}, "no object 'id2item'"),
    "map with a gap": ({"datamaps.json": {"id2user": {"2": "A"}}}, "none for 1"),
    "a name twice": ({"datamaps.json": {"id2user": {"1": "A", "2": "A"}}}, "name 'A' twice"),
    "negatives of words": ({"negative.txt": "1 2\n2 a\n"}, r"negative.txt, line 2 is no 'user"),
    "unknown negative": ({"negative.txt": "1 99\n"}, "line 1 has an item outside 1 to 9"),
    "negatives twice": ({"negative.txt": "1 9\n1 8\n"}, "line 2 has user 1 a second time"),
    "negatives of nobody": ({"negative.txt": "9 1\n"}, "line 1 has user 9, who has no purchases"),
    "explanations no lists": ({"explanation.json": {"train": 1}}, "'train' is not a list"),
    "explanation no object": ({"explanation.json": {"val": [1]}}, "entry 1, of 'val', is"),
    "half an explanation": (
        {"explanation.json": '{"train": [\n{"user": 1},\n{"user": 1,'},
        r"explanation.json, line 3 is not JSON",
    ),
    "explanations as a list": ({"explanation.json": []}, r"line 1 is not JSON: expecting \{"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_file_is_one_line(pod: Callable[..., Path], name: str) -> None:
    files, words = BROKEN[name]
    folder = pod(more=files)
    with pytest.raises(PodError, match=words) as error:
        imported(folder, "pod", negatives=2)
    assert "\n" not in str(error.value)
    assert [p.name for p in folder.parent.iterdir()] == ["pod"]


def test_no_folder_and_no_files(tmp_path: Path) -> None:
    with pytest.raises(PodError, match="is not a folder"):
        folder_inputs(tmp_path / "none", "pod", [])
    with pytest.raises(PodError, match=r"has no sequential.txt"):
        folder_inputs(tmp_path, "pod", [])
    with pytest.raises(PodError, match=r"has no .inter file"):
        folder_inputs(tmp_path, "recbole", [])


# ------------------------------------------------------------------ recbole

HEAD = "user_id:token\titem_id:token\trating:float\ttimestamp:float"


def recbole(folder: Path, lines: list[str], name: str = "d.inter", head: str = HEAD) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([head, *lines]) + "\n")
    return folder


PURCHASES = [f"u{u}\ti{(u + n) % 5}\t{n + 1}\t{1000 + 10 * n}" for u in range(6) for n in range(4)]


def test_bad_lines_of_an_inter_file_are_counted_and_kept_aside(tmp_path: Path) -> None:
    bad = {
        "not as many fields as the first line": "u1\ti2\t3",
        "no user": "\ti1\t3\t1000",
        "no item": "u1\t \t3\t1000",
        "rating is no number": "u1\ti1\tgood\t1000",
        "time is no number": "u1\ti1\t3\tnow",
    }
    folder = recbole(tmp_path / "d", [*bad.values(), *PURCHASES])
    back = imported(folder, "recbole", negatives=1, max_bad=0.5)
    assert stage(back, "read")["dropped"] == dict.fromkeys(bad, 1)
    rejects = pq.read_table(back / "rejects.parquet").to_pylist()
    assert {r["reason"]: r["line"] for r in rejects} == bad
    assert [r["line_number"] for r in rejects] == [2, 3, 4, 5, 6]
    with pytest.raises(PodError, match=r"5 of 29 lines .* \(first: line 2, not as many"):
        imported(folder, "recbole", tmp_path / "other", negatives=1)


def test_columns_stand_in_any_order_and_may_be_missing(tmp_path: Path) -> None:
    lines = ["\t".join(line.split("\t")[1::-1]) for line in PURCHASES]
    folder = recbole(tmp_path / "d", lines, head="item_id:token\tuser_id:token")
    back = imported(folder, "recbole", negatives=1)
    names = {r["item_id"]: r["asin"] for r in catalog(back, "items")}
    users = {r["user_id"]: r["reviewer_id"] for r in catalog(back, "users")}
    got = [
        (users[r["user_id"]], names[r["item_id"]])
        for r in sorted(
            catalog(back, "interactions"), key=lambda r: (users[r["user_id"]], r["position"])
        )
    ]
    assert got == [tuple(line.split("\t")[:2]) for line in PURCHASES]  # the order of the file
    assert {r["timestamp"] for r in catalog(back, "interactions")} == {None}


def test_times_in_milliseconds_are_told_by_their_size(tmp_path: Path) -> None:
    lines = [line.replace("\t10", "\t16000000000") for line in PURCHASES]
    back = imported(recbole(tmp_path / "d", lines), "recbole", negatives=1)
    assert {r["timestamp"].year for r in catalog(back, "interactions")} == {2020}


def test_a_split_that_came_with_the_files_is_kept(tmp_path: Path) -> None:
    # all at one time: only the files say which purchase is held out
    folder = tmp_path / "d"
    for part, places in (("train", (0, 1)), ("valid", (2,)), ("test", (3,))):
        lines = [f"u{u}\ti{(u + n) % 7}\t5\t1000" for u in range(6) for n in places]
        recbole(folder, lines, f"d.{part}.inter")
    back = imported(folder, "recbole", negatives=1)
    users = {r["user_id"]: int(r["reviewer_id"][1:]) for r in catalog(back, "users")}
    items = {r["item_id"]: int(r["asin"][1:]) for r in catalog(back, "items")}
    for row in catalog(back, "interactions"):
        place = (items[row["item_id"]] - users[row["user_id"]]) % 7
        assert row["split"] == {2: "valid", 3: "test"}.get(place, "train")
    recbole(folder, ["u1\ti1\t5\t1000", "u1\ti6\t5\t1000"], "d.test.inter")
    with pytest.raises(PodError, match=r"d.\w+.inter, line \d+: leaving one out this is a"):
        imported(folder, "recbole", tmp_path / "other", negatives=1)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"d.inter": "u1 i1 3 4\n"}, "line 1 names no columns"),
        ({"d.inter": "user_id:token\tx:token\n"}, "has no column item_id"),
        ({"d.inter": HEAD + "\n", "e.inter": HEAD + "\n"}, "2 datasets: d, e"),
        ({"d.train.inter": HEAD + "\n"}, "neither d.inter nor d.valid.inter"),
        ({"d.inter": HEAD + "\n"}, "0 of 0 lines are not purchases"),
    ],
)
def test_what_is_no_atomic_file_is_one_line(
    tmp_path: Path, files: dict[str, str], words: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(PodError, match=words):
        imported(tmp_path, "recbole", tmp_path.with_name("out"))


def test_the_same_bytes_on_other_threads(build_rows: Build, tmp_path: Path) -> None:
    rows = [*arithmetic_rows(), review("Z", "I000", 9)]  # Z only trains
    folder = exported(build_rows(rows, core=1, tasks=("sequential",), rounds=1), "pod")
    trees = []
    for threads in (1, 3):
        out = tmp_path / f"threads{threads}"
        inputs = folder_inputs(folder, "pod", load_templates(), rounds=2)
        machine = Machine(threads=threads, memory=1 << 30)
        import_folder(inputs, machine, out, progress=lambda *_: None)
        trees.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*.parquet")})
    assert trees[0] == trees[1]
