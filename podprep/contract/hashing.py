"""SHA-256 of files, remembered while a file is unchanged."""

import hashlib
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

# A file this fresh could be written again within one tick of the file system's clock and look
# the same: its hash is not remembered.
SETTLED_NS = 100_000_000


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path) -> str:
    """Return `file_sha256`, from the user's cache where the file has not changed since.

    Unchanged: same device, inode, size, mtime and ctime. Whoever sets back the mtime cannot set
    back the ctime.
    """
    status = path.stat()
    key = (str(path.resolve()), status.st_dev, status.st_ino, status.st_size)
    times = (status.st_mtime_ns, status.st_ctime_ns)
    with suppress(sqlite3.Error, OSError), closing(_cache()) as cache:
        row = cache.execute(
            "SELECT sha256 FROM hashes WHERE (path, device, inode, size) = (?, ?, ?, ?)"
            " AND (written, changed) = (?, ?)",
            (*key, *times),
        ).fetchone()
        if row:
            return str(row[0])
    sha256 = file_sha256(path)
    if time.time_ns() - max(times) > SETTLED_NS:
        with suppress(sqlite3.Error, OSError), closing(_cache()) as cache, cache:
            cache.execute(
                "INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*key, *times, sha256),
            )
    return sha256


def _cache() -> sqlite3.Connection:
    """Open the cache of hashes; it may be deleted at any time."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "podprep"
    folder.mkdir(parents=True, exist_ok=True)
    cache = sqlite3.connect(folder / "hashes.sqlite", timeout=1)
    cache.execute(
        "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, device INTEGER, inode INTEGER,"
        " size INTEGER, written INTEGER, changed INTEGER, sha256 TEXT)"
    )
    return cache
