"""Datasets in the layouts that others read."""

import json
from pathlib import Path

import polars as pl

from podprep.errors import PodError
from podprep.shards import open_file, read_manifest


def export_pod(shards: Path, to: Path) -> list[Path]:
    """Write sequential.txt, negative.txt, explanation.json and datamaps.json, as POD reads them.

    Errors: `PodError` as `read_manifest` and `open_file`, or if `to` cannot be written.
    """
    manifest = read_manifest(shards)

    def catalog(name: str) -> pl.DataFrame:
        table = open_file(shards, manifest, f"catalog/{name}.parquet").read()
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    sequences = catalog("interactions").group_by("user_id", maintain_order=True).agg("item_id")
    test = catalog("negatives").filter(pl.col("split") == "test")
    names = {"id2user": catalog("users")["reviewer_id"], "id2item": catalog("items")["asin"]}
    maps = {kind: {str(n): name for n, name in enumerate(ids, 1)} for kind, ids in names.items()}
    explained = catalog("explanations").select(
        "split", user="user_id", item="item_id", explanation="sentence", feature="feature"
    )
    explanations = {
        theirs: explained.filter(pl.col("split") == ours).drop("split").to_dicts()
        for theirs, ours in (("train", "train"), ("val", "valid"), ("test", "test"))
    }
    written = {
        "sequential.txt": _lines(sequences, "item_id"),
        "negative.txt": _lines(test, "item_ids"),
        "explanation.json": json.dumps(explanations),
        "datamaps.json": json.dumps(maps, indent=4),
    }
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name, text in written.items():
            (to / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise PodError(f"cannot write {to}: {error.strerror}; name another folder") from None
    return [to / name for name in written]


def _lines(frame: pl.DataFrame, items: str) -> str:
    """Return one line a row: the user, then the items."""
    joined = pl.col(items).cast(pl.List(pl.String)).list.join(" ")
    lines = frame.select(pl.format("{} {}\n", "user_id", joined)).to_series()
    return "".join(lines)
