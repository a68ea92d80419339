"""Questions in SQL: the ready ones of sql/queries/, and which statements are allowed."""

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from podprep.contract.errors import PodError
from podprep.engine import sql_folder, sql_text

BATCH_ROWS = 10_000  # of an answer, held in memory at a time
_RUN_VIEWS = ("predictions", "metrics", "losses")
_VARIABLE = re.compile(r"coalesce\(getvariable\('(\w+)'\), ([^)]+)\)")
_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(ANALYZE\b|\([^()]*\))?", re.IGNORECASE)
_MAY_NOT_TOUCH = re.compile(r'(?:Cannot access \w+|File) "?([^" ]+)')


@dataclass(frozen=True, slots=True)
class Question:
    """A ready question: a file of sql/queries/ that begins with the question as a comment."""

    name: str
    sql: str

    @property
    def title(self) -> str:
        """The question in words."""
        return self.sql.partition("\n")[0].removeprefix("--").strip()

    @property
    def variables(self) -> dict[str, str]:
        """The variables that `--param` sets, with their defaults."""
        return dict(_VARIABLE.findall(self.sql))

    @property
    def needs_run(self) -> bool:
        """Whether it is about a run."""
        return bool(re.search(rf"(FROM|JOIN) ({'|'.join(_RUN_VIEWS)})\b", self.sql))


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows that a query gives, to be read once."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def ready_questions() -> dict[str, Question]:
    """Return the questions of sql/queries/ by name."""
    return {
        file.stem: Question(file.stem, sql_text(f"queries/{file.name}"))
        for file in sorted((sql_folder() / "queries").glob("*.sql"))
    }


def ready_question(name: str, run: Path | str | None = None) -> Question:
    """Return one ready question. Errors: `PodError` for no such name, or one that needs a run."""
    questions = ready_questions()
    if name not in questions:
        raise PodError(f"there is no question {name}: choose from {', '.join(questions)}")
    if questions[name].needs_run and run is None:
        raise PodError(f"question {name} is about a run: name one with --run")
    return questions[name]


def chosen_sql(
    sql: str | None, file: Path | None, name: str | None, run: Path | None
) -> str | None:
    """Return the SQL that is given in one of three ways, or None if in none.

    Errors: `PodError` for more than one way, a file that cannot be read, or as `ready_question`.
    """
    given = [way for way in (sql, file, name) if way is not None]
    if len(given) > 1:
        raise PodError("give one of: the SQL, --file, --name")
    if file is not None:
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise PodError(f"cannot read --file {file}: {reason}") from None
    return sql if name is None else ready_question(name, run).sql


def parse_params(texts: list[str]) -> dict[str, Any]:
    """Return variables from texts such as `user=12`; digits are a number. Errors: `PodError`."""
    variables: dict[str, Any] = {}
    for text in texts:
        if not re.fullmatch(r"[A-Za-z_]\w*=.*", text, re.DOTALL):
            raise PodError(f"--param {text}: give a name and a value, such as user=12")
        name, _, value = text.partition("=")
        variables[name] = int(value) if re.fullmatch(r"-?\d{1,18}", value) else value
    return variables


def set_variables(
    con: duckdb.DuckDBPyConnection, sql: str | None, variables: Mapping[str, Any]
) -> None:
    """Set the variables of a question, or of those to come where `sql` is None.

    Errors: `PodError` for a variable that the question does not have.
    """
    known = sorted(set(re.findall(r"getvariable\('(\w+)'\)", sql or "")))
    for name, value in variables.items():
        if sql is not None and name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise PodError(f"the question has no variable {name} (--param {name}=...): {has}")
        con.execute(f"SET VARIABLE {name} = $1", [value])


def answer(con: duckdb.DuckDBPyConnection, sql: str) -> Answer:
    """Return the rows of one SELECT, or the plan of one EXPLAIN; DuckDB works as they are read.

    Errors: `PodError` for other statements, for more than one, and for what DuckDB refuses, also
    while the rows are read.
    """
    try:
        _check(con, sql)
        reader = _interruptibly(con, lambda: con.sql(sql).to_arrow_reader(BATCH_ROWS))
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise refusal(con, error) from None
    names: list[str] = []
    for name in reader.schema.names:  # JSON and Parquet need distinct names
        earlier = sum(taken == name or taken.startswith(f"{name}:") for taken in names)
        names.append(f"{name}:{earlier}" if earlier else name)

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            while (batch := _interruptibly(con, lambda: next(reader, None))) is not None:
                yield batch.rename_columns(names)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise refusal(con, error) from None

    return Answer(pa.schema(map(pa.Field.with_name, reader.schema, names)), batches())


def _interruptibly(con: duckdb.DuckDBPyConnection, work: Callable[[], Any]) -> Any:
    """Return `work()`; Ctrl-C stops it at once, which DuckDB alone would not notice."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            con.interrupt()
            raise


def _check(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    try:
        kinds = [statement.type for statement in con.extract_statements(sql)]
    except ValueError:  # a kind that this DuckDB has and its Python does not know
        kinds = [duckdb.StatementType.INVALID]
    if len(kinds) != 1:
        raise PodError(
            f"one statement at a time, not {len(kinds)}"
            if kinds
            else "there is no SQL in it: try FROM users"
        )
    if kinds == [duckdb.StatementType.EXPLAIN]:
        _check(con, _EXPLAIN.sub("", sql, count=1) if _EXPLAIN.match(sql) else "BEGIN")
    elif kinds == [duckdb.StatementType.MULTI]:
        raise PodError("a PIVOT must name its values: PIVOT ... ON column IN ('a', 'b') ...")
    elif kinds != [duckdb.StatementType.SELECT]:
        raise PodError(
            f"a query is a SELECT or EXPLAIN: {kinds[0].name.replace('_', ' ')} is not"
            " allowed; --out keeps an answer"
        )


def refusal(con: duckdb.DuckDBPyConnection, error: Exception) -> PodError:
    """Return an error of DuckDB as one line, with what helps.

    Told apart by its text: an error while rows are read comes through Arrow and has lost its type.
    """
    first, _, rest = str(error).partition("\n")
    if first.startswith("Out of Memory Error"):
        return PodError("the query does not fit in --memory: give it more")
    if first.startswith("Permission Error"):
        touched = _MAY_NOT_TOUCH.search(first)
        what = f": {touched[1]} is neither" if touched else ""
        return PodError(f"a query reads the views of the dataset and of --run{what}")
    if missing := re.search(r"Table with name (\S+) does not exist", first):
        if missing[1].lower() in _RUN_VIEWS:
            return PodError(f"{missing[1]} is about a run: name one with --run")
        names = ", ".join(name for (name,) in con.execute("SHOW TABLES").fetchall())
        return PodError(f"there is no view {missing[1]}: choose from {names}")
    candidates = re.search(r"^Candidate bindings:.*", rest, re.MULTILINE)
    return PodError(f"{first} {candidates[0]}" if candidates else first)
