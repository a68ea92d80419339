"""A run asked: what next, which of these, and why."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from podprep.contract.errors import PodError
from podtrain.catalogue import Catalogue, Id
from podtrain.recommenders.queries import Ints, Pairs, Queries
from podtrain.recommenders.ranking import Watch, batch_size, best

if TYPE_CHECKING:
    import polars as pl

    from podtrain.run import Run


def recommend(
    run: "Run",
    users: Id | Sequence[Id] | None = None,
    n: int = 10,
    *,
    histories: Sequence[Sequence[Id]] | None = None,
    exclude_seen: bool = True,
    candidates: Sequence[Id] | None = None,
    watch: Watch | None = None,
) -> "pl.DataFrame":
    """Return the n best items of each user, a row each: user, rank, item, score and names.

    users: numbers, or raw ids as strings; None: all of them, or, with histories, people who are
    not in the dataset, who are numbered 0. histories: what each has bought, the oldest first,
    instead of what the dataset knows. exclude_seen: what is in the history is left out.
    candidates: items to choose among, by the top-N task where the run has it and no history is
    given. Score: the model's log-probability. Errors: `PodError` for unknown ids, no history to go
    by, or a task that the run was not trained on.
    """
    import polars as pl

    if n < 1:
        raise PodError(f"-n {n}: give at least 1")
    model, names = run.recommender, Catalogue(run.shards)
    queries = _queries(run, names, users, histories)
    among: Ints | None = None
    if candidates is not None:
        among = np.unique(np.array([names.item(item) for item in candidates], np.int64))
        if not len(among):
            raise PodError("--candidates names nothing: give items with commas between")
    by_candidates = among is not None and "topn" in model.tasks and histories is None
    if not by_candidates and not queries.lengths.all():
        raise PodError("no history to go by: give --history ITEM,ITEM,...")
    items = np.zeros((len(queries), n), np.int64)
    scores = np.full((len(queries), n), -np.inf, np.float32)
    every = np.arange(1, run.shards.n_items + 1)
    size = batch_size(run.shards.n_items)
    batches: Iterable[tuple[Ints, Queries]] = queries.batches(size)
    for rows, some in watch(batches, len(queries), size) if watch else batches:
        if by_candidates and among is not None:
            found = np.full((len(rows), len(every)), -np.inf, np.float32)
            found[:, among - 1] = model.candidate_scores(some, np.tile(among, (len(rows), 1)))
        else:
            found = model.scores(some)
            if among is not None:
                found[:, np.setdiff1d(every, among) - 1] = -np.inf
        if exclude_seen:
            found[some.seen()] = -np.inf
        items[rows], scores[rows] = best(found, every, n)
    kept = items > 0
    row, place = np.nonzero(kept)
    frame = pl.DataFrame(
        {
            "query": row.astype(np.int32),
            "user_id": queries.user_id[row].astype(np.int32),
            "rank": (place + 1).astype(np.int32),
            "item_id": items[kept].astype(np.int32),
            "score": scores[kept],
        }
    )
    first = ["query"] if histories is not None and users is None else []
    order = [*first, "user_id", "reviewer_id", "rank", "item_id", "asin", "title", "score"]
    return names.named(frame, order)


def explain(
    run: "Run", pairs: Sequence[tuple[Id | None, Id]], *, about: str | None = None
) -> "pl.DataFrame":
    """Return a sentence for each pair (user, item) on why the item may suit the user.

    user: None is somebody who is not in the dataset, numbered 0. about: the feature that the
    sentences should be about. Errors: `PodError` for unknown ids, or a run that was not trained to
    explain.
    """
    import polars as pl

    names = Catalogue(run.shards)
    known = [(0 if user is None else names.user(user), names.item(item)) for user, item in pairs]
    asked = Pairs.of(known, about)
    frame = pl.DataFrame(
        {
            "user_id": asked.user_id.astype(np.int32),
            "item_id": asked.item_id.astype(np.int32),
            "text": run.recommender.texts(asked),
        }
    )
    return names.named(frame, ["user_id", "reviewer_id", "item_id", "asin", "title", "text"])


def _queries(
    run: "Run",
    names: Catalogue,
    users: Id | Sequence[Id] | None,
    histories: Sequence[Sequence[Id]] | None,
) -> Queries:
    """Return who is asked about, with the history to go by."""
    wanted = [users] if isinstance(users, int | str) else users
    numbers = None if wanted is None else [names.user(user) for user in wanted]
    if histories is None:
        known = np.arange(1, run.shards.n_users + 1) if numbers is None else np.array(numbers)
        return Queries.before(run.recommender.purchases, known, None)
    if numbers is not None and len(numbers) != len(histories):
        raise PodError(f"{len(numbers)} users with {len(histories)} histories: give as many")
    items = [[names.item(item) for item in history] for history in histories]
    return Queries.of(items, numbers)
