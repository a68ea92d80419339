"""From shards of prompts to a recommender with distilled soft prompts, and to its numbers.

The library is loaded when it is first used, so that `podtrain --help` answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from podprep import __version__

if TYPE_CHECKING:
    from podtrain.api import baselines, compare, fit, load, models
    from podtrain.api import open_shards as open
    from podtrain.recommenders.base import Recommender, TrainableRecommender
    from podtrain.recommenders.registry import register
    from podtrain.run import Run

_PUBLIC = {
    **{name: ("podtrain.api", name) for name in ("baselines", "compare", "fit", "load", "models")},
    "open": ("podtrain.api", "open_shards"),
    "Run": ("podtrain.run", "Run"),
    "Recommender": ("podtrain.recommenders.base", "Recommender"),
    "TrainableRecommender": ("podtrain.recommenders.base", "TrainableRecommender"),
    "register": ("podtrain.recommenders.registry", "register"),
}

__all__ = [
    "Recommender",
    "Run",
    "TrainableRecommender",
    "__version__",
    "baselines",
    "compare",
    "fit",
    "load",
    "models",
    "open",
    "register",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'podtrain' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)
