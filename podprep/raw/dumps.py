"""Raw dumps: of any compression and format, read as numbered lines of JSON."""

import ast
import codecs
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from podprep.contract.errors import PodError

CHUNK = 8 << 20
LONGEST_LINE = 32 << 20
PRODUCT = r"""['"](?:parent_)?asin['"]\s*:\s*['"](?P<asin>[^'"]+)['"]"""
LINES = pa.schema([("line_number", pa.int64()), ("line", pa.string()), ("problem", pa.string())])

# magic bytes of what we read through a decompressor, and of what people hand us by mistake
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
NO_DUMPS = {
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"PAR1": "a Parquet file; a dump has one JSON object per line",
    codecs.BOM_UTF16_LE: "UTF-16: convert it first, iconv -f UTF-16 -t UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16: convert it first, iconv -f UTF-16 -t UTF-8",
    b"[": "one JSON array; a dump has one object per line: jq -c '.[]' makes it so",
    b"<": "HTML or XML, perhaps the page of a failed download; fetch the dump again",
}


def open_dump(path: Path) -> pa.NativeFile:
    """Open a plain, gzip or zstd dump, told apart by content, for reading decompressed bytes.

    Errors: `PodError` for a missing file, a folder, an empty file, and what is plainly not a dump.
    """
    if path.is_dir():
        raise PodError(f"{path} is a folder: name the dump inside it")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if not magic:
            raise PodError(f"{path} is empty: fetch the dump again")
        compression = next((c for m, c in COMPRESSIONS.items() if magic.startswith(m)), None)
        stream = pa.input_stream(str(path), compression=compression, buffer_size=1 << 20)
        magic = _peek(path, compression)
    except FileNotFoundError:
        raise PodError(f"{path} does not exist: check --raw, or put the dump there") from None
    except OSError as error:
        raise _broken(path, 0, error) from None
    for mark, what in NO_DUMPS.items():
        if magic.startswith(mark):
            raise PodError(f"{path} is {what}")
    return stream


def _peek(path: Path, compression: str | None) -> bytes:
    with pa.input_stream(str(path), compression=compression) as stream:
        return bytes(stream.read(4)).lstrip()


def read_lines(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield batches of (line_number from 1, line, problem); `problem` is null for a good line.

    Lines that are Python literals, as in the 2014 metadata, are turned into JSON. A broken
    compressed stream raises `PodError`: half a dump is not used.
    """
    first_line = 1
    for chunk in _whole_lines(path):
        lines, problems = _split(chunk)
        lines = _literals_to_json(lines)
        numbers = pa.array(np.arange(first_line, first_line + len(lines)))
        first_line += len(lines)
        yield pa.record_batch([numbers, lines, problems], schema=LINES)


def read_metadata(path: Path, asins: pa.StringArray) -> Iterator[pa.RecordBatch]:
    """Yield batches like `read_lines`, only of lines about the products `asins`.

    The full metadata has twenty times the products of a 5-core dump, and reading a Python literal
    costs far more than finding the product code in it: so that comes first.
    """
    first_line = 1
    for chunk in _whole_lines(path):
        lines, problems = _split(chunk)
        numbers = pa.array(np.arange(first_line, first_line + len(lines)))
        first_line += len(lines)
        about = pc.struct_field(pc.extract_regex(lines, PRODUCT), "asin")
        mask = pc.or_kleene(pc.is_in(about, asins), pc.is_null(about))
        yield pa.record_batch(
            [numbers.filter(mask), _literals_to_json(lines.filter(mask)), problems.filter(mask)],
            schema=LINES,
        )


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Yield chunks that end with a line. A line beyond `LONGEST_LINE` keeps its first part."""
    rest, done = b"", 0
    with open_dump(path) as stream:
        while True:
            try:
                chunk = stream.read(CHUNK)
            except OSError as error:
                raise _broken(path, done, error) from None
            if not done and chunk.startswith(codecs.BOM_UTF8):
                chunk = chunk[len(codecs.BOM_UTF8) :]
            done += len(chunk)
            cut = chunk.rfind(b"\n") + 1
            if not chunk:
                if rest:
                    yield rest + b"\n"
                return
            if cut:
                yield rest + chunk[:cut]
                rest = chunk[cut:]
            elif len(rest) <= LONGEST_LINE:
                rest += chunk


def _split(chunk: bytes) -> tuple[pa.StringArray, pa.StringArray]:
    """Cut a chunk at its line ends without copying it: only offsets are made."""
    ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n"))
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends + 1
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(chunk)]
    lines = pa.StringArray.from_buffers(len(ends), buffers[1], buffers[2])
    too_long = np.diff(offsets) > LONGEST_LINE
    try:
        lines.validate(full=True)
        sound = not too_long.any()
    except pa.ArrowInvalid:
        sound = False
    if sound:
        return lines, pa.nulls(len(lines), pa.string())
    texts: list[str] = []
    problems: list[str | None] = []
    for start, end, long in zip(offsets[:-1], offsets[1:], too_long, strict=True):
        raw = chunk[start : min(end, start + 1000) if long else end]
        try:
            texts.append(raw.decode())
            problems.append("line longer than 32 MiB" if long else None)
        except UnicodeDecodeError:
            texts.append(raw.decode(errors="backslashreplace"))
            problems.append("line longer than 32 MiB" if long else "not UTF-8")
    return pa.array(texts, pa.string()), pa.array(problems, pa.string())


def _literals_to_json(lines: pa.StringArray) -> pa.StringArray:
    """Turn lines that are Python dict literals into JSON; leave every other line as it is.

    Parsed by `ast.literal_eval`, which builds constants and containers and runs nothing.
    """
    loose = pc.match_substring_regex(lines, r"^\s*\{\s*'")
    if not pc.any(loose).as_py():
        return lines
    return pa.array(
        [
            _literal_to_json(line) if is_loose else line
            for line, is_loose in zip(lines.to_pylist(), loose.to_pylist(), strict=True)
        ],
        pa.string(),
    )


def _literal_to_json(line: str) -> str:
    try:
        return json.dumps(ast.literal_eval(line.strip()))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return line  # not a literal either: the SQL rejects and counts it


def _broken(path: Path, done: int, error: OSError) -> PodError:
    return PodError(
        f"{path} cannot be read beyond {done:,} decompressed bytes ({error}): "
        "it is cut short or damaged, fetch it again"
    )
