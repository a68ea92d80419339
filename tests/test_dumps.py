"""Reading: every form of dump gives the same numbered lines; what is broken is said or counted."""

import codecs
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podprep.contract.errors import PodError
from podprep.raw import dumps
from podprep.raw.dumps import read_lines, read_metadata


def lines_of(path: Path) -> list[tuple[int, str, str | None]]:
    rows = pa.Table.from_batches(read_lines(path), dumps.LINES).to_pylist()
    return [(r["line_number"], r["line"].rstrip("\n"), r["problem"]) for r in rows]


def test_plain_gzip_and_zstd_are_told_apart_by_content(tmp_path: Path) -> None:
    content = b'{"a": 1}\n{"b": "caf\xc3\xa9"}\n'
    forms = {
        "plain.gz": content,
        "gzip.json": gzip.compress(content),
        "members": gzip.compress(content[:9]) + gzip.compress(content[9:]),
        "zstd.txt": pa.compress(content, codec="zstd", asbytes=True),
    }
    for name, stored in forms.items():
        (tmp_path / name).write_bytes(stored)
        assert lines_of(tmp_path / name) == [(1, '{"a": 1}', None), (2, '{"b": "café"}', None)]


def test_a_last_line_without_end_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(codecs.BOM_UTF8 + b"one\r\ntwo")
    assert lines_of(path) == [(1, "one\r", None), (2, "two", None)]


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b" ")), max_size=12),
    chunk=st.integers(1, 50),
)
def test_lines_do_not_depend_on_where_chunks_end(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], chunk: int
) -> None:
    path = tmp_path_factory.mktemp("dump") / "dump"
    # a first line that is surely text, so that no example looks like another kind of file
    content = b"".join(line + b"\n" for line in [b"first", *lines])
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dumps, "CHUNK", chunk)
        got = lines_of(path)
    assert [n for n, _, _ in got] == list(range(1, len(lines) + 2))
    for (_, text, problem), raw in zip(got[1:], lines, strict=True):
        try:
            assert (text, problem) == (raw.decode(), None)
        except UnicodeDecodeError:
            assert problem == "not UTF-8"
            assert text == raw.decode(errors="backslashreplace")


def test_a_line_beyond_the_limit_is_kept_in_part_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dumps, "LONGEST_LINE", 5_000)
    monkeypatch.setattr(dumps, "CHUNK", 1_000)
    path = tmp_path / "dump"
    path.write_bytes(b"short\n" + b"x" * 50_000 + b"\nshort again\n")
    first, long, last = lines_of(path)
    assert first == (1, "short", None)
    assert long == (2, "x" * 1_000, "line longer than 32 MiB")
    assert last == (3, "short again", None)


def test_python_literals_become_json_and_are_never_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "loose"
    entry = {"asin": "B1", "title": 'Kid\'s "best"', "categories": [["A", "B"]], "price": 1.5}
    hostile = "{'asin': __import__('os').system('touch ran')}"
    path.write_text(f"{entry!r}\n{hostile}\n{{'deep': {'[' * 500}\n", encoding="utf-8")
    loose, call, deep = lines_of(path)
    assert json.loads(loose[1]) == entry
    assert call[1] == hostile  # left as it is, for the SQL to reject
    assert deep[1].startswith("{'deep'")
    assert not Path("ran").exists()


def test_metadata_reads_only_the_products_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "meta"
    path.write_text(
        "{'asin': 'B1', 'title': 'one'}\n{'asin': 'B2'}\n"
        '{"parent_asin": "B3", "title": "three"}\nno product\n',
        encoding="utf-8",
    )
    table = pa.Table.from_batches(read_metadata(path, pa.array(["B1", "B3"])), dumps.LINES)
    assert table["line_number"].to_pylist() == [1, 3, 4]  # the last is for the SQL to count
    assert json.loads(table["line"][0].as_py())["title"] == "one"


BROKEN = {
    "empty": (b"", "is empty"),
    "cut short": (gzip.compress(b'{"a": 1}\n' * 9_999)[:-30], "cut short or damaged"),
    "bad checksum": (gzip.compress(b'{"a": 1}\n')[:-8] + b"\0" * 8, "cut short or damaged"),
    "utf-16": ("{}\n".encode("utf-16"), "iconv -f UTF-16"),
    "zip": (b"PK\x03\x04....", "unpack it"),
    "parquet": (b"PAR1....", "Parquet"),
    "array": (b' [{"a": 1}]', "one JSON array"),
    "page": (b"<!doctype html>", "failed download"),
    "gzipped page": (gzip.compress(b"<html>"), "failed download"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_dump_is_one_line(tmp_path: Path, name: str) -> None:
    content, words = BROKEN[name]
    path = tmp_path / "dump"
    path.write_bytes(content)
    with pytest.raises(PodError, match=words) as error:
        lines_of(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_and_a_missing_file_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(PodError, match="is a folder"):
        lines_of(tmp_path)
    with pytest.raises(PodError, match="does not exist"):
        lines_of(tmp_path / "none")
