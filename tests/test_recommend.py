"""A run asked: ids are what they are, candidates count once, and people who are new are nobody."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import podtrain
from podprep.contract.errors import PodError
from podtrain.catalogue import Catalogue, parse_id, parse_ids
from podtrain.recommenders.queries import Queries
from podtrain.run import Run
from tests.conftest import Build, arithmetic_rows, write_dump
from tests.test_training import SMALL

USERS, ITEMS = 24, 15
TITLED = 5  # items that have a title


@pytest.fixture
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "recommend"


@pytest.fixture
def run(kept: Path, build_rows: Build, tmp_path: Path) -> Run:
    """A run on a dataset whose raw ids are numbers, others than the ids; trained once."""
    if not kept.exists():
        rows = [
            {
                **row,
                "reviewerID": str(USERS - int(row["reviewerID"][1:])),
                "asin": str(100 - int(row["asin"][1:])) if n % 2 else str(int(row["asin"][1:]) + 1),
            }
            for row in arithmetic_rows(USERS, ITEMS, 6)
            for n in [int(row["asin"][1:])]
        ]
        titles = [{"asin": asin, "title": f"no {asin}"} for asin in ("1", "3", "5", "7", "9")]
        shards = build_rows(
            rows, negatives=3, rounds=1, metadata=write_dump(tmp_path / "meta.gz", titles)
        )
        kept.mkdir()
        shards.rename(kept / "shards")
        podtrain.fit(kept / "shards", kept / "run", **SMALL | {"epochs": 1})
    return podtrain.load(kept / "run")


def column(frame: pl.DataFrame, name: str) -> list[Any]:
    return frame[name].to_list()


def test_ids_are_never_guessed(run: Run) -> None:
    names = Catalogue(run.shards)
    reviewers = column(names.users, "reviewer_id")
    assert sorted(map(int, reviewers)) == list(range(1, USERS + 1))
    moved = [n for n, raw in enumerate(reviewers, 1) if raw != str(n)]
    for user in moved[:3]:
        by_number = run.recommend(users=user, n=3)
        by_name = run.recommend(users=names.reviewer(user), n=3)
        assert by_number.equals(by_name)
        assert set(column(by_number, "user_id")) == {user}
        assert set(column(by_number, "reviewer_id")) == {names.reviewer(user)}
        other = run.recommend(users=str(user), n=3)
        assert column(other, "user_id")[0] != user
        assert set(column(other, "reviewer_id")) == {str(user)}
        assert column(run.explain([(str(user), 1)]), "reviewer_id") == [str(user)]
    both = run.recommend(users=[2, "2"], n=1)
    assert column(both, "user_id") == [2, names.user("2")]
    asin = next(a for n, a in enumerate(column(names.items, "asin"), 1) if int(a) != n)
    assert column(run.recommend(1, candidates=[asin], exclude_seen=False), "asin") == [asin]
    for unknown in (0, USERS + 1, -1, str(USERS + 1), "U001", "1 ", True, None, 1.0):
        with pytest.raises(PodError, match=r"has no user .*numbers are 1 to 24.* reviewer_id"):
            run.recommend(users=[unknown])  # type: ignore[list-item]
    with pytest.raises(PodError, match="has no item with the asin 'B0': numbers are 1 to 15"):
        run.recommend(1, candidates=["B0"])
    with pytest.raises(PodError, match="has no item number 16"):
        run.explain([(1, 16)])


def test_a_typed_id_of_digits_is_a_number_unless_it_says_otherwise() -> None:
    read = {"12": 12, " 12 ": 12, "id:12": "12", "A12": "A12", "id:A": "A", "-1": "-1",
            "1.0": "1.0", "\u0661": "\u0661"}  # fmt: skip
    assert {text: parse_id(text) for text in read} == read
    assert parse_ids("3, id:4,B0,,", "--candidates") == [3, "4", "B0"]
    with pytest.raises(PodError, match="--candidates names nothing"):
        parse_ids(" , ", "--candidates")


def test_the_best_come_first_each_once_and_none_was_bought(run: Run) -> None:
    """Everybody at once is everybody one by one."""
    everybody = run.recommend(n=4)
    assert everybody.columns == [
        "user_id", "reviewer_id", "rank", "item_id", "asin", "title", "score",
    ]  # fmt: skip
    kinds = {name: str(kind) for name, kind in everybody.schema.items()}
    assert kinds == {
        "user_id": "Int32", "reviewer_id": "String", "rank": "Int32", "item_id": "Int32",
        "asin": "String", "title": "String", "score": "Float32",
    }  # fmt: skip
    names, purchases = Catalogue(run.shards), run.recommender.purchases
    assert sum(title is not None for title in column(names.items, "title")) == TITLED
    for user in range(1, USERS + 1):
        own = everybody.filter(pl.col("user_id") == user)
        alone = run.recommend(users=user, n=4)
        assert column(alone, "item_id") == column(own, "item_id")
        assert column(alone, "score") == pytest.approx(column(own, "score"), abs=1e-4)
        assert column(own, "rank") == [1, 2, 3, 4]
        seen = purchases.history(user)
        scores = run.recommender.scores(Queries.of([seen], [user]))[0]
        order = sorted((i for i in range(1, ITEMS + 1) if i not in seen),
                       key=lambda i: (-scores[i - 1], i))  # fmt: skip
        assert column(own, "item_id") == order[:4]
        assert column(own, "asin") == [names.asin(i) for i in order[:4]]
        assert column(own, "title") == [names.title(i) for i in order[:4]]


def test_more_than_there_are_are_all_that_there_are(run: Run) -> None:
    purchases = run.recommender.purchases
    found = run.recommend(n=10 * ITEMS)
    for user in range(1, USERS + 1):
        own = found.filter(pl.col("user_id") == user)
        rest = set(range(1, ITEMS + 1)) - set(purchases.history(user))
        assert sorted(column(own, "item_id")) == sorted(rest)
        assert column(own, "rank") == list(range(1, len(rest) + 1))
        assert column(own, "score") == sorted(column(own, "score"), reverse=True)
    every = run.recommend(users=3, n=10 * ITEMS, exclude_seen=False)
    assert sorted(column(every, "item_id")) == list(range(1, ITEMS + 1))
    assert np.exp(column(every, "score")).sum() == pytest.approx(1, abs=1e-4)


def test_candidates_count_once_and_what_was_bought_is_left_out(run: Run) -> None:
    names, history = Catalogue(run.shards), run.recommender.purchases.history(7)
    new = [i for i in range(1, ITEMS + 1) if i not in history][:3]
    mixed = [*new, history[0], *new, names.asin(new[1]), history[-1]]
    found = run.recommend(7, 9, candidates=mixed)
    assert sorted(column(found, "item_id")) == sorted(new)
    assert found.equals(run.recommend(7, 9, candidates=[history[0], history[-1], *new[::-1]]))
    kept = run.recommend(7, 9, candidates=mixed, exclude_seen=False)
    assert sorted(column(kept, "item_id")) == sorted({*new, history[0], history[-1]})
    assert len(run.recommend(7, 2, candidates=mixed)) == 2
    assert run.recommend(7, 9, candidates=[history[0]]).is_empty()
    # with a history they are chosen among by it
    given = run.recommend(7, 9, candidates=mixed, histories=[[new[0]]])
    assert sorted(column(given, "item_id")) == sorted({*new[1:], history[0], history[-1]})
    with pytest.raises(PodError, match="--candidates names nothing"):
        run.recommend(7, candidates=[])


def test_somebody_new_is_nobody_of_the_dataset(run: Run) -> None:
    histories = [[3, 4, 5], [9], [1, 2]]
    found = run.recommend(histories=histories, n=3)
    assert found.columns[:2] == ["query", "user_id"]
    assert column(found, "query") == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert set(column(found, "user_id")) == {0}
    assert set(column(found, "reviewer_id")) == {None}
    for n, history in enumerate(histories):
        own = found.filter(pl.col("query") == n)
        assert not set(history) & set(column(own, "item_id"))
        alone = run.recommend(histories=[history], n=3)
        assert column(alone, "item_id") == column(own, "item_id")
    names = Catalogue(run.shards)
    raw = [[names.asin(item) for item in history] for history in histories]
    assert run.recommend(histories=raw, n=3).equals(found)
    users = run.recommend([4, 5, 6], histories=histories, n=3)
    assert column(users, "user_id") == [4, 4, 4, 5, 5, 5, 6, 6, 6]
    assert "query" not in users.columns
    told = run.explain([(None, 3), (2, 3)])
    assert column(told, "user_id") == [0, 2]
    assert column(told, "reviewer_id")[0] is None
    assert all(column(told, "text"))
    with pytest.raises(PodError, match="2 users with 3 histories: give as many"):
        run.recommend([1, 2], histories=histories)
    with pytest.raises(PodError, match="no history to go by"):
        run.recommend(histories=[[1], []])
    with pytest.raises(PodError, match="-n 0: give at least 1"):
        run.recommend(1, 0)


def test_parts_of_all_users_do_not_show(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run.recommend(n=3)
    sizes: list[int] = []

    def watch(batches: Any, total: int, size: int) -> Any:
        assert (total, size) == (USERS, 5)
        for batch in batches:
            sizes.append(len(batch[0]))
            yield batch

    monkeypatch.setattr("podtrain.recommend.batch_size", lambda _: 5)
    parts = run.recommend(n=3, watch=watch)
    assert sizes == [5, 5, 5, 5, 4]
    assert parts.drop("score").equals(whole.drop("score"))


def test_a_run_says_what_it_was_not_trained_for(run: Run, tmp_path: Path) -> None:
    topn = podtrain.fit(run.shards.folder, tmp_path / "t", **SMALL | {"epochs": 1}, tasks="topn")
    with pytest.raises(PodError, match="not trained on the sequential task: give --candidates"):
        topn.recommend(1)
    assert len(topn.recommend(1, 2, candidates=[1, 2, 3, 4, 5, 6, 7, 8])) == 2
    with pytest.raises(PodError, match="not trained on the explanation task"):
        topn.explain([(1, 1)])
    only = {"epochs": 1, "tasks": "sequential"}
    sequential = podtrain.fit(run.shards.folder, tmp_path / "s", **SMALL | only)
    some = sequential.recommend(1, 20, candidates=[1, 2, 3, 4, 5, 6, 7, 8])
    whole = sequential.recommend(1, 20).filter(pl.col("item_id") <= 8)
    assert column(some, "item_id") == column(whole, "item_id")  # by the history, too
    said = podtrain.fit(
        run.shards.folder, tmp_path / "e", **SMALL | only | {"tasks": "explanation"}
    )
    with pytest.raises(PodError, match="not trained on the sequential task"):
        said.recommend(1)
