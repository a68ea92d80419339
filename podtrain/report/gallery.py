"""The gallery of a page: a few users, what they bought, and what the model recommends them."""

import math
import shlex
from dataclasses import dataclass, replace
from functools import reduce
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
class Line:
    """An item of a list. share: its probability, where it has one; bought: by the user before."""

    name: str
    tip: str = ""
    share: str = ""
    held_out: bool = False
    bought: bool = False


@dataclass(frozen=True, slots=True)
class Ranked:
    """A list of the model's, and where the held-out item came."""

    title: str
    lines: tuple[Line, ...]
    rank: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A sentence of the model's beside the person's. about: none where it is the held-out item."""

    about: Line | None
    model: str
    person: str
    feature: str


@dataclass(frozen=True, slots=True)
class User:
    """One user of the gallery, as the page shows it."""

    name: str
    reviewer: str
    history_title: str
    history: tuple[Line, ...]
    lists: tuple[Ranked, ...]
    explanation: Explanation | None


@dataclass(frozen=True, slots=True)
class Gallery:
    """A few users."""

    title: str
    words: str
    users: tuple[User, ...]


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a run predicted in a task. rows: by user, the best first; only of users drawn."""

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


def read_gallery(run: Run, shards: Shards) -> Gallery | None:
    """Return the gallery of a run; none for a run without predictions.

    Errors: `PodError` for damaged files.
    """
    for split in ("test", "valid"):
        tables = {task: found for task in TASKS if (found := _table(run, task, split))}
        if tables:
            break
    else:
        return None
    users, of = draw_users([table["user_id"].to_numpy() for _, table in tables.values()])
    predicted = [_predicted(run, task, split, *found, users) for task, found in tables.items()]
    known = Known(
        split, Catalogue(shards), Interactions.read(shards), _sentences(shards, users, predicted)
    )
    words = (
        f"Not picked: evenly spread over the numbers of {of:,} users with predictions. Held out "
        f"is the {split} purchase, which the model is to find. Has it: bought before."
    )
    shown = tuple(_user(user, known, predicted) for user in users)
    return Gallery(f"Gallery: {len(users)} users, {split}", words, shown)


def draw_users(asked: list[npt.NDArray[np.int32]]) -> tuple[list[int], int]:
    """Return a few users that all tasks have predictions of, and how many there are of such.

    Users of the first task where none are common to all.
    """
    common = np.unique(reduce(np.intersect1d, asked))
    common = common if len(common) else np.unique(asked[0])
    places = np.arange(min(USERS, len(common))) * len(common) // min(USERS, len(common))
    return [int(user) for user in common[places]], len(common)


def _table(run: Run, task: str, split: str) -> tuple[str, pa.Table] | None:
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


def _predicted(
    run: Run, task: str, split: str, method: str, table: pa.Table, users: list[int]
) -> Predicted:
    rows: dict[int, list[Row]] = {user: [] for user in users}
    drawn = table.filter(pc.is_in(table["user_id"], pa.array(users, pa.int32())))
    for row in drawn.sort_by([("user_id", "ascending"), ("rank", "ascending")]).to_pylist():
        rows[row["user_id"]].append(row)
    ranks: dict[int, str] = {}
    if (run.folder / "ranks" / f"{task}-{split}-{method}.parquet").exists():
        own, found = read_ranks(run, task, split, method)
        places = {int(user): place for place, user in enumerate(own)}
        ranks = {user: rank_words(found, places[user]) for user in users if user in places}
    return Predicted(task, method, rows, ranks)


def rank_words(ranks: TargetRanks, place: int) -> str:
    """Say where a held-out item came: its rank, the ranks it shares in a tie, or nowhere."""
    above, equal = int(ranks.above[place]), int(ranks.equal[place])
    if not equal:
        return f"held-out item: not among the {above:,}"
    tied = f"s {above + 1:,} to {above + equal:,}, tied" if equal > 1 else f" {above + 1:,}"
    return f"held-out item: rank{tied}"


def _sentences(
    shards: Shards, users: list[int], predicted: list[Predicted]
) -> dict[tuple[int, int], tuple[str, str]]:
    if not any(one.task == "explanation" for one in predicted):
        return {}
    table = shards.table("catalog/explanations.parquet")
    own = table.filter(pc.is_in(table["user_id"], pa.array(users, pa.int32()))).to_pylist()
    return {(row["user_id"], row["item_id"]): (row["feature"], row["sentence"]) for row in own}


def _user(user: int, known: Known, predicted: list[Predicted]) -> User:
    history, held_out = known.bought.history(user, before=known.split), known.held_out(user)
    shown = history[-HISTORY:]
    lines = [_line(item, known) for item in shown]
    if held_out is not None:
        lines.append(replace(_line(held_out, known), held_out=True))
    last = f"the last {len(shown)} of {len(history):,}" if len(history) > len(shown) else "all"
    lists = [
        _list(user, held_out, set(history), known, one)
        for one in predicted
        if one.task != "explanation"
    ]
    explanations = [
        _explanation(user, held_out, known, one) for one in predicted if one.task == "explanation"
    ]
    return User(
        name=f"{user:,}",
        reviewer=known.names.reviewer(user),
        history_title=f"Bought, {last}",
        history=tuple(lines),
        lists=tuple(lists),
        explanation=next(iter(explanations), None),
    )


def _list(
    user: int, held_out: int | None, before: set[int], known: Known, predicted: Predicted
) -> Ranked:
    lines = []
    for row in predicted.rows[user][: PLACES[predicted.task]]:
        item = row["item_id"]
        # only exact scores are log-probabilities of the item itself
        share = _percent(math.exp(row["score"])) if predicted.method == "exact" else ""
        found = item is not None and item == held_out
        bought = item in before and not found
        lines.append(replace(_line(item, known), share=share, held_out=found, bought=bought))
    return Ranked(TITLES[predicted.task], tuple(lines), predicted.ranks.get(user, ""))


def _explanation(
    user: int, held_out: int | None, known: Known, predicted: Predicted
) -> Explanation | None:
    """The sentence on the held-out item or, where nobody explained that, on another."""
    rows = predicted.rows[user]
    row = next((row for row in rows if row["item_id"] == held_out), rows[0] if rows else None)
    if row is None:
        return None
    feature, sentence = known.sentences.get((user, row["item_id"]), ("", ""))
    about = None if row["item_id"] == held_out else _line(row["item_id"], known)
    return Explanation(about, row["text"] or "", sentence, feature)


def _line(item_id: int | None, known: Known) -> Line:
    """An item by its title, or asin; a number of the model's may be of no item."""
    if item_id is None:
        return Line("no item")
    if not 1 <= item_id <= known.bought.n_items:
        return Line(f"item {item_id}, which is none")
    product = known.names.product(item_id)
    tip = f"item {item_id}, {product.asin}" + (f", {product.title}" if product.title else "")
    return Line(product.title or product.asin, tip)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.0005 else "<0.1%"
