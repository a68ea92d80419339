"""What every export needs: a dataset's checked files, and streams of text."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from podprep.contract.shards import Shards

ROWS = 16_384  # rows held at a time

# writes one file at the given path
Write = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Contents:
    """A dataset to export: its files, checked as they are opened, and DuckDB over them."""

    shards: Shards
    con: duckdb.DuckDBPyConnection

    @property
    def name(self) -> str:
        """Return the dataset's name as a file name."""
        return self.shards.name.replace("/", "-")

    def check(self, prefix: str) -> list[str]:
        """Return the files below a prefix, their bytes checked. Errors: as `Shards.check`."""
        names = [name for name in self.shards.manifest["files"] if name.startswith(prefix)]
        self.shards.check(names)
        return names

    def rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, `ROWS` at a time in memory."""
        for batch in self.con.sql(query).to_arrow_reader(ROWS):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def lines(self, query: str) -> Iterator[str]:
        """Yield the one column of a query as lines."""
        return (f"{line}\n" for (line,) in self.rows(query))


def text_file(pieces: Callable[[], Iterable[str]]) -> Write:
    """Return a writer of pieces of text, which are made as the file is written."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces())

    return write
