"""What makes the build fast changes nothing of what it gives."""

from collections.abc import Callable, Iterator

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podprep.engine import run_parallel, sql_text
from podprep.recipe.lexicon import load_lexicon
from tests.test_explanations import made_up

# words of every role, with what may stand around a feature; strap is one, backstrap is none
WORDS = (
    "The", "the", "my", "strap", "Strap", "straps", "strap's", "strap\u2019s", "strap,", "(strap)",
    "strap-on", "backstrap", "strap!Great", "lid", "LID", "\u00e9lid", "is", "are", "really",
    "great", "sturdy", "love", "I", "would", "and", "looks", "\t", "\r", ".", "!", "\n",
)  # fmt: skip


Rows = list[tuple[int, str, str]]
Explain = Callable[[list[str]], tuple[Rows, Rows]]


@pytest.fixture(scope="module")
def explain() -> Iterator[Explain]:
    """Return a function that explains texts, passing over what it may, and passing over nothing.

    Hypothesis may keep the function, not the connection.
    """
    held = [duckdb.connect(config={"threads": 1})]
    _review(held[0], [text or "" for text in made_up()])
    held[0].register("words", load_lexicon())
    held[0].execute("CREATE TABLE lexicon AS FROM words")
    held[0].execute(sql_text("build/09_features.sql"))
    held[0].execute("CREATE TEMP TABLE block AS SELECT 1 AS first_line, 1000000 AS last_line")

    def run(texts: list[str]) -> tuple[Rows, Rows]:
        _review(held[0], texts)
        found = []
        passing, select = (s.query for s in held[0].extract_statements(sql_text(SENTENCES)))
        for before in (passing, "SET VARIABLE feature_words = ''"):  # which is in every sentence
            held[0].execute(before)
            found.append(sorted(held[0].execute(select).fetchall()))
        return found[0], found[1]

    yield run
    held.pop().close()


def _review(con: duckdb.DuckDBPyConnection, texts: list[str]) -> None:
    con.register("given", pa.table({"line_number": range(1, len(texts) + 1), "text": texts}))
    con.execute("CREATE OR REPLACE TABLE reviews AS FROM given")
    con.unregister("given")


SENTENCES = "build/10_sentences.sql"
texts = st.lists(st.sampled_from(WORDS), min_size=3, max_size=24).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(texts, min_size=20, max_size=60))
def test_passing_over_sentences_without_a_feature_loses_none(
    explain: Explain, texts: list[str]
) -> None:
    found, every = explain([text or "" for text in [*made_up(40), *texts]])
    assert found == every
    assert all(sentence == sentence.strip(" \t\r") for _, _, sentence in found)
    assert found


def test_parallel_work_keeps_its_order_and_few_results() -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for job in range(50):
            taken.append(job)
            yield job

    with duckdb.connect() as con:
        results = run_parallel(con, 2, lambda _, job: job * job, jobs())
        for n, result in enumerate(results):
            assert result == n * n
            assert len(taken) <= n + 6
    assert len(taken) == 50
