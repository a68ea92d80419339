"""Where the files of a dataset come from: found, generated or downloaded."""

import os
from pathlib import Path

from podprep.contract.errors import PodError
from podprep.raw.datasets import DATA_VARIABLE, Source, data_folder, locate, resolve
from podprep.raw.fetch import fetch
from podprep.raw.sample import write_sample, write_sample_meta


def provide(dataset: Source, raw: Path | None, meta: Path | None) -> tuple[Path, Path | None]:
    """The dump and the metadata to build from: found, generated or downloaded, in this order.

    The sample always comes with its metadata; another dataset only where `meta` names it, so that
    a file that happens to lie about changes nothing.
    """
    if dataset.url is None and raw is None:
        return make_sample(data_folder())
    found = locate(dataset, raw)
    return found or fetch(dataset, data_folder()), locate(dataset, meta) if meta else None


def make_sample(folder: Path) -> tuple[Path, Path]:
    """Generate the sample's dump and metadata in `folder`."""
    dataset = resolve("sample")
    made = []
    for name, write in ((dataset.file, write_sample), (dataset.meta_file, write_sample_meta)):
        path = folder / name
        part = path.with_name(f".{name}.{os.getpid()}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write(part)
            part.replace(path)
        except OSError as error:
            message = f"cannot write {path}: {error.strerror}; set ${DATA_VARIABLE} elsewhere"
            raise PodError(message) from error
        made.append(path)
    return made[0], made[1]
