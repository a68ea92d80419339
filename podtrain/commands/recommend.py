"""The commands that ask a run: `recommend` and `explain`."""

from pathlib import Path
from typing import Annotated

import typer

from podprep.ui.cli import Json
from podtrain.commands.options import Device, RunFolder, ShardsOption

Id = "a number, or a raw id (id:12 where it is digits)"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(recommend)
    app.command()(explain)


def recommend(
    run: RunFolder,
    user: Annotated[list[str] | None, typer.Option(help=f"A user: {Id}; repeatable.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Recommend to every user.")] = False,
    n: Annotated[int, typer.Option("-n", min=1, help="How many items.")] = 10,
    history: Annotated[
        str | None,
        typer.Option(help="Items, oldest first, instead of what the user has bought."),
    ] = None,
    candidates: Annotated[str | None, typer.Option(help="Items to choose among.")] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Recommend items of the history, too.")
    ] = False,
    why: Annotated[bool, typer.Option("--why", help="Explain each.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="A file to write: .parquet, .csv or .jsonl.")
    ] = None,
    shards: ShardsOption = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Recommend items to users, or to somebody new with --history alone.

    Example: podtrain recommend runs/beauty --user 12 -n 5 --why
    """
    from podtrain.api import load
    from podtrain.catalogue import parse_ids
    from podtrain.commands.frames import chosen_users, show_recommendations
    from podtrain.watch import counting

    trained = load(run, shards=shards, device=device)
    own = None if history is None else parse_ids(history, "--history")
    users = chosen_users(user, every, own)
    found = trained.recommend(
        users,
        n,
        histories=None if own is None else [own],
        exclude_seen=not include_seen,
        candidates=None if candidates is None else parse_ids(candidates, "--candidates"),
        watch=counting("recommend"),
    )
    if why:
        asked = (user_id or None for user_id in found["user_id"])
        pairs = list(zip(asked, found["item_id"], strict=True))
        found = found.with_columns(trained.explain(pairs)["text"].alias("why"))
    show_recommendations(found, trained, users, own, out, as_json=as_json)


def explain(
    run: RunFolder,
    user: Annotated[str, typer.Option(help=f"A user: {Id}.")],
    item: Annotated[str, typer.Option(help=f"An item: {Id}.")],
    about: Annotated[
        str | None, typer.Option(help="The feature that the sentence should be about.")
    ] = None,
    shards: ShardsOption = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say why an item may suit a user.

    Example: podtrain explain runs/beauty --user 12 --item 345
    """
    from podprep.ui.console import print_json, print_lines
    from podtrain.api import load
    from podtrain.catalogue import parse_id

    trained = load(run, shards=shards, device=device)
    found = trained.explain([(parse_id(user), parse_id(item))], about)
    if as_json:
        print_json(found.to_dicts()[0])
    else:
        print_lines(found["text"][0])
