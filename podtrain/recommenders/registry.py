"""Recommenders by name. What is listed here is imported when it is asked for."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from podprep.contract.errors import PodError

T = TypeVar("T", bound=type)


@dataclass(frozen=True, slots=True)
class Entry:
    """A recommender by name. cls, options: MODULE:NAME of its class and of its options; options is
    empty for one that is not trained."""

    name: str
    tasks: tuple[str, ...]
    summary: str
    cls: str
    options: str = ""

    @property
    def trained(self) -> bool:
        """Whether `podtrain fit` makes it; the others are baselines that count."""
        return bool(self.options)

    def load(self) -> Any:
        """Return its class."""
        return _attribute(self.cls)

    def load_options(self) -> Any:
        """Return the class of its options: importing it loads no torch."""
        return _attribute(self.options)


_RANKING = ("sequential", "topn")
_COUNTED = "podtrain.recommenders.baselines"
_TEXT = ("explanation",)
_SAID = "podtrain.recommenders.sentences"
_ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "pod",
            ("sequential", "topn", "explanation"),
            "T5 with distilled soft prompts (Li et al., CIKM 2023)",
            "podtrain.recommenders.pod.recommender:PodRecommender",
            "podtrain.recommenders.pod.options:PodOptions",
        ),
        Entry(
            "frequent-sentence", _TEXT, "the most frequent sentence", f"{_SAID}:FrequentSentence"
        ),
        Entry("item-sentence", _TEXT, "the item's most typical sentence", f"{_SAID}:ItemSentence"),
        Entry(
            "chosen-sentence",
            _TEXT,
            "the item's best sentence for the user",
            f"{_SAID}:ChosenSentence",
        ),
        Entry(
            "neighbour-sentence",
            _TEXT,
            "the same of the nearest item bought",
            f"{_SAID}:NeighbourSentence",
        ),
        Entry("popularity", _RANKING, "what is bought most", f"{_COUNTED}:Popularity"),
        Entry(
            "max+1", _RANKING, "the number after the history's largest", f"{_COUNTED}:MaxPlusOne"
        ),
        Entry(
            "last+1", _RANKING, "that, then the number after the last", f"{_COUNTED}:LastPlusOne"
        ),
        Entry("markov", _RANKING, "what follows the last purchase", f"{_COUNTED}:Markov"),
        Entry("item-knn", _RANKING, "what is bought near the latest ones", f"{_COUNTED}:ItemKnn"),
    )
}


def register(cls: T) -> T:
    """Make a trained recommender known by its `name`; for use as a decorator."""
    known: Any = cls
    name, options = known.name, known.options_class
    _ENTRIES[name] = Entry(
        name,
        tuple(sorted(known.tasks)),
        (known.__doc__ or "").partition("\n")[0],
        f"{known.__module__}:{known.__qualname__}",
        f"{options.__module__}:{options.__qualname__}",
    )
    _REGISTERED[_ENTRIES[name].cls] = cls
    _REGISTERED[_ENTRIES[name].options] = options
    return cls


_REGISTERED: dict[str, Any] = {}


def entries() -> list[Entry]:
    """Return all that is known, trained recommenders first."""
    return sorted(_ENTRIES.values(), key=lambda entry: not entry.trained)


def entry(name: str) -> Entry:
    """Return one by name. Errors: `PodError` for an unknown name."""
    if name not in _ENTRIES:
        raise PodError(f"--model {name}: choose from {', '.join(_ENTRIES)}")
    return _ENTRIES[name]


def _attribute(where: str) -> Any:
    if where in _REGISTERED:
        return _REGISTERED[where]
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)
