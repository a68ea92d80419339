"""The gallery of a page: a few users, what they bought, and what the model says to them."""

import math
import shlex
from dataclasses import dataclass
from functools import reduce
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from podprep.contract.errors import PodError
from podprep.contract.schema import SPLITS, TASKS
from podprep.contract.shards import Shards
from podtrain.data.interactions import Interactions
from podtrain.evaluate.files import read_ranks
from podtrain.metrics.ranking import TargetRanks
from podtrain.recommend import Catalogue
from podtrain.run import Run

USERS = 8
HISTORY = 8  # items shown of a history
PLACES = {"sequential": 5, "topn": 3}  # shown of a list
TITLES = {"sequential": "The model's next", "topn": "Its best of the candidates"}
METHODS = ("exact", "beam", "pod")  # the first that was asked is shown

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """What a run said in a task. rows: predictions by user, the best first; only of users drawn."""

    task: str
    method: str
    rows: dict[int, list[Row]]
    ranks: dict[int, str]


@dataclass(frozen=True, slots=True)
class Known:
    """What the dataset knows. sentences: (feature, sentence) by user and item."""

    split: str
    names: Catalogue
    bought: Interactions
    sentences: dict[tuple[int, int], tuple[str, str]]

    def held_out(self, user_id: int) -> int | None:
        """Return the item of a user's purchase in the split."""
        here = slice(self.bought.starts[user_id - 1], self.bought.starts[user_id])
        own = self.bought.items[here][self.bought.split[here] == SPLITS.index(self.split)]
        return int(own[0]) if len(own) else None


def gallery(run: Run, shards: Shards) -> tuple[str, str, str] | None:
    """Return title, words and HTML about a few users; none for a run without predictions.

    Errors: `PodError` for damaged files.
    """
    for split in ("test", "valid"):
        tables = {task: found for task in TASKS if (found := _predictions(run, task, split))}
        if tables:
            break
    else:
        return None
    users, of = draw_users([table["user_id"].to_numpy() for _, table in tables.values()])
    said = [_said(run, task, split, *found, users) for task, found in tables.items()]
    known = Known(
        split, Catalogue(shards), Interactions.read(shards), _sentences(shards, users, said)
    )
    cards = "".join(_card(user, known, said) for user in users)
    words = (
        f"Not picked: evenly spread over the numbers of {of:,} users with predictions. Held out "
        f"is the {split} purchase, which the model is to find. Has it: bought before."
    )
    return f"Gallery: {len(users)} users, {split}", words, f'<div class="cards">{cards}</div>'


def draw_users(asked: list[npt.NDArray[np.int32]]) -> tuple[list[int], int]:
    """Return a few users that all tasks have predictions of, and how many there are of such.

    Users of the first task where none are common to all.
    """
    common = np.unique(reduce(np.intersect1d, asked))
    common = common if len(common) else np.unique(asked[0])
    places = np.arange(min(USERS, len(common))) * len(common) // min(USERS, len(common))
    return [int(user) for user in common[places]], len(common)


def _predictions(run: Run, task: str, split: str) -> tuple[str, pa.Table] | None:
    for method in ("unseen", *METHODS):  # what a shop would show, where it was measured
        path = run.folder / "predictions" / f"{task}-{split}-{method}.parquet"
        if path.exists():
            try:
                table = pq.read_table(path)
            except (OSError, pa.ArrowInvalid):
                again = f"podtrain evaluate {shlex.quote(str(run.folder))} --task {task}"
                raise PodError(f"{path} is damaged: {again}") from None
            if len(table):
                return method, table
    return None


def _said(run: Run, task: str, split: str, method: str, table: pa.Table, users: list[int]) -> Said:
    rows: dict[int, list[Row]] = {user: [] for user in users}
    drawn = table.filter(pc.is_in(table["user_id"], pa.array(users, pa.int32())))
    for row in drawn.sort_by([("user_id", "ascending"), ("rank", "ascending")]).to_pylist():
        rows[row["user_id"]].append(row)
    ranks: dict[int, str] = {}
    if (run.folder / "ranks" / f"{task}-{split}-{method}.parquet").exists():
        own, found = read_ranks(run, task, split, method)
        places = {int(user): place for place, user in enumerate(own)}
        ranks = {user: rank_words(found, places[user]) for user in users if user in places}
    return Said(task, method, rows, ranks)


def rank_words(ranks: TargetRanks, place: int) -> str:
    """Say where a held-out item came: its rank, the ranks it shares in a tie, or nowhere."""
    above, equal = int(ranks.above[place]), int(ranks.equal[place])
    if not equal:
        return f"held-out item: not among the {above:,}"
    tied = f"s {above + 1:,} to {above + equal:,}, tied" if equal > 1 else f" {above + 1:,}"
    return f"held-out item: rank{tied}"


def _sentences(
    shards: Shards, users: list[int], said: list[Said]
) -> dict[tuple[int, int], tuple[str, str]]:
    if not any(one.task == "explanation" for one in said):
        return {}
    table = shards.table("catalog/explanations.parquet")
    own = table.filter(pc.is_in(table["user_id"], pa.array(users, pa.int32()))).to_pylist()
    return {(row["user_id"], row["item_id"]): (row["feature"], row["sentence"]) for row in own}


def _card(user: int, known: Known, said: list[Said]) -> str:
    history, held = known.bought.history(user, before=known.split), known.held_out(user)
    shown = history[-HISTORY:]
    lines = "".join(f"<li>{_product(item, known)}</li>" for item in shown)
    if held is not None:
        lines += f'<li class="held">{_product(held, known)}<em>held out</em></li>'
    last = f"the last {len(shown)} of {len(history):,}" if len(history) > len(shown) else "all"
    parts = [f"<div><h4>Bought, {last}</h4><ul>{lines}</ul></div>"]
    for one in said:
        if one.task == "explanation":
            parts.append(_explanation(user, held, known, one))
        else:
            parts.append(_list(user, held, set(history), known, one))
    reviewer = escape(known.names.reviewer(user))
    return (
        f'<article><h3>User {user:,} <small>{reviewer}</small></h3><div class="parts">'
        f"{''.join(parts)}</div></article>"
    )


def _list(user: int, held: int | None, before: set[int], known: Known, said: Said) -> str:
    lines = []
    for row in said.rows[user][: PLACES[said.task]]:
        item = row["item_id"]
        style, word = "", ""
        if item is not None and item == held:
            style, word = ' class="held"', "<em>held out</em>"
        elif item in before:
            word = '<em title="bought before">has it</em>'
        # only exact scores are log-probabilities of the item itself
        share = f"<b>{_percent(math.exp(row['score']))}</b>" if said.method == "exact" else ""
        lines.append(f"<li{style}>{share}{_product(item, known)}{word}</li>")
    rank = said.ranks.get(user, "")
    return (
        f"<div><h4>{TITLES[said.task]}</h4><ol>{''.join(lines)}</ol>"
        f'<p class="rank">{escape(rank)}</p></div>'
    )


def _explanation(user: int, held: int | None, known: Known, said: Said) -> str:
    """The sentence on the held-out item or, where nobody explained that, on another."""
    rows = said.rows[user]
    row = next((row for row in rows if row["item_id"] == held), rows[0] if rows else None)
    if row is None:
        return ""
    feature, sentence = known.sentences.get((user, row["item_id"]), ("", ""))
    about = "" if row["item_id"] == held else f"<p>On {_product(row['item_id'], known)}:</p>"
    person = f"The person ({escape(feature)})" if feature else "The person"
    return (
        f"<div><h4>Why</h4>{about}<blockquote>{escape(row['text'] or '')}"
        f"<cite>The model</cite></blockquote>"
        f'<blockquote class="person">{escape(sentence)}<cite>{person}</cite></blockquote></div>'
    )


def _product(item_id: int | None, known: Known) -> str:
    """An item by its title, or asin; a name of the model's may be of no item."""
    if item_id is None:
        return "<span>no item</span>"
    if not 1 <= item_id <= known.bought.n_items:
        return f"<span>item {item_id}, which is none</span>"
    product = known.names.product(item_id)
    tip = f"item {item_id}, {product.asin}" + (f", {product.title}" if product.title else "")
    return f'<span title="{escape(tip)}">{escape(product.title or product.asin)}</span>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.0005 else "&lt;0.1%"
