"""Keyed draws: the SQL equals plain integers, permutes, and is even."""

import hashlib
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podprep.engine import sql_text
from tests import oracle


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("CREATE TABLE options AS SELECT 7 AS seed")
        con.execute(sql_text("build/00_draws.sql"))
        yield con


WORDS = ", ".join(f"wide({{key}}, {i})" for i in range(1, 7))
PERMUTED = f"SELECT permuted({WORDS.format(key='$1')}, $2, $3, $4)"


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 60))
def test_a_permutation_is_one_and_equals_plain_integers(
    con: duckdb.DuckDBPyConnection, number: int, a: int, b: int
) -> None:
    key = oracle.key(7, number)
    [[got]] = con.execute(PERMUTED, [key, a * b, a, b]).fetchall()
    assert sorted(got) == list(range(a * b))
    assert got == oracle.permuted(key, a * b, a, b)


def test_keys_and_draws_equal_plain_integers(con: duckdb.DuckDBPyConnection) -> None:
    rows = con.execute(
        "SELECT key('purpose', n, 'x'), draw(key('purpose', n, 'x'), 2, 1 + n) FROM range(500) t(n)"
    ).fetchall()
    for n, (key, drawn) in enumerate(rows):
        assert key == hashlib.md5(f"7/purpose/{n}/x".encode()).hexdigest()
        assert drawn == oracle.draw(key, 2, 1 + n)
        assert 0 <= drawn <= n


def chi_square(counts: list[int]) -> float:
    mean = sum(counts) / len(counts)
    return sum((c - mean) ** 2 for c in counts) / mean


def test_the_first_values_of_many_permutations_are_even(con: duckdb.DuckDBPyConnection) -> None:
    """Every product, every pair in neighbouring slots, and users beside each other: as chance.

    Chi-square has mean n - 1 and standard deviation sqrt(2 (n - 1)); five of them are allowed.
    """
    a, b, users = 12, 12, 100_000
    rows = con.execute(
        f"""SELECT permuted({WORDS.format(key="k")}, 4, {a}, {b})
            FROM (SELECT u, key('negatives/train', u, 0) AS k FROM range({users}) t(u))
            ORDER BY u"""
    ).fetchall()
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
