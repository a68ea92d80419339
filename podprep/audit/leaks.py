"""The leak suite: what gives a model the answer without any behaviour, one SQL file per leak."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from podprep.ask.warehouse import views
from podprep.audit.published import open_published
from podprep.contract.errors import PodError
from podprep.contract.manifest import MANIFEST
from podprep.contract.shards import Shards
from podprep.engine import Machine, connect, sql_folder, sql_text
from podprep.ui.console import Styled, Table, numbers, texts

CLEAN, LEAK = "clean", "LEAK"
COLOURS = {CLEAN: "green", LEAK: "bold red"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a check beside what chance gives, and the verdict."""

    figure: str
    unit: str  # rate, percent or ratio: how it is shown
    value: float | None
    chance: float | None
    threshold: float | None
    verdict: str  # clean, LEAK, too few to tell, not applicable
    why: str | None


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, what it looks for in plain words, its figures, offending rows."""

    name: str
    words: str
    figures: list[Figure]
    examples: list[str] = field(default_factory=list)

    @property
    def leaks(self) -> bool:
        """Whether any figure is a leak."""
        return any(f.verdict == LEAK for f in self.figures)


@dataclass(frozen=True, slots=True)
class Audit:
    """What was audited, and every check."""

    path: str
    what: str
    checks: list[Check]

    @property
    def leaks(self) -> int:
        """How many checks found a leak."""
        return sum(c.leaks for c in self.checks)


def audit(path: Path, machine: Machine) -> Audit:
    """Run every check of sql/audit/ on a dataset, or on a folder that others published.

    Errors: `PodError` as `Shards.open` and `open_published`, or where memory does not suffice.
    """
    with tempfile.TemporaryDirectory() as spill:
        con = connect(machine, Path(spill))
        try:
            what = _open(con, path)
            con.execute(sql_text("audit/chance.sql"))
            return Audit(str(path), what, [_check(con, name) for name in sql_files("leak")])
        except duckdb.OutOfMemoryException:
            raise PodError(
                f"the audit does not fit in --memory {machine.memory >> 20}MB: give it more"
            ) from None
        except duckdb.IOException as error:
            raise PodError(f"{path} cannot be read ({str(error).splitlines()[0]})") from None
        finally:
            con.close()


def sql_files(kind: str) -> list[str]:
    """Return the names of the leak or invariant files of sql/audit/, in order."""
    return sorted(file.name for file in (sql_folder() / "audit").glob(f"{kind}_*.sql"))


def title(text: str) -> tuple[str, str]:
    """Return name and plain words from the first line of a file of sql/audit/."""
    name, _, words = text.partition("\n")[0].removeprefix("-- ").partition(": ")
    return name, words


def _open(con: duckdb.DuckDBPyConnection, path: Path) -> str:
    """Make the views, and `facts` about them that the views cannot tell."""
    if (path / MANIFEST).is_file():
        shards = Shards.open(path)
        shards.check_all()
        inputs = shards.manifest["inputs"]
        con.execute(views(path.resolve()))
        what = f"{inputs['dataset']}, {inputs['reading']} protocol"
        facts = (True, True, True, inputs["options"]["negative_sampling"] == "uniform")
    else:
        found = open_published(con, path)
        what = found.layout
        facts = (found.users_numbered, found.items_numbered, found.named, True)
    # whether users and products have their own numbers, product codes are known, and every
    # list of negatives should be as long as the catalogue allows
    con.execute(
        "CREATE TABLE facts (users_numbered BOOL, items_numbered BOOL, named BOOL, full_lists BOOL)"
    )
    con.execute("INSERT INTO facts VALUES (?, ?, ?, ?)", facts)
    return what


def _check(con: duckdb.DuckDBPyConnection, file: str) -> Check:
    text = sql_text(f"audit/{file}")
    query, *more = con.extract_statements(text)
    figures = [_figure(row) for row in _rows(con, query)]
    check = Check(*title(text), figures)
    if check.leaks and more:
        check.examples.extend(row["example"] for row in _rows(con, more[0]))
    return check


def _figure(row: dict[str, Any]) -> Figure:
    """Return a row as a figure; what SQL has as decimals are plain numbers."""
    for key in ("value", "chance", "threshold"):
        row[key] = None if row[key] is None else float(row[key])
    return Figure(**row)


def _rows(con: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> list[dict[str, Any]]:
    return list(con.sql(statement.query).to_arrow_table().to_pylist())


def audit_table(audit: Audit) -> Table:
    """Return the verdicts, one row per figure."""
    figures = numbers("here", "by chance", "leak beyond")
    columns = [*texts("check", "figure"), *figures, *texts("verdict")]
    table = Table(f"Leaks in {audit.path} ({audit.what})", columns)
    for check in audit.checks:
        name = check.name  # on the first row only
        for f in (figure for figure in check.figures if not figure.why):
            shown = (_shown(value, f.unit) for value in (f.value, f.chance, f.threshold))
            verdict = Styled(f.verdict, COLOURS.get(f.verdict, "dim"))
            table.add(name, f.figure, *shown, verdict)
            name = ""
        for why in dict.fromkeys(f.why for f in check.figures if f.why):
            table.add(name, Styled(why, "dim"), "", "", "", Styled("not applicable", "dim"))
            name = ""
        table.rule()
    return table


def audit_words(audit: Audit) -> list[str]:
    """Return in plain words what was found: each leak with an example, or that there is none."""
    lines = []
    for check in audit.checks:
        if check.leaks:
            lines.append(f"LEAK {check.name}: {check.words}")
            lines += [f"     such as: {example}" for example in check.examples[:1]]
    asked = [f for c in audit.checks for f in c.figures if f.verdict in (CLEAN, LEAK)]
    return lines or [f"No leak found: {len(asked)} figures are as chance gives them."]


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "percent":
        return f"{value:.1%}" if value == 0 or value >= 0.0005 else f"{value:.0e}"
    return f"{value:.4f}" if unit == "rate" else f"{value:.2f}"
