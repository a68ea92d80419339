"""Whether a dataset is what its manifest and the contract say: every byte, every invariant."""

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

from podprep.ask.warehouse import views
from podprep.audit.leaks import sql_files, title
from podprep.contract.errors import PodError
from podprep.contract.hashing import file_sha256
from podprep.contract.manifest import MANIFEST, SEAL, manifest_sha256, read_manifest
from podprep.contract.schema import SCHEMAS, sample_path
from podprep.contract.tasks import SPLITS
from podprep.engine import Machine, connect, sql_text
from podprep.recipe.options import BuildOptions, Protocol, Task
from podprep.ui.console import Styled, Table, numbers, texts

EXAMPLES = 5  # faults that are shown of each invariant
KEYS = {
    "schema_version", "release", "inputs", "versions", "stages", "statistics", "files", SEAL,
}  # fmt: skip
ROLES = ("dump", "metadata", "sentiment")
CATALOG = ("users", "items", "interactions", "negatives", "explanations")
SAMPLES = re.compile(r"samples/task=(\w+)/split=(train|valid|test)/round=(\d+)/part-(\d+)\.parquet")


@dataclass(slots=True)
class Invariant:
    """One invariant: its name and plain words, how often it is broken, the first faults."""

    name: str
    words: str
    faults: int = 0
    examples: list[str] = field(default_factory=list)
    skipped: str | None = None  # why it could not be checked

    def violated(self, fault: str) -> None:
        """Count a fault, and keep it as an example if it is one of the first."""
        self.faults += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(fault)


@dataclass(frozen=True, slots=True)
class Verification:
    """What was verified, and every invariant."""

    path: str
    invariants: list[Invariant]

    @property
    def faults(self) -> int:
        """How often an invariant is broken."""
        return sum(invariant.faults for invariant in self.invariants)


def verify(shards: Path, machine: Machine) -> Verification:
    """Check every byte, every invariant of the contract, and every count of the manifest.

    Errors: `PodError` as `read_manifest`, or where memory does not suffice.
    """
    manifest = read_manifest(shards)
    invariants = [check_manifest(shards, manifest)]
    verification = Verification(str(shards), invariants)
    if verification.faults:
        return verification  # an edited manifest proves nothing about the rest
    invariants += [_check_bytes(shards, manifest), _check_columns(shards, manifest)]
    why = "mend the files first" if invariants[1].faults or invariants[2].faults else None
    with tempfile.TemporaryDirectory() as spill:
        con = connect(machine, Path(spill))
        try:
            invariants += _sql_invariants(con, shards, manifest, why)
            return verification
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
    # the contract's version 1 calls the protocol `reading`
    return BuildOptions(protocol=inputs["reading"], seed=inputs["seed"], **inputs["options"])


# ------------------------------------------------------------------ manifest, bytes, columns


def check_manifest(shards: Path, manifest: dict[str, Any]) -> Invariant:
    """Check the manifest alone: its parts, its options, and what they say of each other."""
    invariant = Invariant("manifest", "written by a build, complete and unedited")
    text = (shards / MANIFEST).read_text(encoding="utf-8")
    if text != json.dumps(manifest, indent=1, ensure_ascii=False) + "\n":
        invariant.violated(f"{MANIFEST} is not formatted as a build writes it")
    if manifest.get(SEAL) != manifest_sha256(manifest):
        invariant.violated(f"{MANIFEST} was edited: its {SEAL} does not match")
    for key in sorted(KEYS - manifest.keys()):
        invariant.violated(f"{MANIFEST} has no {key}")
    try:
        options = options_of(manifest)
        for fault in (*_input_faults(manifest["inputs"], options), *_file_faults(manifest)):
            invariant.violated(fault)
    except (PodError, KeyError, TypeError, ValueError, AttributeError) as error:
        invariant.violated(f"{MANIFEST}: {type(error).__name__} {error}")
    return invariant


def _file_faults(manifest: dict[str, Any]) -> Iterator[str]:
    for name, entry in manifest["files"].items():
        if not _is_digest(entry["sha256"]) or entry["rows"] < 0 or entry["bytes"] < 0:
            yield f"{name} has no rows, bytes and sha256"
        if not _schema_names(name, manifest["inputs"]["options"]["tasks"]):
            yield f"{name} is not a file of a dataset"


def _input_faults(inputs: dict[str, Any], options: BuildOptions) -> Iterator[str]:
    imported = "imported" in inputs
    for source in inputs["sources"]:
        if not _is_digest(source["sha256"]) or source["bytes"] < 0:
            yield f"source {source['file']} has no bytes and sha256"
        if not imported and source["role"] not in ROLES:
            yield f"source {source['file']} is a {source['role']}, which is unknown"
    for task in Task:
        bare = [t["id"] for t in inputs["templates"] if t["task"] == task and t["bare"]]
        if len(bare) != 1:
            yield f"task {task} has {len(bare)} bare templates"
    for key, theirs in (("tie_policy", "dump order"), ("id_scheme", "first appearance")):
        named = theirs if options.protocol is Protocol.POD else "keyed hash"
        if inputs[key] != named and not imported:
            yield f"{inputs['reading']} protocol, and {key} {inputs[key]}"


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _check_bytes(shards: Path, manifest: dict[str, Any]) -> Invariant:
    invariant = Invariant(
        "bytes", "every file has the size and SHA-256 of the manifest, and there is no other"
    )
    for name, entry in manifest["files"].items():
        path = shards / name
        if not path.is_file():
            invariant.violated(f"{name} is missing")
        elif path.stat().st_size != entry["bytes"]:
            invariant.violated(f"{name} has {path.stat().st_size:,} bytes, not {entry['bytes']:,}")
        elif file_sha256(path) != entry["sha256"]:
            invariant.violated(f"{name} was changed")
    known = {MANIFEST, *manifest["files"]}
    for path in sorted(shards.rglob("*")):
        name = path.relative_to(shards).as_posix()
        if (path.is_symlink() or not path.is_dir()) and name not in known:
            invariant.violated(f"{name} is not in the manifest")
    return invariant


def _schema_names(name: str, tasks: Iterable[str]) -> tuple[str, ...]:
    """Return which schemas a file may have; none for any other name."""
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


def _check_columns(shards: Path, manifest: dict[str, Any]) -> Invariant:
    invariant = Invariant(
        "columns", "every file has the columns, types and number of rows of the contract"
    )
    files, tasks = manifest["files"], manifest["inputs"]["options"]["tasks"]
    for name in (*(f"catalog/{n}.parquet" for n in CATALOG), "rejects.parquet"):
        if name not in files:
            invariant.violated(f"{name} is not in the manifest")
    for name, entry in files.items():
        try:
            with pq.ParquetFile(shards / name) as file:
                schema, rows = file.schema_arrow.remove_metadata(), file.metadata.num_rows
        except (OSError, pa.ArrowException) as error:
            invariant.violated(f"{name} cannot be read: {str(error).splitlines()[0]}")
            continue
        wanted = [SCHEMAS[s] for s in _schema_names(name, tasks)]
        if not any(schema.equals(s) for s in wanted):
            names = ", ".join(f"{f.name} {f.type}" for f in schema)
            invariant.violated(f"{name} has the columns {names}")
        if rows != entry["rows"]:
            invariant.violated(f"{name} has {rows:,} rows, not {entry['rows']:,}")
    return invariant


# ------------------------------------------------------------------ invariants in SQL


def _sql_invariants(
    con: duckdb.DuckDBPyConnection, shards: Path, manifest: dict[str, Any], why: str | None
) -> Iterator[Invariant]:
    counts = Invariant("statistics", "the figures of the manifest are those of the files")
    invariants = [
        (name, Invariant(*title(sql_text(f"audit/{name}")))) for name in sql_files("invariant")
    ]
    if why is None:
        try:
            _prepare(con, shards, manifest)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            why = f"the files cannot be read: {str(error).splitlines()[0]}"
    for name, invariant in invariants:
        invariant.skipped = why
        if why is None:
            _check_sql(con, name, invariant)
        yield invariant
    counts.skipped = why
    if why is None:
        _check_statistics(con, manifest, counts)
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


def _check_sql(con: duckdb.DuckDBPyConnection, name: str, invariant: Invariant) -> None:
    """Count the faults of one invariant; keep the first by name, not all of them in memory."""
    query = sql_text(f"audit/{name}").strip().rstrip(";")
    counted = f"SELECT count(*), min(coalesce(fault, 'NULL'), {EXAMPLES}) FROM ({query}\n)"
    try:
        [row] = con.execute(counted).fetchall()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        invariant.violated(f"cannot be checked: {str(error).splitlines()[0]}")
        return
    invariant.faults, invariant.examples = row[0], row[1] or []


def _check_statistics(
    con: duckdb.DuckDBPyConnection, manifest: dict[str, Any], invariant: Invariant
) -> None:
    """Compute the figures of the manifest again."""
    found = con.sql(sql_text("build/18_statistics.sql")).to_arrow_table().to_pylist()[0]
    fewest, most = con.execute(
        "SELECT coalesce(min(len(item_ids)), 0), coalesce(max(len(item_ids)), 0) FROM negatives"
    ).fetchall()[0]
    samples: dict[str, dict[str, int]] = {}
    for task, split, rows in con.execute(
        "SELECT task, split, count(*) FROM samples GROUP BY ALL"
    ).fetchall():
        counts = samples.setdefault(task, dict.fromkeys(SPLITS, 0))
        counts[split] += rows
    found |= {"samples": samples, "fewest_negatives": fewest, "most_negatives": most}
    stated = manifest["statistics"]
    for key in sorted(stated.keys() | found.keys()):
        if not _same(stated.get(key), found.get(key)):
            invariant.violated(f"{key} is {found.get(key)}, the manifest says {stated.get(key)}")


def _same(a: Any, b: Any) -> bool:
    """Whether two figures are equal; another library may sum in another order."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9)
    return bool(a == b)


# ------------------------------------------------------------------ for people


def invariants_table(verification: Verification) -> Table:
    """Return the verdicts, a row an invariant."""
    columns = [*texts("invariant", "what must hold"), *numbers("faults"), *texts("verdict")]
    table = Table(f"Invariants of {verification.path}", columns)
    for one in verification.invariants:
        words = f"{one.words}; not checked: {one.skipped}" if one.skipped else one.words
        verdict = Styled("FAULT", "bold red") if one.faults else Styled("holds", "green")
        if one.skipped:
            verdict = Styled("not checked", "dim")
        table.add(one.name, words, f"{one.faults:,}", verdict)
    return table


def faults_words(verification: Verification) -> list[str]:
    """Return the first faults of each invariant that is broken, or that there are none."""
    invariants = verification.invariants
    lines = [f"FAULT {one.name}: {fault}" for one in invariants for fault in one.examples]
    return lines or [f"Everything holds: {len(invariants)} invariants."]
