"""The card of a dataset for the `datasets` library: which files are which configuration."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TASKS = {
    "sequential": "a history of purchases; the target is the next one",
    "topn": "candidates of which one is a purchase; the target is that one",
    "explanation": "a user and a product; the target is a sentence of the review",
}


def card(manifest: dict[str, Any], files: Iterable[Path]) -> str:
    """Return README.md for Parquet files at CONFIGURATION/SPLIT.parquet and catalog/TABLE.parquet.

    A folder with a configuration for each task and each table of the catalogue, the first task
    being the default, is what `datasets.load_dataset(folder, name)` reads.
    """
    configurations: dict[str, list[tuple[str, str]]] = {}
    for file in files:
        folder, part = file.parent.name, file.stem
        name, split = (part, "full") if folder == "catalog" else (folder, part)
        configurations.setdefault(name, []).append((split, file.as_posix()))
    # The library caches by folder name and card (datasets 5.2, measured): without its own mark a
    # dataset would be read as another that was once in a folder of that name.
    files_hash = hashlib.sha256(json.dumps(manifest["files"]).encode()).hexdigest()[:16]
    lines = ["---", "configs:"]
    for n, (name, parts) in enumerate(configurations.items()):
        lines += [f"- config_name: {name}", f"  description: files {files_hash}"]
        lines += ["  default: true"] if not n else []
        lines.append("  data_files:")
        for split, path in parts:
            lines += [f"  - split: {split}", f"    path: {path}"]
    inputs, statistics = manifest["inputs"], manifest["statistics"]
    sources = [f"- {s['role']}: `{s['file']}`, sha256 `{s['sha256']}`" for s in inputs["sources"]]
    return "\n".join(
        [
            *lines,
            "---",
            "",
            f"# {inputs['dataset']}",
            "",
            f"Prompts and targets for recommendation: {statistics['users']:,} users, "
            f"{statistics['items']:,} items, {statistics['purchases']:,} purchases. "
            f"Built by podprep {manifest['versions']['podprep']}, "
            f"{inputs['reading']} protocol, seed {inputs['seed']}.",
            "",
            "Tasks, each with the splits train, validation and test; `round` numbers the draws of "
            "training samples:",
            "",
            *(f"- `{t}`: {what}" for t, what in TASKS.items() if t in configurations),
            "",
            "Tables of the catalogue, each with the one split `full`: "
            + ", ".join(f"`{name}`" for name in configurations if name not in TASKS)
            + ".",
            "",
            "Made from:",
            "",
            *sources,
            "",
        ]
    )
