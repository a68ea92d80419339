"""Downloads: resumed where they broke off, verified, and put in place in one step."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from podprep.contract.errors import PodError
from podprep.raw.datasets import DATA_VARIABLE, Source, variants
from podprep.ui.progress import download_progress

Progress = Callable[[int, int | None], None]  # called with the bytes received, and all if known

STALL_S = 30.0  # silence after which a connection counts as broken
RETRIES = 4  # in a row that gain nothing
BACKOFF_S = 0.5  # before a retry; doubled for each one that gained nothing

_CHUNK = 1 << 18
_RETRIED = (408, 429, 500, 502, 503, 504)


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Download `url` to `path`, going on from what an earlier try left beside it.

    Raises PodError naming both where the file cannot be had, written, or is not the one expected;
    `path` is then as it was.
    """
    with _Part(url, path) as part:
        _receive(part, size, progress)
        _verify(part, size, sha256)
        part.put_in_place()
    return path


def fetch(dataset: Source, folder: Path, *, meta: bool = False) -> Path:
    """Download a dataset's dump, or its metadata, into `folder` unless it is there already.

    Raises PodError for the sample, for a file there of the wrong size, and as `download` does.
    """
    file, url = (dataset.meta_file, dataset.meta_url) if meta else (dataset.file, dataset.url)
    size, sha256 = (
        (dataset.meta_size, dataset.meta_sha256) if meta else (dataset.size, dataset.sha256)
    )
    if url is None:
        message = f"{dataset.name} is generated on this machine: there is nothing to download"
        raise PodError(message)
    path = folder / file
    there = next((variant for variant in variants(path) if variant.is_file()), None)
    if there is None:
        with download_progress(file) as progress:
            return download(url, path, size=size, sha256=sha256, progress=progress)
    found = there.stat().st_size
    if there == path and size not in (None, found):
        message = f"{path} has {found} bytes, not the {size} of {url}: move it away, fetch again"
        raise PodError(message)
    return there


class _Part:
    """What was received so far, with the mark (ETag or date) of the remote file it is of."""

    def __init__(self, url: str, path: Path) -> None:
        self.url, self.path = url, path
        self.total: int | None = None
        self._part = path.with_name(path.name + ".part")
        self._note = path.with_name(path.name + ".part.json")
        with self._disk():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what was received is in the file, however this process ends.
            self._file = self._part.open("a+b", buffering=0)
        try:
            self._lock()
            self.mark = self._noted()  # without one nothing is resumed: it might be spliced
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, *_: object) -> None:
        if not self.position:
            self.discard()
        self._file.close()

    @property
    def position(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def restart(self, mark: str | None) -> None:
        self.mark = mark
        with self._disk():
            self._file.truncate(0)
            self._note.write_text(json.dumps({"url": self.url, "mark": mark}), encoding="utf-8")

    def expect(self, total: int | None) -> None:
        """Fail now, not after hours, where the rest will not fit."""
        self.total = total
        if total and total - self.position > shutil.disk_usage(self.path.parent).free:
            raise self._full()

    def append(self, data: bytes) -> None:
        rest = memoryview(data)
        with self._disk():
            while rest:
                rest = rest[self._file.write(rest) :]

    def head(self) -> bytes:
        self._file.seek(0)
        return self._file.read(2)

    def sha256(self) -> str:
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def discard(self) -> None:
        self.mark = None
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def put_in_place(self) -> None:
        with self._disk():
            os.fsync(self._file.fileno())
            self._part.replace(self.path)
            self._note.unlink(missing_ok=True)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def failure(self, reason: object) -> PodError:
        """The error for a file that cannot be had."""
        kept = ", which goes on where this one broke off" if self.position and self.mark else ""
        said = " ".join(str(reason).split())
        message = (
            f"cannot download {self.url}: {said}. Put the file at {self.path}, or try again{kept}"
        )
        return PodError(message)

    def _lock(self) -> None:
        message = f"another process is downloading to {self.path}: wait for it"
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PodError(message) from error
        except OSError:
            return  # a file system without locks
        # It may have been put in place between opening and locking: then it is not ours to write.
        if not self._part.exists() or not os.path.samestat(
            os.fstat(self._file.fileno()), self._part.stat()
        ):
            raise PodError(message)

    def _noted(self) -> str | None:
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            mark = note["mark"] if note["url"] == self.url else None
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return mark if isinstance(mark, str) else None

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._full() from error
            message = (
                f"cannot write {self.path}: {error.strerror or error}. Make its folder writable, "
                f"or set ${DATA_VARIABLE} to another one"
            )
            raise PodError(message) from error

    def _full(self) -> PodError:
        folder = self.path.parent
        needed = f"{self.total - self.position} bytes" if self.total else "more space"
        message = (
            f"no room in {folder}: {self.url} needs {needed} and "
            f"{shutil.disk_usage(folder).free} bytes are free. Make room, "
            f"or set ${DATA_VARIABLE} to another folder"
        )
        return PodError(message)


def _receive(part: _Part, size: int | None, progress: Progress | None) -> None:
    """Receive the rest of the file, over several connections while they gain something."""
    most, failures, answered = part.position, 0, False
    while True:
        failure: object
        try:
            with closing(_request(part)) as response:
                answered = True
                _begin(part, response, size)
                _copy(part, response, progress)
                return
        except HTTPError as error:
            error.close()
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and part.position:
                if _ranged(error.headers)[1] == part.position:
                    return  # the last try had received all of it
                part.restart(None)
                continue
            if error.code not in _RETRIED:
                raise part.failure(error) from error
            answered, failure = True, error
        except (OSError, HTTPException) as error:
            failure = error.reason if isinstance(error, URLError) else error
            if not answered:  # no network, or no such host: waiting would only hide it
                raise part.failure(failure) from error
        failures = 0 if part.position > most else failures + 1
        most = max(most, part.position)
        if failures > RETRIES:
            raise part.failure(failure)
        time.sleep(BACKOFF_S * 2**failures)


def _request(part: _Part) -> HTTPResponse:
    headers = {"User-Agent": "podprep"}
    if part.position and part.mark:
        headers |= {"Range": f"bytes={part.position}-", "If-Range": part.mark}
    response: HTTPResponse = urlopen(Request(part.url, headers=headers), timeout=STALL_S)
    return response


def _begin(part: _Part, response: HTTPResponse, size: int | None) -> None:
    """Bring the part to where the response begins."""
    headers = response.headers
    length = headers["Content-Length"]
    mark = _mark(headers)
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        start, total = _ranged(headers)
        if start != part.position or mark not in (None, part.mark):
            part.restart(None)
            message = "the server went on with another file, or from another place"
            raise ConnectionError(message)
    else:
        part.restart(mark)
        total = int(length) if length and length.isdecimal() else None
    if total is not None and size not in (None, total):
        part.discard()
        message = f"it has {total} bytes, not the {size} expected"
        raise part.failure(message)
    part.expect(total if total is not None else size)


def _copy(part: _Part, response: HTTPResponse, progress: Progress | None) -> None:
    total = part.total
    while True:
        if progress:
            progress(part.position, total)
        data = b"" if part.position == total else response.read1(_CHUNK)
        if not data:
            break
        part.append(data)
    if total is not None and part.position < total:
        message = f"the connection broke at {part.position} of {total} bytes"
        raise ConnectionError(message)


def _mark(headers: Message) -> str | None:
    """What names this version of the remote file; a weak ETag does not name its bytes."""
    etag: str | None = headers["ETag"]
    date: str | None = headers["Last-Modified"]
    return date if etag is None or etag.startswith("W/") else etag


def _ranged(headers: Message) -> tuple[int | None, int | None]:
    """First byte and total of a Content-Range, None where not said."""
    found = re.fullmatch(r"bytes (?:\*|(\d+)-\d+)/(?:\*|(\d+))", headers["Content-Range"] or "")
    start, total = found.groups() if found else (None, None)
    return None if start is None else int(start), None if total is None else int(total)


def _verify(part: _Part, size: int | None, sha256: str | None) -> None:
    """Refuse, and remove, a file that is not the one expected."""
    wrong = None
    if size not in (None, part.position):
        wrong = f"{part.position} bytes came, not the {size} expected"
    elif sha256 is not None and (got := part.sha256()) != sha256:
        wrong = f"its SHA-256 is {got}, not the {sha256} expected"
    elif part.path.suffix == ".gz" and part.head() != b"\x1f\x8b":
        wrong = "what came is not a gzip file, perhaps a web page"
    if wrong:
        part.discard()
        raise part.failure(wrong)
