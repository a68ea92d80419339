"""Options that several commands have; those of a build take their help from `BuildOptions`."""

from pathlib import Path
from typing import Annotated

import typer

from podprep.recipe.options import HELP, Compat, Duplicates, NegativeSampling, Segments

ShardsFolder = Annotated[Path, typer.Argument(help="A folder made by podprep build.")]
Run = Annotated[
    Path | None, typer.Option("--run", help="A folder made by podtrain fit: to query it too.")
]
Out = Annotated[Path, typer.Option(help="Where the dataset goes.")]
Memory = Annotated[str | None, typer.Option(help="For the whole process, as 2GB.")]
SetMemory = Annotated[str, typer.Option(help="For the whole process, as 2GB.")]
Threads = Annotated[int | None, typer.Option(help="Default: one per core.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
Templates = Annotated[Path | None, typer.Option(help="Your own templates, TOML.")]

CompatOption = Annotated[
    Compat | None,
    typer.Option("--compat", help="pod: do as the published data and code did, leaks too."),
]
Tasks = Annotated[str, typer.Option(help=HELP["tasks"])]
Seed = Annotated[int, typer.Option(help=HELP["seed"])]
Core = Annotated[int, typer.Option(help=HELP["core"])]
Negatives = Annotated[int, typer.Option(help=HELP["negatives"])]
SegmentsOption = Annotated[Segments, typer.Option(help=HELP["segments"])]
Sampling = Annotated[NegativeSampling, typer.Option(help=HELP["negative_sampling"])]
History = Annotated[int, typer.Option(help=HELP["history"])]
Rounds = Annotated[int, typer.Option(help=HELP["rounds"])]
DuplicatesOption = Annotated[Duplicates | None, typer.Option(help=HELP["duplicates"])]
MaxBad = Annotated[float, typer.Option(help=HELP["max_bad"])]
