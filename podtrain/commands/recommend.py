"""The commands that ask a run about one user: `recommend` and `explain`."""

from pathlib import Path
from typing import Annotated

import typer

from podprep.ui.cli import Json

Run = Annotated[Path, typer.Argument(help="A folder made by podtrain fit.")]
User = Annotated[str, typer.Option(help="A number, or a reviewer id.")]
ShardsOption = Annotated[
    Path | None, typer.Option("--shards", help="Where the dataset lies now, if it was moved.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(recommend)
    app.command()(explain)


def recommend(
    run: Run,
    user: User,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 10,
    history: Annotated[
        str | None, typer.Option(help="Items, oldest first, instead of what the user has bought.")
    ] = None,
    candidates: Annotated[str | None, typer.Option(help="Items to choose among.")] = None,
    why: Annotated[bool, typer.Option("--why", help="Explain each.")] = False,
    shards: ShardsOption = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Recommend items to a user; what was bought already is left out.

    Example: podtrain recommend runs/beauty --user 12 -n 5 --why
    """
    from podprep.ui.console import print_json, print_tables
    from podtrain.data.interactions import Interactions
    from podtrain.recommend import Catalogue
    from podtrain.recommend import explain as reason
    from podtrain.recommend import recommend as answer
    from podtrain.recommenders.pod.inference import Asked
    from podtrain.report.tables import products_table
    from podtrain.run import Run as Trained

    trained = Trained.open(run)
    dataset = trained.shards(shards)
    names = Catalogue(dataset)
    user_id = names.user(user)
    own = names.items(history) if history else Interactions.read(dataset).history(user_id)
    among = names.items(candidates) if candidates else None
    asked = Asked.of(trained, dataset, device)
    tasks = trained.config.tasks
    found = answer(asked, tasks, user_id, own, n, among)
    before = [names.product(i) for i in own]
    after = [
        names.product(i, score, reason(asked, tasks, user_id, i) if why else None)
        for i, score in found
    ]
    if as_json:
        from dataclasses import asdict

        value = {
            "user_id": user_id,
            "reviewer_id": names.reviewer(user_id),
            "history": [asdict(p) for p in before],
            "recommended": [asdict(p) for p in after],
        }
        print_json(value)
        return
    who = f"user {user_id} ({names.reviewer(user_id)})"
    print_tables(
        products_table(f"History of {who}, the latest last", before[-20:]),
        products_table(f"Recommended to {who}", after),
    )


def explain(
    run: Run,
    user: User,
    item: Annotated[str, typer.Option(help="A number, or an asin.")],
    shards: ShardsOption = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write why an item may suit a user.

    Example: podtrain explain runs/beauty --user 12 --item 345
    """
    from podprep.ui.console import print_json, print_lines, print_tables
    from podtrain.data.interactions import Interactions
    from podtrain.recommend import Catalogue
    from podtrain.recommend import explain as answer
    from podtrain.recommenders.pod.inference import Asked
    from podtrain.report.tables import products_table
    from podtrain.run import Run as Trained

    trained = Trained.open(run)
    dataset = trained.shards(shards)
    names = Catalogue(dataset)
    user_id, item_id = names.user(user), names.item(item)
    text = answer(Asked.of(trained, dataset, device), trained.config.tasks, user_id, item_id)
    product = names.product(item_id)
    if as_json:
        value = {
            "user_id": user_id,
            "reviewer_id": names.reviewer(user_id),
            "item_id": item_id,
            "asin": product.asin,
            "title": product.title,
            "explanation": text,
        }
        print_json(value)
        return
    history = [names.product(i) for i in Interactions.read(dataset).history(user_id)[-20:]]
    who = f"user {user_id} ({names.reviewer(user_id)})"
    print_tables(products_table(f"History of {who}, the latest last", history))
    title = f" {product.title}" if product.title else ""
    print_lines(f"Item {item_id} ({product.asin}){title}:", f"  {text}")
