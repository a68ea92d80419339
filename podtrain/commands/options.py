"""What several commands take."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[Path, typer.Argument(help="A folder made by podtrain fit.")]
ShardsFolder = Annotated[Path, typer.Argument(help="A folder made by podprep build.")]
ShardsOption = Annotated[
    Path | None, typer.Option("--shards", help="Where the dataset lies now, if it was moved.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


class Task(StrEnum):
    """A task of the paper."""

    SEQUENTIAL = "sequential"
    TOPN = "topn"
    EXPLANATION = "explanation"


class Split(StrEnum):
    """A held-out split."""

    VALID = "valid"
    TEST = "test"
