"""From a raw dump of reviews to Parquet shards of prompts and targets.

    import podprep

    ds = podprep.build("sample", out="shards")
    ds.interactions                      # a Polars LazyFrame
    ds.sql("SELECT split, count(*) FROM interactions GROUP BY split").pl()

Names are imported when they are first used, so that `podprep --help` answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podprep.api import (
        audit_folder,
        build,
        datasets,
        fetch,
        import_folder,
        open,
        questions,
        verify,
    )
    from podprep.contract.errors import PodError
    from podprep.dataset import Dataset

__version__ = "0.1.0"
__all__ = [
    "Dataset",
    "PodError",
    "__version__",
    "audit_folder",
    "build",
    "datasets",
    "fetch",
    "import_folder",
    "open",
    "questions",
    "verify",
]

_MODULES = {"Dataset": "podprep.dataset", "PodError": "podprep.contract.errors"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'podprep' has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, "podprep.api")), name)


def __dir__() -> list[str]:
    return __all__
