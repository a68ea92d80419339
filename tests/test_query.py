"""Questions: the views, the ready ones by plain Python, and that nothing else can be reached."""

import csv
import io
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from podprep import cli
from podprep.ask.query import answer, ready_questions
from podprep.ask.repl import _statements
from podprep.ask.warehouse import closed_warehouse, open_warehouse, shell_sql
from podprep.contract.shards import Shards
from podprep.engine import Machine
from podprep.recipe.options import Protocol, Task
from tests.conftest import Build, Row, arithmetic_rows

Ask = Callable[..., list[Row]]
MACHINE = Machine(threads=2, memory=1 << 30)
RUN_QUESTIONS = {name for name, question in ready_questions().items() if question.needs_run}
SENTENCE = "the handle is sturdy"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "shards"


@pytest.fixture
def shards(build_rows: Build, kept: Path, tmp_path: Path) -> Path:
    """A dataset of its own for each test, built once."""
    if not kept.exists():
        tasks = (Task.SEQUENTIAL, Task.TOPN)
        build_rows(arithmetic_rows(), tasks=tasks, negatives=6, rounds=2).rename(kept)
    return Path(shutil.copytree(kept, tmp_path / "shards"))


@pytest.fixture
def podprep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command line in this process: exit code, stdout, stderr."""

    def run(*arguments: object, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["podprep", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def ask(podprep: Any) -> Ask:
    """Run `podprep query ... --format json` and return the rows."""

    def run(*arguments: object) -> list[Row]:
        code, out, error = podprep("query", *arguments, "--format", "json")
        assert (code, error) == (0, "")
        rows: list[Row] = json.loads(out)
        return rows

    return run


def interactions(shards: Path) -> list[Row]:
    rows: list[Row] = pq.read_table(shards / "catalog" / "interactions.parquet").to_pylist()
    return rows


@pytest.fixture
def run(shards: Path, tmp_path: Path) -> Path:
    """A run: exact finds the test item at rank 1 + user % 4, beam never for users above 5."""
    folder = tmp_path / "run"
    (folder / "predictions").mkdir(parents=True)
    rows = []
    for row in interactions(shards):
        if row["split"] != "test":
            continue
        user, right = row["user_id"], row["item_id"]
        others = [item for item in range(1, 16) if item != right][:4]
        place = user % 4
        exact = [*others[:place], right, *others[place:]][:4]
        beam = exact if user <= 5 else [None]
        for method, items in (("exact", exact), ("beam", beam), ("rule", others)):
            rows += [
                {
                    "task": "sequential",
                    "split": "test",
                    "method": method,
                    "user_id": user,
                    "rank": rank,
                    "item_id": item,
                    "score": -float(rank),
                    "text": None,
                }
                for rank, item in enumerate(items, 1)
            ]
    explained = {**rows[0], "task": "explanation", "method": "beam", "text": SENTENCE}
    schema = pa.schema(
        [
            *[(name, pa.string()) for name in ("task", "split", "method")],
            *[(name, pa.int32()) for name in ("user_id", "rank", "item_id")],
            ("score", pa.float64()),
            ("text", pa.string()),
        ]
    )
    for part, held in enumerate((rows, [explained])):
        path = folder / "predictions" / f"part-{part}.parquet"
        pq.write_table(pa.Table.from_pylist(held, schema=schema), path)
    lines = [
        {"event": "train", "step": 10, "task": "topn", "name": "loss", "value": 2.5},
        {"event": "valid", "step": 10, "task": "topn", "name": "hit@10", "value": 0.25},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


# The views


def contents(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[Any, Any]]:
    names = [name for (name,) in con.execute("SHOW TABLES").fetchall()]
    return {
        name: (
            con.execute(f"DESCRIBE {name}").fetchall(),
            sorted(con.execute(f"FROM {name}").fetchall(), key=repr),
        )
        for name in names
    }


def test_the_views_are_the_same_closed_open_and_in_plain_duckdb(shards: Path, run: Path) -> None:
    with closed_warehouse(Shards.open(shards), MACHINE, run) as con:
        closed = contents(con)
    with duckdb.connect() as con:
        text = shell_sql(Shards.open(shards), run)
        con.execute(text)
        con.execute(text)  # again does no harm
        assert contents(con) == closed
    with open_warehouse(Shards.open(shards), MACHINE) as con:
        ours = contents(con)
    assert set(closed) - set(ours) == {"predictions", "metrics", "losses"}
    assert ours == {name: closed[name] for name in ours}


def test_samples_have_every_column_whatever_the_tasks(build_rows: Build, ask: Ask) -> None:
    shards = build_rows(arithmetic_rows(), tasks=(Task.TOPN,), negatives=6, rounds=1)
    [row] = ask(shards, "SELECT history, candidates FROM samples WHERE split = 'test' LIMIT 1")
    assert row["history"] is None
    assert len(row["candidates"]) == 7


def test_a_folder_with_wildcards_and_quotes_in_its_name(
    shards: Path, tmp_path: Path, ask: Ask
) -> None:
    moved = tmp_path / "it's [x] * ?"
    shards.rename(moved)
    assert len(ask(moved, "FROM users")) == 30
    with duckdb.connect() as con:
        con.execute(shell_sql(Shards.open(moved)))
        assert len(con.execute("FROM samples").fetchall()) == 30 * 2 * 4
    with open_warehouse(Shards.open(moved), MACHINE) as con:
        assert len(con.execute("FROM samples").fetchall()) == 30 * 2 * 4


def test_a_run_that_has_written_nothing_is_empty(shards: Path, tmp_path: Path, ask: Ask) -> None:
    empty = tmp_path / "begun"
    empty.mkdir()
    for name in ("predictions", "metrics", "losses"):
        assert ask(shards, f"FROM {name}", "--run", empty) == []
    for name in RUN_QUESTIONS:
        assert ask(shards, "--name", name, "--run", empty) == []


def test_predictions_join_prompts_and_history(shards: Path, run: Path, ask: Ask) -> None:
    sql = """
        SELECT p.user_id, s.prompt, h.history, h.test
        FROM predictions AS p
            JOIN samples AS s USING (task, split, user_id)
            JOIN splits AS h USING (user_id)
        WHERE p.method = 'exact' AND p.rank = 1 ORDER BY ALL"""
    rows = ask(shards, sql, "--run", run)
    assert len(rows) == 30
    for row in rows:
        assert row["prompt"].split()[-1] == f"item_{row['history'][-2]}"
        assert row["history"][-1] == row["test"]
    assert ask(shards, "FROM losses", "--run", run)[0]["value"] == 2.5
    assert ask(shards, "FROM metrics", "--run", run)[0]["name"] == "hit@10"


# Ready questions


def test_every_question_is_listed_and_answered(
    shards: Path, run: Path, ask: Ask, podprep: Any
) -> None:
    code, out, _ = podprep("query", "--list")
    assert code == 0
    listed = json.loads(podprep("query", "--list", "--format", "json")[1])
    assert len(listed) >= 12
    for question in listed:
        assert question["name"] in out
        assert question["asks"].endswith("?")
        rows = ask(shards, "--name", question["name"], "--run", run)
        # every item was bought in training, and exact finds every test item
        assert bool(rows) == (question["name"] not in {"cold-items", "worst-users"})
        if question["needs_run"]:
            code, _, error = podprep("query", shards, "--name", question["name"])
            assert (code, error.count("\n")) == (1, 1)
            assert "--run" in error


def test_questions_about_the_dataset_against_plain_python(shards: Path, ask: Ask) -> None:
    rows = interactions(shards)
    sizes = {row["split"]: row for row in ask(shards, "--name", "split-sizes")}
    for split, row in sizes.items():
        of_it = [r for r in rows if r["split"] == split]
        assert row["purchases"] == len(of_it)
        assert row["items"] == len({r["item_id"] for r in of_it})

    assert ask(shards, "--name", "history-lengths") == [
        {"length": 6, "users": 30, "share": 1, "share_up_to": 1}
    ]
    tied = {r["purchases_at_once"]: r for r in ask(shards, "--name", "tied-purchases")}
    assert tied[2]["purchases"] == sum(r["tied"] for r in rows)

    by_user: dict[int, list[Row]] = {}
    for r in rows:
        by_user.setdefault(r["user_id"], []).append(r)
    arbitrary = {
        user
        for user, own in by_user.items()
        if any(a["timestamp"] == b["timestamp"] for a, b in pairwise(own[-2:]))
    }
    assert {r["user_id"] for r in ask(shards, "--name", "arbitrary-tests")} == arbitrary

    curve = ask(shards, "--name", "popularity-curve")
    training = Counter(r["item_id"] for r in rows if r["split"] == "train")
    assert sum(r["purchases"] for r in curve) == training.total()
    assert curve[0]["most"] == max(training.values())
    assert curve[-1]["share_up_to"] == pytest.approx(1)

    one = ask(shards, "--name", "one-user")
    assert {r["prompt"].split().count("user_1") for r in one} == {1}
    assert len(one) == 2 * 4
    other = ask(shards, "--name", "one-user", "--param", "user=12")
    assert all("user_12" in r["prompt"] for r in other)


def test_cold_items_are_those_only_held_out(build_rows: Build, ask: Ask) -> None:
    rows = arithmetic_rows()
    late = [{**rows[0], "reviewerID": f"U{u:03}", "asin": "NEW"} for u in range(5)]
    for row in late:
        row["unixReviewTime"] = 86_400 * 900
    shards = build_rows(rows + late, negatives=6, rounds=1)
    [cold] = ask(shards, "--name", "cold-items")
    assert (cold["asin"], cold["valid"], cold["test"]) == ("NEW", 0, 5)


def test_exposure_of_negatives_against_plain_python(build_rows: Build, ask: Ask) -> None:
    clean = build_rows(arithmetic_rows(), negatives=6, rounds=5)
    samples = ask(clean, "SELECT * FROM samples WHERE task = 'topn' AND split = 'train'")
    times = Counter(c for s in samples for c in s["candidates"] if c != s["item_id"])
    exposed = ask(clean, "--name", "negative-exposure")
    assert {r["item_id"]: r["times"] for r in exposed} == times
    assert sum(r["expected"] for r in exposed) == pytest.approx(times.total())
    assert all(abs(r["deviations"]) < 4 for r in exposed)

    pod = build_rows(arithmetic_rows(), negatives=6, rounds=5, protocol=Protocol.POD)
    for shards, low, high in ((clean, 0.8, 1.2), (pod, 0, 0)):
        for row in ask(shards, "--name", "heldout-exposure"):
            assert low <= row["ratio"] <= high


def test_questions_about_a_run(shards: Path, run: Path, ask: Ask) -> None:
    by_length = ask(shards, "--name", "hits-by-history-length", "--run", run)
    hits = {r["method"]: r for r in by_length}
    assert {r["training_purchases"] for r in by_length} == {"4 to 6"}
    assert (hits["exact"]["users"], hits["exact"]["hit@10"]) == (30, 1)
    assert hits["beam"]["hit@10"] == pytest.approx(5 / 30)  # text that names no item is a miss
    assert hits["rule"]["hit@10"] == 0
    ranks = Counter(1 + user % 4 for user in range(1, 31))
    gains = {1: 1.0, 2: 0.6309297535714575, 3: 0.5, 4: 0.43067655807339306}
    expected = sum(n * gains[rank] for rank, n in ranks.items()) / 30
    assert hits["exact"]["ndcg@10"] == pytest.approx(expected)

    by_popularity = ask(shards, "--name", "hits-by-popularity", "--run", run)
    assert sum(r["users"] for r in by_popularity if r["method"] == "exact") == 30
    assert ask(shards, "--name", "worst-users", "--run", run) == []  # exact finds them all
    differ = ask(shards, "--name", "beam-and-exact", "--run", run)
    assert sorted(r["user_id"] for r in differ) == list(range(6, 31))
    assert all(r["differs_from_rank"] == 1 and r["target_beam"] is None for r in differ)


# Formats


def test_formats_say_the_same(shards: Path, tmp_path: Path, podprep: Any) -> None:
    sql = "SELECT user_id, history, NULL AS nothing, 1.5 AS x FROM splits ORDER BY user_id"
    rows = json.loads(podprep("query", shards, sql, "--format", "json")[1])
    table = csv.DictReader(io.StringIO(podprep("query", shards, sql, "--format", "csv")[1]))
    assert [json.loads(r["history"]) for r in table] == [r["history"] for r in rows]
    for suffix in ("parquet", "csv", "json"):  # by the name of the file
        out = tmp_path / f"answer.{suffix}"
        out.write_text("from before")
        assert podprep("query", shards, sql, "--out", out) == (0, "", "")
    assert json.loads((tmp_path / "answer.json").read_text()) == rows
    stored = pq.read_table(tmp_path / "answer.parquet").to_pylist()
    assert [r["history"] for r in stored] == [r["history"] for r in rows]
    assert not list(tmp_path.glob(".*"))


def test_a_table_is_short_and_safe_to_look_at(shards: Path, podprep: Any) -> None:
    sql = "SELECT range AS n, chr(27) || '[2J' AS odd, repeat('x', 999) AS long FROM range(1000)"
    _, out, _ = podprep("query", shards, sql, "--rows", 3)
    assert "3 of 1,000 rows" in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 120
    assert "1 row\n" in podprep("query", shards, "SELECT 1")[1]


def test_names_that_come_twice_stay_apart(shards: Path, ask: Ask) -> None:
    assert ask(shards, "SELECT 1 AS a, 2 AS a, 'nan'::DOUBLE AS b") == [
        {"a": 1, "a:1": 2, "b": None}
    ]


def test_an_answer_that_fails_midway_leaves_the_file_as_it_was(
    shards: Path, tmp_path: Path, podprep: Any
) -> None:
    out = tmp_path / "answer.csv"
    out.write_text("from before")
    sql = "SELECT CASE WHEN range = 500000 THEN 'x' ELSE '1' END::INT FROM range(1000000)"
    code, _, error = podprep("query", shards, sql, "--out", out)
    assert (code, error.count("\n")) == (1, 1)
    assert "Could not convert" in error
    assert out.read_text() == "from before"
    assert not list(tmp_path.glob(".*"))


def test_statements_from_a_pipe(shards: Path, podprep: Any, tmp_path: Path) -> None:
    text = "SELECT ';' AS a; -- one; more\nSELECT\n 2 AS b;\nSELECT 3 AS c"
    code, out, _ = podprep("query", shards, "--format", "csv", stdin=text)
    assert (code, out) == (0, 'a\n";"\nb\n2\nc\n3\n')
    code, out, error = podprep("query", shards, stdin=".tables\n.help\n.quit\nnonsense;\n")
    assert (code, error) == (0, "")
    assert "users(user_id, reviewer_id)" in out
    code, _, error = podprep("query", shards, stdin="FROM nowhere;\nFROM users;\n")
    assert (code, error.count("\n")) == (1, 1)
    code, _, error = podprep("query", shards, "--out", tmp_path / "x.csv", stdin="SELECT 1")
    assert (code, error.count("\n")) == (1, 1)


def test_statements_end_with_a_semicolon_outside_quotes_and_comments() -> None:
    lines = iter(["", "SELECT ';", "';", "-- ; no", "/* ; */ SELECT 2;", ".tables", "SELECT 3"])
    assert [s.strip() for s in _statements(lambda _: next(lines, None))] == [
        "SELECT ';\n';",
        "-- ; no\n/* ; */ SELECT 2;",
        ".tables",
        "SELECT 3",
    ]


# What is refused


def hostile(shards: Path, secret: Path) -> list[str]:
    """SQL that tries to read what is no view, to write, to load, to set, to call home."""
    inside, odd = shards / "manifest.json", shards / "samples" / ".." / ".."
    new = shards / "new"
    reads = [
        f"FROM read_text('{secret}')",
        f"FROM read_blob('{secret}')",
        f"FROM read_csv('{secret}')",
        f"FROM read_json('{secret}')",
        f"FROM read_parquet('{secret}')",
        f"FROM sniff_csv('{secret}')",
        f"FROM parquet_metadata('{secret}')",
        f"FROM parquet_schema('{secret}')",
        f"FROM '{secret}'",
        f"FROM '{secret}.csv'",
        f"FROM read_text('{secret.parent}/*')",
        f"FROM glob('{secret.parent}/*')",
        "FROM glob('/etc/*')",
        "FROM glob('*')",
        "FROM read_csv('/etc/passwd')",
        "FROM read_text('/etc/passwd')",
        "FROM read_text('file:///etc/passwd')",
        "FROM read_text('/proc/self/environ')",
        "FROM read_text('~/.ssh/id_rsa')",
        "FROM read_text('/dev/stdin')",
        f"FROM read_text('{inside}')",
        f"FROM read_text('{odd}/{secret.name}')",
        f"FROM read_text('{shards}/link')",
        f"FROM read_text('{shards}/etc/passwd')",
        f"FROM glob('{shards}/*')",
        f"FROM read_duckdb('{secret}')",
        "FROM duckdb_extensions()",
        "FROM duckdb_secrets()",
        f"SELECT (SELECT content FROM read_text('{secret}'))",
        f"WITH x AS MATERIALIZED (FROM read_text('{secret}')) FROM x",
        f"FROM query('FROM read_text(''{secret}'')')",
        f"EXPLAIN ANALYZE FROM read_text('{secret}')",
        f"SUMMARIZE FROM '{secret}.csv'",
        f"COPY users FROM '{secret}'",
        "FROM con",
        "FROM podprep",
    ]
    writes = [
        f"COPY users TO '{new}.csv'",
        f"COPY (FROM users) TO '{new}.parquet' (FORMAT parquet)",
        f"COPY users TO '{inside}'",
        "COPY users TO '/dev/stdout'",
        f"EXPLAIN ANALYZE COPY users TO '{new}.csv'",
        f"EXPLAIN (ANALYZE) COPY users TO '{new}.csv'",
        f"EXPLAIN ANALYZE /* */ COPY users TO '{new}.csv'",
        f"WITH x AS (COPY (SELECT 1) TO '{new}.csv') FROM x",
        f"WITH x AS (COPY (SELECT 1) TO '{shards}/catalog/users.parquet') FROM x",
        "WITH x AS (COPY (SELECT 1) TO 'here.csv') FROM x",
        "WITH x AS (COPY (SELECT 1) TO '.tmp/here.csv') FROM x",
        "WITH x AS (COPY (SELECT 1) TO (current_setting('temp_directory') || 'x')) FROM x",
        f"EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{new}.csv') FROM x",
        f"FROM query('WITH x AS (COPY (SELECT 1) TO ''{new}'') FROM x')",
        "FROM json_execute_serialized_sql(json_serialize_sql("
        f"'WITH x AS (COPY (SELECT 1) TO ''{new}'') FROM x'))",
        f"EXPORT DATABASE '{new}'",
        f"IMPORT DATABASE '{new}'",
        f"ATTACH '{new}.db' AS other",
        f"ATTACH '{secret}' AS other (READ_ONLY)",
        "ATTACH ':memory:' AS other",
        "ATTACH 'https://example.com/a.db' AS other",
        "CREATE TABLE t AS SELECT 1",
        "CREATE TEMP TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "CREATE OR REPLACE VIEW splits AS SELECT 1",
        "CREATE MACRO f() AS 1",
        "CREATE SCHEMA s",
        "CREATE TYPE t AS INTEGER",
        "CREATE SEQUENCE s",
        "CREATE SECRET s (TYPE http, BEARER_TOKEN 'x')",
        "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')",
        "DROP VIEW splits",
        "ALTER VIEW splits RENAME TO s",
        "COMMENT ON VIEW splits IS 'x'",
        "INSERT INTO users VALUES (0, 'x')",
        "UPDATE users SET user_id = 0",
        "DELETE FROM users",
        "TRUNCATE users",
        "WITH x AS (INSERT INTO users VALUES (0, 'x') RETURNING *) FROM x",
        "WITH x AS (DELETE FROM stages RETURNING *) FROM x",
        "MERGE INTO users USING items ON false WHEN MATCHED THEN DELETE",
        f"FROM enable_logging(storage = 'file', storage_path = '{new}')",
        f"FROM enable_profiling(save_location = '{new}')",
        f"CALL enable_profiling(save_location = '{new}')",
        "CHECKPOINT",
        "VACUUM",
    ]
    others = [
        "INSTALL httpfs",
        f"INSTALL '{secret}'",
        "FORCE INSTALL httpfs FROM community",
        "LOAD httpfs",
        f"LOAD '{secret}'",
        "EXPLAIN ANALYZE LOAD httpfs",
        "UPDATE EXTENSIONS",
        "SELECT ST_Point(1, 2)",
        "FROM 'https://example.com/x.parquet'",
        "FROM read_csv('http://127.0.0.1:1/x.csv')",
        "FROM read_parquet('s3://bucket/x.parquet')",
        "FROM read_text('hf://datasets/x/y')",
        "SET enable_external_access = true",
        "SET GLOBAL enable_external_access = true",
        "RESET enable_external_access",
        "SET lock_configuration = false",
        "SET allowed_directories = ['/']",
        "SET temp_directory = '/'",
        "SET VARIABLE x = 1",
        "EXPLAIN ANALYZE SET threads = 1",
        "PRAGMA enable_profiling",
        "PRAGMA database_list",
        "PRAGMA enable_external_access = true",
        "CALL pragma_version()",
        "USE temp",
        "DETACH memory",
        "BEGIN",
        "COMMIT",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DEALLOCATE p",
        "ANALYZE",
        "SELECT getenv('HOME')",
        "FROM arrow_scan(1, 2, 3)",
        "FROM pandas_scan(1)",
        "SELECT 1; SELECT 2",
        f"SELECT 1; COPY users TO '{new}.csv'",
        f"/* SELECT */ COPY users TO '{new}.csv' -- SELECT",
        "PIVOT interactions ON split USING count(*)",
        "",
        ";;",
        "-- SELECT 1",
        "SELECT",
        "\0",
        "SELECT $1",
        "SELECT ?",
    ]
    return reads + writes + others


def machine_tree(folder: Path) -> dict[str, Any]:
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else p.is_dir()
        for p in folder.rglob("*")
    }


def test_hostile_sql_fails_in_one_line_and_changes_nothing(
    shards: Path,
    run: Path,
    kept: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    podprep: Any,
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a,b\n1,hunter2\n")
    shutil.copy(secret, f"{secret}.csv")
    (shards / "link").symlink_to(secret)
    (shards / "etc").symlink_to("/etc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept.parent / "cache"))  # of our own hashes
    for name in ("HOME", "TMPDIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = machine_tree(tmp_path)
    with closed_warehouse(Shards.open(shards), MACHINE, run) as con:
        # one after the other on one connection, so that none prepares the way for the next
        with monkeypatch.context() as patched:
            patched.setattr("podprep.ask.warehouse.closed_warehouse", lambda *_: nullcontext(con))
            for sql in hostile(shards, secret):
                refused_in_one_line(podprep, shards, run, sql)
                assert machine_tree(tmp_path) == before, sql
        counted = list(answer(con, "SELECT count(*) AS n FROM users").batches)
        assert counted[0].to_pylist() == [{"n": 30}]
    for sql in hostile(shards, secret)[::12]:  # and a few each on its own
        refused_in_one_line(podprep, shards, run, sql)
    assert machine_tree(tmp_path) == before


def refused_in_one_line(podprep: Any, shards: Path, run: Path, sql: str) -> None:
    file = shards.parent / "query.sql"  # what no argument can be: a NUL, a dash in front
    file.write_text(sql)
    code, out, error = podprep("query", shards, "--file", file, "--run", run)
    file.unlink()
    assert (code, out) == (1, ""), (sql, out)
    assert error.startswith("podprep: "), sql
    assert error.count("\n") == 1, (sql, error)
    assert "hunter2" not in error


HARMLESS = [
    "FROM users LIMIT 1",
    "TABLE users",
    "VALUES (1)",
    "DESCRIBE users",
    "SHOW TABLES",
    "SUMMARIZE items",
    "EXPLAIN FROM users",
    "explain\n analyze FROM users",
    "EXPLAIN (FORMAT json) FROM users",
    "PIVOT interactions ON split IN ('train', 'test') USING count(*) GROUP BY user_id",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) FROM n",
    "SELECT ';' -- ;",
    "FROM samples WHERE task = 'topn' AND round = 0 AND len(candidates) > 1;",
]


@pytest.mark.parametrize("sql", HARMLESS)
def test_what_only_asks_is_answered(shards: Path, sql: str) -> None:
    with closed_warehouse(Shards.open(shards), MACHINE) as con:
        assert sum(batch.num_rows for batch in answer(con, sql).batches)


def test_a_question_too_large_spills_and_leaves_nothing(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    small = Machine(threads=2, memory=512 << 20)
    with closed_warehouse(Shards.open(shards), small) as con:
        sql = "SELECT range, hash(range) h, md5(range::VARCHAR) FROM range(5000000) ORDER BY h"
        spilled = False
        for _ in answer(con, f"{sql} OFFSET 4999999").batches:
            spilled |= any((tmp_path / "temp").rglob("*"))
        assert spilled
    assert not list((tmp_path / "temp").iterdir())


ERRORS: dict[str, tuple[list[str], str]] = {
    "no shards": (["query"], "name a dataset"),
    "no such shards": (["query", "nowhere", "SELECT 1"], "not a dataset"),
    "no such run": (["query", "SHARDS", "SELECT 1", "--run", "nowhere"], "no run nowhere"),
    "no view": (["query", "SHARDS", "FROM usr"], "choose from"),
    "no run given": (["query", "SHARDS", "FROM predictions"], "--run"),
    "no column": (["query", "SHARDS", "SELECT usr_id FROM users"], '"user_id"'),
    "two questions": (["query", "SHARDS", "SELECT 1", "--name", "split-sizes"], "one of"),
    "no such name": (["query", "SHARDS", "--name", "sizes"], "split-sizes"),
    "no such file": (["query", "SHARDS", "--file", "no.sql"], "no.sql"),
    "no variable": (["query", "SHARDS", "--name", "one-user", "--param", "usr=1"], "it has user"),
    "no value": (["query", "SHARDS", "--name", "one-user", "--param", "user"], "user=12"),
    "parquet to a terminal": (["query", "SHARDS", "SELECT 1", "--format", "parquet"], "--out"),
    "into the shards": (["query", "SHARDS", "SELECT 1", "--out", "SHARDS/x.csv"], "only read"),
    "over the shards": (["query", "SHARDS", "SELECT 1", "--out", "SHARDS"], "only read"),
    "into a folder": (["query", "SHARDS", "SELECT 1", "--out", "."], "not a file"),
    "little memory": (["query", "SHARDS", "SELECT 1", "--memory", "9MB"], "at least 512MB"),
    "no rows": (["query", "SHARDS", "SELECT 1", "--rows", "-1"], "--rows -1"),
    "views of nothing": (["shell-setup", "nowhere"], "not a dataset"),
    "views into the shards": (["shell-setup", "SHARDS", "--to", "SHARDS/v.sql"], "only read"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_a_user_did_is_one_line(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, podprep: Any, name: str
) -> None:
    arguments, words = ERRORS[name]
    monkeypatch.chdir(tmp_path)
    before = machine_tree(tmp_path)
    code, out, error = podprep(*(a.replace("SHARDS", str(shards)) for a in arguments))
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert error.startswith("podprep: ")
    assert words in error
    assert machine_tree(tmp_path) == before


def test_a_damaged_dataset_is_one_line(shards: Path, podprep: Any) -> None:
    users = shards / "catalog" / "users.parquet"
    users.write_bytes(b"PAR1 no more")
    for end in (1, 2):
        code, out, error = podprep("query", shards, "FROM users")
        assert (code, out, error.count("\n")) == (1, "", 1)
        assert "users.parquet" in error
        users.unlink(missing_ok=end == 2)


def test_shell_setup_writes_what_a_notebook_runs(
    shards: Path, run: Path, tmp_path: Path, podprep: Any
) -> None:
    out = tmp_path / "views.sql"
    assert podprep("shell-setup", shards, "--run", run, "--to", out) == (0, "", "")
    assert podprep("shell-setup", shards, "--run", run)[1] == out.read_text()
    with duckdb.connect() as con:
        con.execute(out.read_text())
        for question in ready_questions().values():
            con.execute(question.sql).fetchall()
