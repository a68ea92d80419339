"""Downloads from a loopback server that breaks off, lies, changes, and refuses."""

import dataclasses
import errno
import gzip
import hashlib
import os
import random
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from podprep.contract.errors import PodError
from podprep.raw import fetch as module
from podprep.raw.datasets import resolve
from podprep.raw.fetch import download, fetch

BODY = random.Random(7).randbytes(300_000)
OTHER = random.Random(8).randbytes(250_000)


@dataclass
class Remote:
    """What the server answers, and the Range it was asked for each time."""

    url: str
    body: bytes = BODY
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    statuses: list[int] = field(default_factory=list)  # answered first, one each
    breaks: list[int] = field(default_factory=list)  # bytes sent before breaking off, one each
    ranges: bool = True
    believe_range: bool = False  # honours Range whatever If-Range says
    length: int | None = None  # said instead of the true one; -1 says none
    asked: list[str | None] = field(default_factory=list)
    changed: "Remote | None" = None  # takes over after the first answer

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers["Range"]
        self.asked.append(asked)
        if self.statuses:
            handler.send_error(self.statuses.pop(0))
            return
        start = 0
        same = self.headers.get("ETag", self.headers.get("Last-Modified"))
        if asked and self.ranges and (self.believe_range or handler.headers["If-Range"] == same):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(self.body):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(self.body)}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            handler.send_response(206)
            end = len(self.body)
            handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        else:
            handler.send_response(200)
        rest = self.body[start:]
        for name, value in self.headers.items():
            handler.send_header(name, value)
        if self.length != -1:
            handler.send_header("Content-Length", str(self.length or len(rest)))
        handler.end_headers()
        handler.wfile.write(rest[: self.breaks.pop(0)] if self.breaks else rest)
        if self.changed:
            self.body, self.headers = self.changed.body, self.changed.headers


@pytest.fixture
def remote() -> Iterator[Remote]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Remote(f"http://127.0.0.1:{server.server_port}/dump")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "BACKOFF_S", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "dump"


def left(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def broken(remote: Remote, path: Path) -> str:
    """The message of a download that fails, which names the address and the path in one line."""
    with pytest.raises(PodError) as error:
        download(remote.url, path)
    message = str(error.value)
    assert remote.url in message
    assert str(path) in message
    assert "\n" not in message
    assert not path.exists()
    return message


def test_whole_at_once(remote: Remote, path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    sha256 = hashlib.sha256(BODY).hexdigest()
    got = download(
        remote.url,
        path,
        size=len(BODY),
        sha256=sha256,
        progress=lambda done, total: told.append((done, total)),
    )
    assert got == path
    assert path.read_bytes() == BODY
    assert left(path) == ["dump"]
    assert told[0] == (0, len(BODY))
    assert told[-1] == (len(BODY), len(BODY))


@pytest.mark.parametrize("headers", [{"ETag": '"one"'}, {"Last-Modified": "Tue, 26 Apr 2016"}])
def test_resumes_with_the_missing_bytes_alone(
    remote: Remote, path: Path, headers: dict[str, str]
) -> None:
    remote.headers = headers
    remote.breaks = [100_000, 50_000, 1]
    download(remote.url, path)
    assert path.read_bytes() == BODY
    assert remote.asked == [None, "bytes=100000-", "bytes=150000-", "bytes=150001-"]
    assert left(path) == ["dump"]


def test_retries_end_once_nothing_is_gained(remote: Remote, path: Path) -> None:
    remote.breaks = [1000] + [0] * 50
    assert "1000 of 300000 bytes" in broken(remote, path)
    assert len(remote.asked) == 2 + module.RETRIES
    assert left(path) == ["dump.part", "dump.part.json"]


def test_retries_outlast_any_number_of_breaks_that_gain(remote: Remote, path: Path) -> None:
    remote.breaks = [10_000] * 20
    assert download(remote.url, path).read_bytes() == BODY


def test_a_later_call_goes_on(remote: Remote, path: Path) -> None:
    remote.breaks = [1000] + [0] * 50
    broken(remote, path)
    remote.breaks.clear()
    remote.asked.clear()
    assert download(remote.url, path).read_bytes() == BODY
    assert remote.asked == ["bytes=1000-"]
    assert left(path) == ["dump"]


@pytest.mark.parametrize("believe_range", [False, True])
def test_a_changed_file_is_not_spliced(remote: Remote, path: Path, *, believe_range: bool) -> None:
    remote.breaks = [100_000]
    remote.believe_range = believe_range
    remote.changed = Remote("", body=OTHER, headers={"ETag": '"two"'})
    assert download(remote.url, path).read_bytes() == OTHER
    assert left(path) == ["dump"]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"one"'}])
def test_a_file_without_a_mark_restarts(
    remote: Remote, path: Path, headers: dict[str, str]
) -> None:
    remote.headers = headers
    remote.breaks = [100_000]
    assert download(remote.url, path).read_bytes() == BODY
    assert remote.asked == [None, None]


def test_a_server_without_ranges_restarts_but_not_for_ever(remote: Remote, path: Path) -> None:
    remote.ranges = False
    remote.breaks = [100_000]
    assert download(remote.url, path).read_bytes() == BODY
    path.unlink()
    remote.breaks = [100_000] * 50
    broken(remote, path)


def test_the_part_of_another_address_is_dropped(remote: Remote, path: Path) -> None:
    remote.breaks = [1000] + [0] * 50
    broken(remote, path)
    remote.breaks.clear()
    remote.asked.clear()
    download(remote.url + "2", path)
    assert remote.asked == [None]
    assert path.read_bytes() == BODY


def test_an_unreadable_note_restarts(remote: Remote, path: Path) -> None:
    path.parent.mkdir()
    path.with_name("dump.part").write_bytes(b"x" * 1000)
    path.with_name("dump.part.json").write_text("{")
    assert download(remote.url, path).read_bytes() == BODY
    assert remote.asked == [None]


@pytest.mark.parametrize("extra", [b"", b"x"])
def test_a_part_as_long_as_the_file_or_longer(remote: Remote, path: Path, extra: bytes) -> None:
    remote.breaks = [1000] + [0] * 50
    broken(remote, path)
    remote.breaks.clear()
    remote.asked.clear()
    path.with_name("dump.part").write_bytes(BODY + extra)
    assert download(remote.url, path).read_bytes() == BODY
    assert remote.asked == [f"bytes={len(BODY + extra)}-", *([None] if extra else [])]
    assert left(path) == ["dump"]


def test_a_length_too_long_is_a_break(remote: Remote, path: Path) -> None:
    remote.length = len(BODY) + 5
    remote.ranges = False
    assert "300000 of 300005 bytes" in broken(remote, path)


def test_no_length_at_all(remote: Remote, path: Path) -> None:
    remote.length = -1
    assert download(remote.url, path).read_bytes() == BODY
    remote.breaks = [1000]
    assert download(remote.url, path, size=len(BODY)).read_bytes() == BODY


def test_a_wrong_size_is_refused_before_it_is_downloaded(remote: Remote, path: Path) -> None:
    with pytest.raises(PodError, match="has 300000 bytes, not the 5 expected"):
        download(remote.url, path, size=5)
    assert left(path) == []


def test_a_wrong_checksum_is_named_and_removed(remote: Remote, path: Path) -> None:
    with pytest.raises(PodError) as error:
        download(remote.url, path, sha256="0" * 64)
    assert hashlib.sha256(BODY).hexdigest() in str(error.value)
    assert "0" * 64 in str(error.value)
    assert "broke off" not in str(error.value)
    assert left(path) == []


def test_a_web_page_is_no_dump(remote: Remote, path: Path) -> None:
    remote.body = b"<html>moved</html>"
    assert "not a gzip file" in broken(remote, path.with_name("dump.gz"))
    assert left(path) == []
    remote.body = gzip.compress(b"{}")
    assert download(remote.url, path.with_name("dump.gz")).read_bytes() == remote.body


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (416, 1), (500, 9), (503, 9)])
def test_http_errors(remote: Remote, path: Path, status: int, tries: int) -> None:
    remote.statuses = [status] * 20
    assert str(status) in broken(remote, path)
    assert len(remote.asked) == min(tries, module.RETRIES + 1)
    assert left(path) == []


def test_a_busy_server_is_asked_again(remote: Remote, path: Path) -> None:
    remote.statuses = [503, 429]
    assert download(remote.url, path).read_bytes() == BODY


def test_no_server(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "refused" in broken(Remote(f"http://127.0.0.1:{port}/dump"), path)
    assert left(path) == []


def test_no_such_host_is_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def unknown(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "not known" in broken(Remote("http://no.invalid/dump"), path)
    assert asked == ["no.invalid"]


def test_a_silent_server_times_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "timed out" in broken(Remote(f"http://127.0.0.1:{port}/dump"), path)


def test_too_little_room_fails_before_the_download(
    remote: Remote, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1234))
    message = broken_disk(remote, path)
    assert "300000 bytes" in message
    assert "1234" in message
    assert str(path.parent) in message
    assert left(path) == []


class Nearly:
    """A file on a disk with room for 1000 bytes, which writes what it can, then fails."""

    def __init__(self, file: FileIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: memoryview) -> int:
        room = 1000 - os.fstat(self._file.fileno()).st_size
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data[: min(room, 300)])


def test_a_disk_that_fills_up_keeps_the_part(
    remote: Remote, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        init = module._Part.__init__

        def nearly(part: Any, url: str, path: Path) -> None:
            init(part, url, path)
            part._file = Nearly(part._file)

        patch.setattr(module._Part, "__init__", nearly)
        assert "299000 bytes" in broken_disk(remote, path)
    assert left(path) == ["dump.part", "dump.part.json"]
    remote.asked.clear()
    assert download(remote.url, path).read_bytes() == BODY
    assert remote.asked == ["bytes=1000-"]


def broken_disk(remote: Remote, path: Path) -> str:
    with pytest.raises(PodError, match="no room in") as error:
        download(remote.url, path)
    assert not path.exists()
    return str(error.value)


def test_a_folder_that_cannot_be_written(remote: Remote, path: Path) -> None:
    path.parent.write_text("a file where the folder should be")
    with pytest.raises(PodError, match=f"cannot write {re.escape(str(path))}"):
        download(remote.url, path)


def test_an_interrupt_keeps_the_part(remote: Remote, path: Path) -> None:
    def interrupt(done: int, _: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(remote.url, path, progress=interrupt)
    assert left(path) == ["dump.part", "dump.part.json"]
    kept = path.with_name("dump.part").stat().st_size
    remote.asked.clear()
    assert download(remote.url, path).read_bytes() == BODY
    assert remote.asked == [f"bytes={kept}-"]


def test_two_at_once_do_not_mix(remote: Remote, path: Path) -> None:
    with module._Part(remote.url, path), pytest.raises(PodError, match="another process"):
        download(remote.url, path)
    assert download(remote.url, path).read_bytes() == BODY


def test_fetch_downloads_once_and_in_silence(
    remote: Remote, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    remote.body = gzip.compress(BODY)
    toys = dataclasses.replace(
        resolve("toys"), url=remote.url, meta_url=remote.url + "/meta", size=len(remote.body)
    )
    path = fetch(toys, tmp_path)
    assert path == tmp_path / "reviews_Toys_and_Games_5.json.gz"
    assert path.read_bytes() == remote.body
    assert fetch(toys, tmp_path) == path
    assert len(remote.asked) == 1
    assert fetch(toys, tmp_path, meta=True) == tmp_path / "meta_Toys_and_Games.json.gz"
    assert capfd.readouterr() == ("", "")
    path.write_bytes(b"short")
    with pytest.raises(PodError, match=re.escape(f"{path} has 5 bytes")):
        fetch(toys, tmp_path)
    assert path.read_bytes() == b"short"


def test_fetch_takes_a_dump_there_in_another_form(tmp_path: Path) -> None:
    plain = tmp_path / "reviews_Beauty_5.json"
    plain.touch()
    assert fetch(resolve("beauty"), tmp_path) == plain


def test_the_sample_is_not_downloaded(tmp_path: Path) -> None:
    with pytest.raises(PodError, match="generated"):
        fetch(resolve("sample"), tmp_path)
