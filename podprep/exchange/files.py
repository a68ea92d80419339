"""What every export needs: a dataset's files, checked, and files that appear whole."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from podprep.errors import PodError
from podprep.shards import open_file

ROWS = 16_384  # rows held at a time

# writes one file at the path given
Write = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset to export: its files, checked as they are opened, and DuckDB over them."""

    shards: Path
    manifest: dict[str, Any]
    con: duckdb.DuckDBPyConnection

    @property
    def name(self) -> str:
        """Return the dataset's name as a file name."""
        return str(self.manifest["inputs"]["dataset"]).replace("/", "-")

    def check(self, prefix: str) -> list[str]:
        """Return the files below a prefix, their bytes checked. Errors: as `open_file`."""
        names = [name for name in self.manifest["files"] if name.startswith(prefix)]
        for name in names:
            open_file(self.shards, self.manifest, name).close()
        return names

    def rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, `ROWS` of them in memory."""
        for batch in self.con.sql(query).to_arrow_reader(ROWS):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def lines(self, query: str) -> Iterator[str]:
        """Yield the one column of a query as lines."""
        return (f"{line}\n" for (line,) in self.rows(query))


def write_whole(path: Path, write: Write) -> None:
    """Write a file beside its place and move it there. Errors: `PodError` for a folder there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise PodError(f"{path} is a folder where a file goes: name another folder with --to")
    half = path.with_name(f".{path.name}.writing")
    try:
        write(half)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def text_file(pieces: Callable[[], Iterable[str]]) -> Write:
    """Return what writes pieces of text, made when the file is."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces())

    return write
