"""A dataset built a second time from its sources, and compared byte for byte."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podprep.audit.verify import ROLES, Invariant, check_manifest, options_of
from podprep.contract.errors import PodError
from podprep.contract.hashing import file_sha256
from podprep.contract.manifest import SEAL, read_manifest
from podprep.engine import Machine, Progress
from podprep.exchange.imports import folder_inputs, import_folder
from podprep.raw.datasets import DATA_VARIABLE, data_folder
from podprep.raw.sources import make_sample
from podprep.recipe.inputs import Inputs
from podprep.recipe.options import Task
from podprep.recipe.pipeline import build
from podprep.recipe.templates import Template

OPTIONS = dict(zip(ROLES, ("--raw", "--meta", "--sentiment"), strict=True))


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the sources of a dataset are, by role; a folder for an import."""

    named: dict[str, Path] = field(default_factory=dict)

    def find(self, source: dict[str, Any], scratch: Path) -> Path:
        """Return the file that the manifest names, checked.

        Errors: `PodError` if it is nowhere, or another file.
        """
        role, name = source["role"], source["file"]
        option = OPTIONS.get(role, "--raw")
        path = self.named.get(role)
        if path is None:
            there = (data_folder() / name, Path(name), scratch / name)
            path = next((p for p in there if p.is_file()), None)
            if path is None:
                raise PodError(
                    f"{name} is neither in {data_folder()}/ nor here: name it with {option} "
                    f"(or its folder with {DATA_VARIABLE})"
                )
        elif not path.is_file():
            raise PodError(f"{option} {path}: there is no such file")
        if path.stat().st_size != source["bytes"] or file_sha256(path) != source["sha256"]:
            raise PodError(
                f"{path} is not the {role} this dataset was built from (its SHA-256 differs): "
                f"name the right one with {option}"
            )
        return path


def rebuild(
    shards: Path, named: dict[str, Path], machine: Machine, progress: Progress | None = None
) -> Invariant:
    """Build the dataset again in a temporary folder and compare every byte.

    named: where a source is, by its role (of an import: where the folder is, as `dump`); others
    are looked for by their names. Errors: `PodError` as `Sources.find` and `build`.
    """
    manifest = read_manifest(shards)
    invariant = Invariant("rebuild", "the same sources, options and seed give the same bytes again")
    if check_manifest(shards, manifest).faults:
        invariant.skipped = "mend the manifest first"
        return invariant
    with tempfile.TemporaryDirectory(prefix="podprep-verify-") as scratch:
        out = Path(scratch) / "shards"
        again = _build(manifest, Sources(named), machine, out, progress)
        _compare(shards, manifest, out, again, invariant)
    if invariant.faults and (other := _versions(manifest, again)):
        invariant.examples.append(f"made with {other}: the same versions might give the same bytes")
    return invariant


def _build(
    manifest: dict[str, Any],
    sources: Sources,
    machine: Machine,
    out: Path,
    progress: Progress | None,
) -> dict[str, Any]:
    inputs = manifest["inputs"]
    templates = [Template(**{**t, "task": Task(t["task"])}) for t in inputs["templates"]]
    options = options_of(manifest)
    if layout := inputs.get("imported"):
        folder = sources.named.get("dump")
        if folder is None:
            raise PodError(f"this dataset was imported ({layout}): name its folder with --raw")
        given = {name: getattr(options, name) for name in options.__dataclass_fields__}
        for derived in ("core", "duplicates"):
            del given[derived]
        imported = folder_inputs(folder, layout, templates, name=inputs["dataset"], **given)
        for source in inputs["sources"]:
            role = source["role"]
            Sources({role: imported.folder.files.get(role, folder / source["file"])}).find(
                source, folder
            )
        return import_folder(imported, machine, out, progress=progress)
    if inputs["dataset"] == "sample" and not sources.named:
        make_sample(out.parent)  # generated, the same bytes everywhere
    paths = {s["role"]: sources.find(s, out.parent) for s in inputs["sources"]}
    return build(
        Inputs(dataset=inputs["dataset"], options=options, templates=templates, **paths),
        machine,
        out,
        progress=progress,
    )


def _compare(
    shards: Path, manifest: dict[str, Any], out: Path, again: dict[str, Any], invariant: Invariant
) -> None:
    for name in sorted(manifest["files"].keys() | again["files"].keys()):
        if name not in again["files"]:
            invariant.violated(f"{name} is not rebuilt")
        elif not (shards / name).is_file():
            invariant.violated(f"{name} is missing")
        elif file_sha256(shards / name) != again["files"][name]["sha256"]:
            invariant.violated(
                f"{name} differs from byte {_first_difference(shards / name, out / name):,}"
            )
    written = read_manifest(out)
    for key in sorted((manifest.keys() | written.keys()) - {"versions", "files", SEAL}):
        if manifest.get(key) != written.get(key):
            invariant.violated(f"manifest.json: {key} differs")


def _first_difference(one: Path, other: Path) -> int:
    """Return the offset of the first byte that differs."""
    at = 0
    with one.open("rb") as a, other.open("rb") as b:
        while (x := a.read(1 << 16)) == (y := b.read(1 << 16)) and x:
            at += len(x)
    same = next((n for n, (i, j) in enumerate(zip(x, y, strict=False)) if i != j), None)
    return at + (min(len(x), len(y)) if same is None else same)


def _versions(manifest: dict[str, Any], again: dict[str, Any]) -> str:
    """Return the libraries whose version differs, or an empty text."""
    here, there = again["versions"], manifest["versions"]
    return ", ".join(
        f"{name} {there.get(name)} (here {here.get(name)})"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    )
