"""The manifest: the last file of a dataset, sealed with its own SHA-256."""

import hashlib
import json
from pathlib import Path
from typing import Any

from podprep.contract.errors import PodError
from podprep.contract.schema import SCHEMA_VERSION
from podprep.contract.writing import json_text, write_json

MANIFEST = "manifest.json"
SEAL = "manifest_sha256"  # the manifest's last key
REBUILD = "podprep build --force makes the dataset again"


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest with its seal."""
    write_json(folder / MANIFEST, {**manifest, SEAL: manifest_sha256(manifest)})


def manifest_sha256(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest's text without the seal."""
    rest = {key: value for key, value in manifest.items() if key != SEAL}
    return hashlib.sha256(json_text(rest).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a dataset, its seal unchecked: for `verify`, which says what is wrong.

    Errors: `PodError` if there is none, it cannot be read, or it is of another version.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["schema_version"]
    except OSError:
        raise PodError(
            f"{folder} is not a dataset (it has no {MANIFEST}): make one with podprep build"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise PodError(f"{path} is damaged: {REBUILD}") from None
    if version != SCHEMA_VERSION:
        raise PodError(
            f"{path} has schema version {version!r}, this version reads {SCHEMA_VERSION}: "
            "build it again, or install the podprep that made it"
        )
    return dict(manifest)


def read_sealed_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a dataset. Errors: as `read_manifest`, or if it was edited."""
    manifest = read_manifest(folder)
    if manifest.get(SEAL) != manifest_sha256(manifest):
        raise PodError(f"{folder / MANIFEST} was changed after the build: {REBUILD}")
    return manifest
