"""Whether a dataset is what its manifest and the contract say: bytes, laws, and a second build."""

import json
import math
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table
from rich.text import Text

from podprep.ask.warehouse import views
from podprep.audit.leaks import sql_files, title
from podprep.contract.errors import PodError
from podprep.contract.hashing import file_sha256
from podprep.contract.manifest import MANIFEST, SEAL, manifest_sha256, read_manifest
from podprep.contract.schema import SCHEMAS, sample_path
from podprep.engine import Machine, connect, sql_text
from podprep.recipe.options import BuildOptions, Reading, Task

EXAMPLES = 5  # faults that are shown of each law
KEYS = {
    "schema_version", "release", "inputs", "versions", "stages", "statistics", "files", SEAL,
}  # fmt: skip
ROLES = ("dump", "metadata", "sentiment")
CATALOG = ("users", "items", "interactions", "negatives", "explanations")
SAMPLES = re.compile(r"samples/task=(\w+)/split=(train|valid|test)/round=(\d+)/part-(\d+)\.parquet")


@dataclass(slots=True)
class Law:
    """One law: its name and plain words, how often it is broken, the first faults."""

    name: str
    words: str
    faults: int = 0
    examples: list[str] = field(default_factory=list)
    skipped: str | None = None  # why it could not be asked

    def broken(self, fault: str) -> None:
        """Count a fault, and keep it as an example if it is one of the first."""
        self.faults += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(fault)


def verify(shards: Path, machine: Machine) -> list[Law]:
    """Check every byte, every law of the contract, and every count of the manifest.

    Errors: `PodError` as `read_manifest`, or where memory does not suffice.
    """
    manifest = read_manifest(shards)
    laws = [manifest_law(shards, manifest)]
    if laws[0].faults:
        return laws  # whatever it says of the rest is not to be believed
    laws += [_bytes_law(shards, manifest), _columns_law(shards, manifest)]
    why = "mend the files first" if laws[1].faults or laws[2].faults else None
    with tempfile.TemporaryDirectory() as spill:
        con = connect(machine, Path(spill))
        try:
            return laws + list(_sql_laws(con, shards, manifest, why))
        except duckdb.OutOfMemoryException:
            raise PodError(
                f"the check does not fit in --memory {machine.memory >> 20}MB: give it more"
            ) from None
        finally:
            con.close()


def options_of(manifest: dict[str, Any]) -> BuildOptions:
    """Return the options that a dataset was built with.

    Errors: `PodError`, `TypeError` or `ValueError` for options that there are not.
    """
    inputs = manifest["inputs"]
    options = {**inputs["options"], "reading": Reading(inputs["reading"]), "seed": inputs["seed"]}
    return BuildOptions(**{**options, "tasks": tuple(Task(t) for t in options["tasks"])})


# ------------------------------------------------------------------ manifest, bytes, columns


def manifest_law(shards: Path, manifest: dict[str, Any]) -> Law:
    """Check the manifest alone: its parts, its options, and what they say of each other."""
    law = Law("manifest", "it is as a build writes it: nothing missing, nothing edited")
    text = (shards / MANIFEST).read_text(encoding="utf-8")
    if text != json.dumps(manifest, indent=1, ensure_ascii=False) + "\n":
        law.broken(f"{MANIFEST} is not written as a build writes it")
    if manifest.get(SEAL) != manifest_sha256(manifest):
        law.broken(f"{MANIFEST} was edited: its {SEAL} is of another text")
    for key in sorted(KEYS - manifest.keys()):
        law.broken(f"{MANIFEST} has no {key}")
    try:
        options = options_of(manifest)
        for fault in (*_input_faults(manifest["inputs"], options), *_file_faults(manifest)):
            law.broken(fault)
    except (PodError, KeyError, TypeError, ValueError, AttributeError) as error:
        law.broken(f"{MANIFEST}: {type(error).__name__} {error}")
    return law


def _file_faults(manifest: dict[str, Any]) -> Iterator[str]:
    for name, entry in manifest["files"].items():
        if not _is_digest(entry["sha256"]) or entry["rows"] < 0 or entry["bytes"] < 0:
            yield f"{name} has no rows, bytes and sha256"
        if not _schema_names(name, manifest["inputs"]["options"]["tasks"]):
            yield f"{name} is no file of a dataset"


def _input_faults(inputs: dict[str, Any], options: BuildOptions) -> Iterator[str]:
    imported = "imported" in inputs
    for source in inputs["sources"]:
        if not _is_digest(source["sha256"]) or source["bytes"] < 0:
            yield f"source {source['file']} has no bytes and sha256"
        if not imported and source["role"] not in ROLES:
            yield f"source {source['file']} is a {source['role']}, which there is not"
    for task in Task:
        bare = [t["id"] for t in inputs["templates"] if t["task"] == task and t["bare"]]
        if len(bare) != 1:
            yield f"task {task} has {len(bare)} bare templates"
    for key, theirs in (("tie_policy", "dump order"), ("id_scheme", "first appearance")):
        named = theirs if options.reading is Reading.POD else "keyed hash"
        if inputs[key] != named and not imported:
            yield f"{inputs['reading']} reading, and {key} {inputs[key]}"


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _bytes_law(shards: Path, manifest: dict[str, Any]) -> Law:
    law = Law("bytes", "every file has the size and SHA-256 of the manifest, and there is no other")
    for name, entry in manifest["files"].items():
        path = shards / name
        if not path.is_file():
            law.broken(f"{name} is missing")
        elif path.stat().st_size != entry["bytes"]:
            law.broken(f"{name} has {path.stat().st_size:,} bytes, not {entry['bytes']:,}")
        elif file_sha256(path) != entry["sha256"]:
            law.broken(f"{name} was changed")
    known = {MANIFEST, *manifest["files"]}
    for path in sorted(shards.rglob("*")):
        name = path.relative_to(shards).as_posix()
        if (path.is_symlink() or not path.is_dir()) and name not in known:
            law.broken(f"{name} is not in the manifest")
    return law


def _schema_names(name: str, tasks: Iterable[str]) -> tuple[str, ...]:
    """Return which schemas a file may have; none where it is no file of a dataset."""
    if found := SAMPLES.fullmatch(name):
        task, split, round_, part = found.groups()
        written = sample_path(task, split, int(round_), int(part)) == name
        return (task,) if task in tasks and written else ()
    if name == "rejects.parquet":
        return ("rejects",)
    stem = name.removeprefix("catalog/").removesuffix(".parquet")
    if name != f"catalog/{stem}.parquet" or stem not in CATALOG:
        return ()
    return ("items", "items_with_metadata") if stem == "items" else (stem,)


def _columns_law(shards: Path, manifest: dict[str, Any]) -> Law:
    law = Law("columns", "every file has the columns, types and number of rows of the contract")
    files, tasks = manifest["files"], manifest["inputs"]["options"]["tasks"]
    for name in (*(f"catalog/{n}.parquet" for n in CATALOG), "rejects.parquet"):
        if name not in files:
            law.broken(f"{name} is not in the manifest")
    for name, entry in files.items():
        try:
            with pq.ParquetFile(shards / name) as file:
                schema, rows = file.schema_arrow.remove_metadata(), file.metadata.num_rows
        except (OSError, pa.ArrowException) as error:
            law.broken(f"{name} cannot be read: {str(error).splitlines()[0]}")
            continue
        wanted = [SCHEMAS[s] for s in _schema_names(name, tasks)]
        if not any(schema.equals(s) for s in wanted):
            names = ", ".join(f"{f.name} {f.type}" for f in schema)
            law.broken(f"{name} has the columns {names}")
        if rows != entry["rows"]:
            law.broken(f"{name} has {rows:,} rows, not {entry['rows']:,}")
    return law


# ------------------------------------------------------------------ laws in SQL


def _sql_laws(
    con: duckdb.DuckDBPyConnection, shards: Path, manifest: dict[str, Any], why: str | None
) -> Iterator[Law]:
    counts = Law("statistics", "the figures of the manifest are those of the files")
    laws = [(name, Law(*title(sql_text(f"audit/{name}")))) for name in sql_files("law")]
    if why is None:
        try:
            _prepare(con, shards, manifest)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            why = f"the files cannot be read: {str(error).splitlines()[0]}"
    for name, law in laws:
        law.skipped = why
        if why is None:
            _ask(con, name, law)
        yield law
    counts.skipped = why
    if why is None:
        _count(con, manifest, counts)
    yield counts


def _prepare(con: duckdb.DuckDBPyConnection, shards: Path, manifest: dict[str, Any]) -> None:
    options = options_of(manifest)
    values: dict[str, Any] = {name: getattr(options, name) for name in options.__dataclass_fields__}
    values["tasks"] = [str(task) for task in options.tasks]
    values["imported"] = "imported" in manifest["inputs"]
    con.register("given", pa.Table.from_pylist([values]))
    con.execute("CREATE TABLE options AS FROM given")
    con.unregister("given")
    con.execute(sql_text("build/00_draws.sql"))
    con.execute(views(shards.resolve()))
    con.execute(sql_text("audit/sequences.sql"))


def _ask(con: duckdb.DuckDBPyConnection, name: str, law: Law) -> None:
    """Count the faults of one law; keep the first by name, not all of them in memory."""
    query = sql_text(f"audit/{name}").strip().rstrip(";")
    asked = f"SELECT count(*), min(coalesce(fault, 'NULL'), {EXAMPLES}) FROM ({query}\n)"
    try:
        [row] = con.execute(asked).fetchall()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        law.broken(f"cannot be asked: {str(error).splitlines()[0]}")
        return
    law.faults, law.examples = row[0], row[1] or []


def _count(con: duckdb.DuckDBPyConnection, manifest: dict[str, Any], law: Law) -> None:
    """Compute the figures of the manifest again."""
    found = con.sql(sql_text("build/18_statistics.sql")).to_arrow_table().to_pylist()[0]
    fewest, most = con.execute(
        "SELECT coalesce(min(len(item_ids)), 0), coalesce(max(len(item_ids)), 0) FROM negatives"
    ).fetchall()[0]
    samples: dict[str, dict[str, int]] = {}
    for task, split, rows in con.execute(
        "SELECT task, split, count(*) FROM samples GROUP BY ALL"
    ).fetchall():
        counts = samples.setdefault(task, dict.fromkeys(("train", "valid", "test"), 0))
        counts[split] += rows
    found |= {"samples": samples, "fewest_negatives": fewest, "most_negatives": most}
    told = manifest["statistics"]
    for key in sorted(told.keys() | found.keys()):
        if not _same(told.get(key), found.get(key)):
            law.broken(f"{key} is {found.get(key)}, the manifest says {told.get(key)}")


def _same(a: Any, b: Any) -> bool:
    """Whether two figures are equal; another library may sum in another order."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9)
    return bool(a == b)


# ------------------------------------------------------------------ for people


def laws_table(shards: Path, laws: list[Law]) -> Table:
    """Return the verdicts, a row a law."""
    table = Table(title=f"The laws of {shards}", title_justify="left")
    table.add_column("law", no_wrap=True)
    table.add_column("what must hold", ratio=1)
    table.add_column("faults", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for law in laws:
        words = f"{law.words}; not asked: {law.skipped}" if law.skipped else law.words
        verdict = Text("FAULT", "bold red") if law.faults else Text("holds", "green")
        if law.skipped:
            verdict = Text("not asked", "dim")
        table.add_row(law.name, Text(words), f"{law.faults:,}", verdict)
    return table


def faults_words(laws: list[Law]) -> str:
    """Return the first faults of each law that is broken, or that there are none."""
    lines = [f"FAULT {law.name}: {fault}" for law in laws for fault in law.examples]
    return "\n".join(lines) or f"Everything holds: {len(laws)} laws."
