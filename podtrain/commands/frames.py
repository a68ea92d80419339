"""Recommendations as people and programs want them: tables, JSON, files."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from podprep.contract.errors import PodError
from podprep.contract.writing import replacing
from podprep.ui.console import print_json, print_tables
from podtrain.catalogue import Catalogue, Id, parse_id
from podtrain.report.tables import products_table

if TYPE_CHECKING:
    import polars as pl

    from podtrain.run import Run

HISTORY_SHOWN = 20  # latest items of a history


def chosen_users(named: list[str] | None, every: bool, history: list[Id] | None) -> list[Id] | None:
    """Return the users named, or None for all, or for somebody new.

    Errors: `PodError` where nobody is named, or too many are for one history.
    """
    if every and (named or history):
        raise PodError("--all is everybody in the dataset: leave out --user and --history")
    if history is not None and named and len(named) > 1:
        raise PodError("--history is of one user: give one --user, or none")
    if not named and not every and history is None:
        raise PodError("name a user: --user N, --all, or --history ITEM,ITEM,... of somebody new")
    return [parse_id(user) for user in named] if named else None


def show_recommendations(
    found: "pl.DataFrame",
    run: "Run",
    users: list[Id] | None,
    history: list[Id] | None,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Write recommendations to a file, or print them by user. Errors: `PodError`.

    users: as asked, with something left to recommend or not; None: everybody, or, with a history,
    somebody new.
    """
    if out is not None:
        _write(found, out)
        return
    names = Catalogue(run.shards)
    given = [names.item(item) for item in history or []]
    asked: Iterable[int] = [0] if history is not None else range(1, run.shards.n_users + 1)
    if users is not None:
        asked = dict.fromkeys(names.user(user) for user in users)  # each once
    rows: dict[int, list[dict[str, Any]]] = {user: [] for user in asked}
    for row in found.unique(["user_id", "rank"], keep="first", maintain_order=True).to_dicts():
        rows[row["user_id"]].append(row)
    known = run.recommender.purchases
    answers = [
        (user, known.history(user) if history is None else given, own) for user, own in rows.items()
    ]
    if as_json:
        print_json([_answer(names, *answer) for answer in answers])
        return
    for user_id, own, recommended in answers:
        who = f"user {user_id} ({names.reviewer(user_id)})" if user_id else "somebody new"
        before = [_product(names, item) for item in own[-HISTORY_SHOWN:]]
        print_tables(
            products_table(f"History of {who}, the latest last", before),
            products_table(
                f"Recommended to {who}" + ("" if recommended else ": nothing is left"), recommended
            ),
        )


def _answer(
    names: Catalogue, user_id: int, own: list[int], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "user_id": user_id or None,
        "reviewer_id": names.reviewer(user_id) if user_id else None,
        "history": [_product(names, item) for item in own],
        "recommended": [
            {k: v for k, v in row.items() if k not in ("query", "user_id", "reviewer_id")}
            for row in rows
        ],
    }


def _product(names: Catalogue, item_id: int) -> dict[str, Any]:
    found = {"item_id": item_id, "asin": names.asin(item_id)}
    title = names.title(item_id)
    return found if title is None else {**found, "title": title}


def _write(found: "pl.DataFrame", out: Path) -> None:
    writers = {
        ".parquet": found.write_parquet,
        ".csv": found.write_csv,
        ".jsonl": found.write_ndjson,
    }
    if out.suffix not in writers:
        raise PodError(f"--out {out}: name a file that ends in {', '.join(writers)}")
    with replacing(out) as work:
        writers[out.suffix](work)  # type: ignore[operator]
    rows, users = len(found), len(np.unique(found["user_id"].to_numpy()))
    print_json({"file": str(out), "users": users, "rows": rows})
