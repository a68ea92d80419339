"""Keyed draws: the SQL equals plain integers, permutes, and is even."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podprep.engine import sql_text
from podprep.recipe import draws
from tests import oracle

Ask = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Return a function that runs a query; hypothesis may keep it, not the connection."""
    held = [duckdb.connect()]
    held[0].execute("CREATE TABLE options AS SELECT 7 AS seed")
    held[0].execute(sql_text("build/00_draws.sql"))
    yield lambda *query: held[0].execute(*query).fetchall()
    held.pop().close()


WORDS = ", ".join(f"wide({{key}}, {i})" for i in range(1, 7))
PERMUTED = f"SELECT permuted({WORDS.format(key='$1')}, $2, $3, $4)"


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 60))
def test_a_permutation_is_one_and_equals_plain_integers(
    ask: Ask, number: int, a: int, b: int
) -> None:
    key = oracle.key(7, number)
    [[got]] = ask(PERMUTED, [key, a * b, a, b])
    assert sorted(got) == list(range(a * b))
    assert got == oracle.permuted(key, a * b, a, b)


def test_keys_and_draws_equal_plain_integers(ask: Ask) -> None:
    rows = ask(
        "SELECT key('purpose', n, 'x'), draw(key('purpose', n, 'x'), 2, 1 + n) FROM range(500) t(n)"
    )
    for n, (key, drawn) in enumerate(rows):
        assert key == hashlib.md5(f"7/purpose/{n}/x".encode()).hexdigest()
        assert drawn == oracle.draw(key, 2, 1 + n)
        assert 0 <= drawn <= n


def chi_square(counts: list[int]) -> float:
    mean = sum(counts) / len(counts)
    return sum((c - mean) ** 2 for c in counts) / mean


def test_the_first_values_of_many_permutations_are_even(ask: Ask) -> None:
    """Every product, every pair in neighbouring slots, and users beside each other: as chance.

    Chi-square has mean n - 1 and standard deviation sqrt(2 (n - 1)); five of them are allowed.
    """
    a, b, users = 12, 12, 100_000
    rows = ask(
        f"""SELECT permuted({WORDS.format(key="k")}, 4, {a}, {b})
            FROM (SELECT u, key('negatives/train', u, 0) AS k FROM range({users}) t(u))
            ORDER BY u"""
    )
    n = a * b
    values = [row[0] for row in rows]
    cells: dict[str, list[int]] = {name: [0] * (n * n) for name in ("slots", "users")}
    for slot in range(4):
        singles = [0] * n
        for row in values:
            singles[row[slot]] += 1
        assert chi_square(singles) < (n - 1) + 5 * (2 * (n - 1)) ** 0.5, slot
    for row, following in zip(values, values[1:] + values[:1], strict=True):
        cells["slots"][row[0] * n + row[1]] += 1
        cells["users"][row[0] * n + following[0]] += 1
    pairs = [c for i, c in enumerate(cells["slots"]) if i // n != i % n]  # distinct by law
    assert sum(pairs) == users
    for counts in (pairs, cells["users"]):
        assert chi_square(counts) < (len(counts) - 1) + 5 * (2 * (len(counts) - 1)) ** 0.5


# ------------------------------------------------------------------ over arrays


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 99),
    size=st.integers(1, 400),
    wanted=st.integers(1, 120),
    own=st.lists(st.lists(st.integers(1, 400), max_size=60), min_size=1, max_size=30),
    cells=st.sampled_from((1, 500, draws.CELLS)),
)
def test_drawing_over_arrays_equals_the_sql(
    seed: int, size: int, wanted: int, own: list[list[int]], cells: int
) -> None:
    """Small pools, pools that run out, users who own most of one, a repeated purchase."""
    own = [[1 + item % size for item in items] for items in own]
    with duckdb.connect() as con, pytest.MonkeyPatch.context() as patch:
        patch.setattr(draws, "CELLS", cells)
        con.execute(f"CREATE TABLE options AS SELECT {seed} AS seed")
        con.execute(sql_text("build/00_draws.sql"))
        a, b = oracle.sides(size)
        con.execute(
            "CREATE TABLE pools AS SELECT 'all' AS scope, range(1, $1 + 1) AS items", [size]
        )
        con.execute(
            """
            CREATE TEMP TABLE asked AS
            SELECT *, least(a * b, negatives + len(own) + a * b - size) AS slots,
                wide(key, 1) AS k1, wide(key, 2) AS k2, wide(key, 3) AS k3,
                wide(key, 4) AS k4, wide(key, 5) AS k5, wide(key, 6) AS k6
            FROM (
                SELECT user_id, 'test' AS split, 0 AS round, 'all' AS scope, 1 AS item_id,
                    'uniform' AS negative_sampling, CAST($1[user_id] AS INTEGER[]) AS own,
                    $2::BIGINT AS negatives, $3::BIGINT AS size, $4::BIGINT AS a, $5::BIGINT AS b,
                    key('negatives/test', user_id, 0) AS key
                FROM range(1, len($1) + 1) AS users(user_id))
            """,
            [own, wanted, size, a, b],
        )
        con.execute(sql_text("build/14_negatives.sql"))
        expected = [
            row[0] for row in con.sql("SELECT item_ids FROM drawn ORDER BY user_id").fetchall()
        ]
        asked = con.sql("FROM asked ORDER BY user_id").to_arrow_table()
        assert draws.draw_uniform(asked, wanted).to_pylist() == expected
