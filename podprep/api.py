"""What the commands do, as functions: `import podprep` offers all of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from podprep.dataset import Dataset
from podprep.raw.datasets import DATASETS, Source, data_folder, every_dataset, resolve
from podprep.recipe.options import (
    DEFAULTS,
    BuildOptions,
    Duplicates,
    NegativeSampling,
    Protocol,
    Segments,
    member,
    parse_tasks,
)

if TYPE_CHECKING:
    from podprep.ask.query import Question
    from podprep.audit.leaks import Audit
    from podprep.audit.verify import Verification
    from podprep.engine import Progress

PathLike = Path | str


def build(
    dataset: str,
    *,
    out: PathLike = "shards",
    raw: PathLike | None = None,
    meta: PathLike | None = None,
    compat: str | None = None,
    tasks: str | Iterable[str] = DEFAULTS.tasks,
    seed: int = DEFAULTS.seed,
    core: int = DEFAULTS.core,
    negatives: int = DEFAULTS.negatives,
    negative_sampling: str = DEFAULTS.negative_sampling,
    segments: str = DEFAULTS.segments,
    history: int = DEFAULTS.history,
    rounds: int = DEFAULTS.rounds,
    duplicates: str | None = None,
    templates: PathLike | None = None,
    sentiment: PathLike | None = None,
    max_bad: float = DEFAULTS.max_bad,
    memory: str | None = None,
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Build a dataset at `out` from a dump of reviews, and open it.

    The options are those of `podprep build`; the dump is looked for, generated or downloaded
    unless `raw` names it. Errors: `PodError` for whatever a user can mend.

    >>> ds = podprep.build("sample", out="small", tasks="sequential", rounds=1)
    >>> ds.n_users, ds.tasks
    (430, ('sequential',))
    >>> podprep.build("sample", out="small", core=500)
    Traceback (most recent call last):
    podprep.contract.errors.PodError: small holds another dataset: --force replaces it, ...
    """
    from podprep.engine import Machine
    from podprep.raw.sources import provide
    from podprep.recipe import pipeline
    from podprep.recipe.inputs import Inputs
    from podprep.recipe.templates import load_templates

    machine = Machine.of(threads, memory)
    options = BuildOptions(
        protocol=Protocol.of(compat),
        tasks=parse_tasks(tasks),
        seed=seed,
        core=core,
        negatives=negatives,
        negative_sampling=member(NegativeSampling, "negative_sampling", negative_sampling),
        segments=member(Segments, "segments", segments),
        history=history,
        rounds=rounds,
        duplicates=member(Duplicates, "duplicates", duplicates) if duplicates else None,
        max_bad=max_bad,
    )
    wording = load_templates(_path(templates))
    source = resolve(dataset)
    dump, metadata = provide(source, _path(raw), _path(meta))
    inputs = Inputs(
        dataset=source.name,
        options=options,
        templates=wording,
        dump=dump,
        metadata=metadata,
        sentiment=_path(sentiment),
    )
    pipeline.build(inputs, machine, Path(out), force=force, progress=progress)
    return Dataset.open(out)


def import_folder(
    folder: PathLike,
    layout: str,
    *,
    out: PathLike = "shards",
    dataset: str | None = None,
    compat: str | None = None,
    tasks: str | Iterable[str] | None = None,
    seed: int = DEFAULTS.seed,
    negatives: int = DEFAULTS.negatives,
    history: int = DEFAULTS.history,
    rounds: int = DEFAULTS.rounds,
    templates: PathLike | None = None,
    max_bad: float = DEFAULTS.max_bad,
    memory: str | None = None,
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Make a dataset at `out` from a folder in the layout `pod` or `recbole`, and open it.

    Its ids, order, split and negatives stay. Errors: `PodError` that names file and line.

    >>> ds.export("pod", "published")[0].name
    'sequential.txt'
    >>> podprep.import_folder("published", "pod", out="again", rounds=1).n_items == ds.n_items
    True
    """
    from podprep.engine import Machine
    from podprep.exchange import imports
    from podprep.recipe.templates import load_templates

    machine = Machine.of(threads, memory)
    inputs = imports.folder_inputs(
        Path(folder),
        layout,
        load_templates(_path(templates)),
        name=dataset,
        protocol=Protocol.of(compat),
        tasks=None if tasks is None else parse_tasks(tasks),
        seed=seed,
        negatives=negatives,
        history=history,
        rounds=rounds,
        max_bad=max_bad,
    )
    imports.import_folder(inputs, machine, Path(out), force=force, progress=progress)
    return Dataset.open(out)


def open(folder: PathLike) -> Dataset:
    """Open a dataset: its seal is checked now, each file is hashed when it is first read.

    >>> podprep.open("shards")
    Dataset('shards': sample, clean protocol, 430 users, 239 items)
    """
    return Dataset.open(folder)


def verify(
    folder: PathLike,
    *,
    rebuild: bool = False,
    raw: PathLike | None = None,
    meta: PathLike | None = None,
    sentiment: PathLike | None = None,
    memory: str = "2GB",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check every byte and every invariant of a folder that `open` may refuse.

    rebuild: build it again from its sources, and compare byte for byte. Errors: `PodError`.

    >>> podprep.verify("shards").faults
    0
    """
    from podprep.audit.rebuild import rebuild as build_again
    from podprep.audit.verify import verify as check
    from podprep.engine import Machine

    machine = Machine.of(threads, memory)
    found = check(Path(folder), machine)
    if rebuild:
        given = {"dump": _path(raw), "metadata": _path(meta), "sentiment": _path(sentiment)}
        named = {role: path for role, path in given.items() if path is not None}
        found.invariants.append(build_again(Path(folder), named, machine, progress))
    return found


def audit_folder(path: PathLike, *, memory: str = "2GB", threads: int | None = None) -> Audit:
    """Look for leaks in a dataset, in a folder that was published, or in one file of sequences.

    >>> podprep.audit_folder("shards").leaks
    0
    """
    from podprep.audit.leaks import audit
    from podprep.engine import Machine

    return audit(Path(path), Machine.of(threads, memory))


def questions() -> dict[str, Question]:
    """Return the ready questions by name; `Dataset.question` answers them.

    >>> podprep.questions()["split-sizes"].title
    'How large are the splits?'
    """
    from podprep.ask.query import ready_questions

    return ready_questions()


def datasets(*, every: bool = False) -> list[Source]:
    """Return the datasets that have a name; `every`: each category of each release.

    >>> [source.name for source in podprep.datasets()]
    ['beauty', 'sports', 'toys', 'sample']
    """
    return every_dataset() if every else list(DATASETS.values())


def fetch(dataset: str, *, meta: bool = False) -> Path:
    """Download a dump (or its metadata) to data/ or $PODPREP_DATA, and return its path.

    Errors: `PodError` where it cannot be had or is not the expected file.
    """
    from podprep.raw.fetch import fetch as download

    return download(resolve(dataset), data_folder(), meta=meta)


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)
