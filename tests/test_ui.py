"""What people see: nothing that is not ours is obeyed, no figure is cut, exit codes are as told."""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from podprep.commands.tables import accounting_table, sample_table
from podprep.contract.errors import PodError
from podprep.ui import cli, progress
from podprep.ui.console import Column, Table, numbers, print_json, print_lines, print_tables, texts
from podprep.ui.page import Head, Section, page, table
from podprep.ui.svg import Picture, linear
from podprep.ui.text import visible, visible_json
from podtrain.report.tables import products_table

HOSTILE = [
    "[/x]",
    "[bold]loud[/bold]",
    "[link=https://evil.example]here[/link]",
    "\x1b[31mred\x1b]0;title\x07",
    "c1 \x9b31m",
    "two\nlines\r\tand a tab",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202eright to left",
    "not \udcff UTF-8",
    "{{ 7 * 7 }} ${title} $about %s {0}",
]
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


def shown(*tables: Table, width: int | None = None) -> str:
    file = io.StringIO()
    print_tables(*tables, file=file, width=width)
    return file.getvalue()


# ------------------------------------------------------------------ text that is not ours


@given(st.text())
def test_what_is_visible_is_one_line_without_controls_and_says_the_same(text: str) -> None:
    found = visible(text)
    assert len(found.splitlines()) <= 1
    assert not CONTROL.search(found)
    if text.isprintable():
        assert found == text


def test_scripts_and_emoji_stay_as_they_are() -> None:
    for text in ("日本語　テスト", "कर्म", "می‌خواهم", "👩‍🔬 lab", "a\u00a0b"):
        assert visible(text) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_the_tables_of_both_tools_show_it_and_obey_nothing(text: str) -> None:
    product = {"item_id": 1, "asin": text, "title": text, "score": -1.5, "why": text}
    stage = {"stage": text, "in": 3, "out": {"kept": 1, text: 1}, "dropped": {text: 1}}
    sample = {"template_id": text, "prompt": text, "target": text}
    for width in (None, 80, 40, 20):
        for found in (
            products_table(text, [product]),
            accounting_table({"stages": [stage]}),
            sample_table(text, text, [sample]),
        ):
            out = shown(found, width=width)
            assert not CONTROL.search(re.sub("\x1b\\[[0-9;]*m", "", out) if width else out)
            if width is None:
                assert visible(text) in out
    assert not CONTROL.search(visible_json(json.dumps(text, ensure_ascii=False)))


@pytest.mark.parametrize("text", HOSTILE)
def test_pages_and_pictures_show_it_and_obey_nothing(text: str) -> None:
    picture = Picture(text, linear(text, 10), linear(text, 10))
    picture.bar(0, 5, 5, text, text)
    picture.note((1, 1), text)
    body = table([Head(text, text)], [[text]], [text]) + picture.svg(names=[(1, text)])
    section = Section(text, text, body, [(text, text)], text)
    out = page(text, text, text, [(text, text)], [section], text, details=[(text, text)])
    assert not re.search(r"<script|<img", out)
    assert not CONTROL.search(out)
    assert '=""' not in out.replace('class=""', "")  # no quote was closed
    assert "49" not in re.sub(r"<style>.*?</style>", "", out, flags=re.DOTALL)
    assert out == page(text, text, text, [(text, text)], [section], text, details=[(text, text)])


def test_lines_and_json_are_safe(capsys: pytest.CaptureFixture[str]) -> None:
    print_lines(*HOSTILE)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == len(HOSTILE)
    assert not CONTROL.search(out)
    print_json({"given": HOSTILE, "path": Path("x")})
    out = capsys.readouterr().out
    assert not CONTROL.search(out)
    assert json.loads(out) == {"given": HOSTILE, "path": "x"}


# ------------------------------------------------------------------ tables


def wide(figures: int = 6) -> Table:
    found = Table("A title", [*texts("name"), *numbers(*(f"n{n}" for n in range(figures)))])
    for row in range(3):
        found.add(f"a name of some length {row}", *(f"{row}.{n}2345678" for n in range(figures)))
    return found


@pytest.mark.parametrize("width", [None, 200, 80, 60, 40, 24])
def test_no_figure_is_ever_cut(width: int | None) -> None:
    out = shown(wide(), width=width)
    figures = [f"{row}.{n}2345678" for row in range(3) for n in range(6)]
    assert all(figure in out for figure in figures)
    assert "…" not in out
    if width:
        assert max(map(len, out.splitlines())) <= width
    stacked = "n0" in out and out.count("n0") == 3  # the head beside each figure
    assert stacked == (width is not None and width < 90)


def test_texts_give_way_before_figures() -> None:
    width = 60
    found = Table("", [Column("text"), Column("figure", number=True)])
    found.add("word " * 40, "1,234,567.8901")
    out = shown(found, width=width)
    assert "1,234,567.8901" in out
    assert out.count("word") == 40
    assert max(map(len, out.splitlines())) <= width


def test_in_a_pipe_nothing_is_cut_and_words_stay_whole() -> None:
    found = Table("t" * 300, [*texts("path", "words"), *numbers("n")])
    found.add("/a/path/" + "x" * 60, "word " * 100, "1" * 90)
    out = shown(found)
    assert "t" * 300 in out
    assert "/a/path/" + "x" * 60 in out
    assert out.count("word ") >= 100
    assert "1" * 90 in out


@given(
    st.lists(st.tuples(st.text(max_size=40), st.integers(0, 10**12)), min_size=1, max_size=5),
    st.integers(30, 140),
)
def test_any_table_fits_its_terminal(rows: list[tuple[str, int]], width: int) -> None:
    found = Table("", [*texts("a text"), *numbers("a number")])
    for text, number in rows:
        found.add(text, f"{number:,}")
    out = shown(found, width=width)
    assert all(f"{number:,}" in out for _, number in rows)


# ------------------------------------------------------------------ progress


def test_short_work_is_quiet_in_a_pipe_and_long_work_has_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 7))
    assert list(progress.counted(range(3), 3, "quick")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    with progress.progress() as board:
        for done in range(40):
            board.show("long\x1b[1m", done, 40, f"{done} of 40")
        board.show("long", 40, 40, milestone=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 40 * 7 // 63 + 1
    assert lines[0] == r"long\x1b[1m: 20%, 8 of 40, 1 min 03 s"
    assert lines[-1].startswith("long: 100%")


def test_a_bar_on_a_terminal_shows_names_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setenv("COLUMNS", "80")
    with progress.download_progress("dump[/x].gz") as show:
        for done in (1_000_000, 3_000_000, 10_000):  # and begins again
            show(done, 3_000_000)
    with progress.progress() as board:
        board.show("fit", 3, 10, "epoch 1.50, 120/s, 2 min 10 s left", "loss: [bold]topn 3.1")
    out, err = capsys.readouterr()
    assert out == ""
    assert "dump[/x].gz" in err
    assert "3.0 MB" in err
    assert "loss: [bold]topn 3.1" in err
    plain = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", err)
    assert max(map(len, re.split("[\r\n]", plain))) <= 80


# ------------------------------------------------------------------ the frame of both tools


def made(command: Any) -> typer.Typer:
    def register(app: typer.Typer) -> None:
        app.command("run")(command)
        app.command("other")(lambda: None)

    return cli.application("tool", "1.2", register, about="About.", exit_codes="")


def ended(command: Any, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "argv", ["tool", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main(made(command), "tool", interrupted="all is kept", extra="pip install more")
    return end.value.code


def raising(error: BaseException) -> Any:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (PodError("wrong [/x]\n\x1b[1m"), 1, "tool: wrong [/x] \\x1b[1m\n"),
        (KeyboardInterrupt(), 130, "tool: interrupted; all is kept\n"),
        (BrokenPipeError(errno.EPIPE, "gone"), 0, ""),
        (typer.Exit(2), 2, ""),
        (
            ModuleNotFoundError("no", name="torch.nn"),
            1,
            "tool: torch.nn is not installed: pip install more\n",
        ),
    ],
)
def test_how_a_command_ends(
    error: BaseException,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert ended(raising(error), "run", monkeypatch=monkeypatch) == code
    assert capfd.readouterr().err == words


def test_a_fault_of_ours_is_not_talked_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tool", "run"])
    with pytest.raises(ModuleNotFoundError):
        cli.main(made(raising(ModuleNotFoundError(name="podprep.x"))), "tool", interrupted="")
    with pytest.raises(ZeroDivisionError):
        cli.main(made(raising(ZeroDivisionError())), "tool", interrupted="")


@pytest.mark.parametrize("program", ["podprep", "podtrain"])
def test_the_options_that_both_tools_have(program: str) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", program, *arguments], capture_output=True, text=True, check=False
        )

    assert run("--version").stdout.startswith(f"{program} ")
    assert run("-h").stdout == run("--help").stdout
    wrong = run("--nonsense")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith(f"{program}: No such option")
    assert wrong.stderr.count("\n") == 1
    bare = run()
    assert bare.returncode == 2
    assert "Usage" in bare.stdout


def test_ctrl_c_and_head_end_the_real_tool_as_told(tmp_path: Path) -> None:
    code = (
        "import podprep.commands.build as b, sys, time\n"
        "sys.argv = ['podprep', 'datasets']\n"
        "import podprep; podprep.datasets = lambda **_: (print('on', flush=True), time.sleep(60))\n"
        "from podprep.cli import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "podprep: interrupted; nothing was changed\n")
    script = f"{sys.executable} -m podprep datasets --all | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_a_title_in_another_script_does_not_end_a_tool_on_a_terminal_without_it() -> None:
    code = (
        "import sys; sys.argv = ['podprep', 'datasets']\n"
        "import podprep.commands.tables as t\n"
        "from podprep.ui.console import Table, texts\n"
        "def tables(listed):\n"
        "    found = Table('日本語', texts('é')); found.add('日本語'); return found\n"
        "t.datasets_table = tables\n"
        "from podprep.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="latin-1",
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u65e5" in done.stdout
