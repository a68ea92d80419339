"""Datasets changed so that their manifest agrees: only an invariant can find it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from podprep.contract.hashing import file_sha256
from podprep.contract.manifest import read_manifest, write_manifest

Row = dict[str, Any]


def rewrite(shards: Path, name: str, change: Callable[[list[Row]], list[Row]]) -> None:
    """Change the rows of one file, and what the manifest says of its bytes."""
    path = shards / name
    schema = pq.read_schema(path)
    rows = change(pq.ParquetFile(path).read().to_pylist())
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    seal(shards, name)


def seal(shards: Path, name: str) -> None:
    """Make the manifest agree with a file."""
    manifest, path = read_manifest(shards), shards / name
    rows = pq.read_metadata(path).num_rows
    entry = {"rows": rows, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
    manifest["files"][name] = entry
    write_manifest(shards, manifest)


def edit_manifest(shards: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the manifest in place."""
    manifest = json.loads((shards / "manifest.json").read_text())
    change(manifest)
    write_manifest(shards, manifest)
