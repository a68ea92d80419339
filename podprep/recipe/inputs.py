"""What a dataset is made from, as its manifest records it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podprep.contract.hashing import file_sha256
from podprep.recipe.lexicon import word_list_hashes
from podprep.recipe.options import BuildOptions, Protocol, Task
from podprep.recipe.templates import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything that decides the bytes of a dataset."""

    dataset: str
    options: BuildOptions
    templates: list[Template]
    dump: Path
    metadata: Path | None = None
    sentiment: Path | None = None

    @property
    def mines(self) -> bool:
        """Whether explanations are mined from the reviews."""
        return Task.EXPLANATION in self.options.tasks and self.sentiment is None

    def described(self) -> dict[str, Any]:
        """Return the inputs as the manifest records them, files by name, size and SHA-256."""
        options = self.options
        sources = {"dump": self.dump, "metadata": self.metadata, "sentiment": self.sentiment}
        pod = options.protocol is Protocol.POD
        return {
            "dataset": self.dataset,
            "reading": options.protocol,
            "seed": options.seed,
            "options": {
                name: getattr(options, name)
                for name in options.__dataclass_fields__
                if name not in ("protocol", "seed")
            },
            "tie_policy": "dump order" if pod else "keyed hash",
            "id_scheme": "first appearance" if pod else "keyed hash",
            "sources": [
                described_source(role, path) for role, path in sources.items() if path is not None
            ],
            **({"word_lists": word_list_hashes()} if self.mines else {}),
            "templates": [
                {"id": t.id, "task": t.task, "text": t.text, "bare": t.bare} for t in self.templates
            ],
        }


def described_source(role: str, path: Path) -> dict[str, Any]:
    """Return what the manifest records of a source file."""
    size, sha256 = path.stat().st_size, file_sha256(path)
    return {"role": role, "file": path.name, "bytes": size, "sha256": sha256}
