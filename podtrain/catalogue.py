"""Numbers of users and items, and the names behind them."""

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from podprep.contract.errors import PodError
from podprep.contract.schema import ITEMS, USERS
from podprep.contract.shards import Shards

if TYPE_CHECKING:
    import polars as pl

Id = int | str


class Catalogue:
    """Users and items of a dataset by number or by raw id.

    A number is an `int`, a raw id (reviewer id, asin) is a `str`: neither is ever guessed from the
    other, as there are reviewers named "12". Errors of every look-up: `PodError` if unknown.
    """

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    @cached_property
    def users(self) -> "pl.DataFrame":
        """user_id, reviewer_id."""
        return self._frame(USERS)

    @cached_property
    def items(self) -> "pl.DataFrame":
        """item_id, asin, and title where metadata was given."""
        frame = self._frame(ITEMS)
        return frame.select(c for c in ("item_id", "asin", "title") if c in frame.columns)

    def named(self, frame: "pl.DataFrame", columns: Iterable[str]) -> "pl.DataFrame":
        """Return these columns of a frame of user_id and item_id, with the names behind them.

        A column that there is not is left out: the title, where no metadata was given.
        """
        frame = frame.join(self.users, on="user_id", how="left", maintain_order="left")
        frame = frame.join(self.items, on="item_id", how="left", maintain_order="left")
        return frame.select(column for column in columns if column in frame.columns)

    def user(self, user: Id) -> int:
        """Return a user's number."""
        return self._find(user, "user", USERS, "reviewer_id", self.shards.n_users)

    def item(self, item: Id) -> int:
        """Return an item's number."""
        return self._find(item, "item", ITEMS, "asin", self.shards.n_items)

    def reviewer(self, user_id: int) -> str:
        """Return a user's reviewer id."""
        return str(self.users["reviewer_id"][user_id - 1])

    def asin(self, item_id: int) -> str:
        """Return an item's asin."""
        return str(self.items["asin"][item_id - 1])

    def title(self, item_id: int) -> str | None:
        """Return an item's title, where there is one."""
        return self.items["title"][item_id - 1] if "title" in self.items.columns else None

    def _frame(self, name: str) -> "pl.DataFrame":
        import polars as pl

        frame = pl.from_arrow(self.shards.table(name))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _find(self, named: Any, kind: str, file: str, column: str, n: int) -> int:
        if isinstance(named, str):
            place = pc.index(self._column(file, column), named).as_py()
            if place >= 0:
                return int(place) + 1
        elif isinstance(named, int) and not isinstance(named, bool) and 1 <= named <= n:
            return named
        shown = f"with the {column} {named!r}" if isinstance(named, str) else f"number {named}"
        raise PodError(
            f"{self.shards.folder} has no {kind} {shown}: numbers are 1 to {n:,}, and {file} has "
            f"the column {column}"
        )

    def _column(self, file: str, column: str) -> Any:
        if (file, column) not in self._columns:
            self._columns[file, column] = self.shards.table(file, [column])[column]
        return self._columns[file, column]

    @cached_property
    def _columns(self) -> dict[tuple[str, str], Any]:
        return {}


def parse_id(text: str) -> Id:
    """Read an id as typed: digits are a number, `id:12` is the raw id 12, all else a raw id."""
    text = text.strip()
    if text.startswith("id:"):
        return text.removeprefix("id:")
    return int(text) if text.isascii() and text.isdigit() else text


def parse_ids(text: str, option: str) -> list[Id]:
    """Read ids with commas between. Errors: `PodError` for none."""
    found = [parse_id(part) for part in text.split(",") if part.strip()]
    if not found:
        raise PodError(f"{option} names nothing: give ids with commas between")
    return found
