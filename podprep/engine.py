"""DuckDB as the build uses it: the files of sql/, bounded memory, one-line errors."""

import errno
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from podprep.contract.errors import PodError

# What Python, pyarrow and one part per thread take beside DuckDB's own buffers
# (measured: see bench/). Of more memory it is a fifth: what DuckDB counts as freed is not all
# given back, and 20 million reviews took 640 MB beside the 3,840 MB that it was given.
BESIDE_DUCKDB = 256 << 20

# called with the stage at work, its steps done and its steps in all (0 if unknown)
Progress = Callable[[str, int, int], None]

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a build may use: it decides how long a build takes, never a byte of it."""

    threads: int
    memory: int  # bytes, the whole process

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise PodError(f"--threads {self.threads}: give at least 1")
        if self.memory < 512 << 20:
            raise PodError(f"--memory of {self.memory >> 20} MB: give at least 512MB")

    @classmethod
    def of(cls, threads: int | None, memory: str | None) -> "Machine":
        """Return what the options say; by default all cores and three quarters of the memory.

        Errors: `PodError` for a size other than such as 512MB or 2GB.
        """
        if memory is None:
            size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4
        elif found := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", memory, re.IGNORECASE):
            size = int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))
        else:
            raise PodError(f"--memory {memory}: give a size such as 512MB or 2GB")
        return cls(threads=usable_cores() if threads is None else threads, memory=size)


def usable_cores() -> int:
    """Return how many cores this process may use, where the system tells; else how many exist."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def sql_folder() -> Path:
    """Return the folder sql/, of the installed package or of the checkout."""
    packaged = Path(str(files("podprep") / "sql"))
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "sql"


@cache
def sql_text(name: str) -> str:
    """Return one file of sql/."""
    return (sql_folder() / name).read_text(encoding="utf-8")


def connect(machine: Machine, spill: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Open an in-memory database that loads no extension and spills to the folder `spill`."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": machine.threads,
        "memory_limit": f"{machine.memory - max(BESIDE_DUCKDB, machine.memory // 5)}B",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    con = duckdb.connect(config=config | ({"temp_directory": str(spill)} if spill else {}))
    con.execute("SET enable_progress_bar = false")  # its bar goes to stdout, into pipes too
    return con


def read_stream(
    con: duckdb.DuckDBPyConnection,
    name: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    query: str,
) -> None:
    """Run `query` with the view `name` over a stream of batches, which can be read once.

    An error of the stream is raised as it is; DuckDB would wrap it in its own.
    """
    failure: list[BaseException] = []

    def watched() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except BaseException as error:
            failure.append(error)
            raise

    con.register(name, pa.RecordBatchReader.from_batches(schema, watched()))
    try:
        con.execute(query)
    except duckdb.Error:
        if failure:
            raise failure[0] from None
        raise
    finally:
        con.unregister(name)


def run_parallel(
    con: duckdb.DuckDBPyConnection,
    threads: int,
    work: Callable[[duckdb.DuckDBPyConnection, Job], Result],
    jobs: Iterable[Job],
) -> Iterator[Result]:
    """Yield `work(cursor, job)` in the order of the jobs, each with its own cursor.

    Many small queries side by side, because DuckDB splits a query over threads by row groups of
    122,880 rows and a part has fewer. Few results wait at a time.
    """

    def run(job: Job) -> Result:
        with con.cursor() as cursor:
            return work(cursor, job)

    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            for job in jobs:
                ahead.append(pool.submit(run, job))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def one_line_errors(out: Path, machine: Machine) -> Iterator[None]:
    """Turn a full disk or memory into a `PodError` that says what to do."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise PodError(
            f"the build does not fit in --memory {machine.memory >> 20}MB: give it more"
        ) from None
    except duckdb.IOException as error:
        raise PodError(_disk(out, str(error))) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise PodError(_disk(out, "no space left on device")) from None
        raise PodError(f"cannot write {error.filename or out}: {error.strerror or error}") from None


def _disk(out: Path, message: str) -> str:
    where = next(p for p in (out, *out.absolute().parents) if p.exists())
    status = os.statvfs(where)
    free = status.f_bavail * status.f_frsize
    return (
        f"cannot write below {out.absolute().parent} ({message.splitlines()[0]}; "
        f"{free >> 20:,} MB free): make room, or use --out on another disk"
    )
