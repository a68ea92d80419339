"""The published Beauty data, given again byte for byte by the dump that was rebuilt from it."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SHARED, needs_shared
from tests.test_cli import podprep

BEAUTY = SHARED / "data" / "published" / "beauty"


@needs_shared
@pytest.mark.parametrize("bad", [0, 40])
def test_compat_pod_gives_the_published_numbering_and_order(tmp_path: Path, bad: int) -> None:
    texts = SHARED / "data" / "raw" / "All_Beauty_5.json.gz"
    inputs = [BEAUTY / "sequential.txt.gz", BEAUTY / "datamaps.json.gz", texts]
    dump = tmp_path / "dump.json.gz"
    make = [sys.executable, SHARED / "tools" / "make_dump.py", *inputs, dump, "--bad", str(bad)]
    subprocess.run([*map(str, make)], check=True, capture_output=True)
    options = ("--compat", "pod", "--tasks", "sequential", "--rounds", 1)
    podprep("build", "--dataset", "beauty", "--raw", dump, *options, cwd=tmp_path)
    podprep("export", "shards", "--format", "pod", "--to", "again", cwd=tmp_path)
    for name in ("sequential.txt", "datamaps.json"):
        published = gzip.decompress((BEAUTY / f"{name}.gz").read_bytes())
        assert (tmp_path / "again" / name).read_bytes() == published
