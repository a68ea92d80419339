"""From shards to batches, in an order that depends on (seed, task, epoch) and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from podprep.contract.errors import PodError
from podprep.contract.schema import EXPLANATIONS
from podprep.contract.shards import Shards
from podprep.contract.tasks import TASKS
from podtrain.data.tokens import SEPARATOR, Ints, Ragged, TokenizedPrompts, Tokens, filled

WINDOW_ROWS = 32_768  # samples shuffled together: as many whole row groups as reach this
# Bucketing by length: samples of so many batches are sorted by length, then cut into batches. 1% of
# the tokens are padding; with 32 batches to a bucket, 4%.
BUCKET_BATCHES = 128
# The longest text that the model learns to write: the longest of the sample has 44 tokens, of
# Beauty's stand-in texts 28. The paper cuts all to 20 (utils.py:237), and so cuts off their end.
TARGET_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one task, padded at the right.

    ids, whole_word_ids: (samples, longest prompt) tokens and the number of the id they belong to;
    mask: the same shape, True at tokens; labels: (samples, longest target), -100 at padding;
    user_id, item_id: (samples,); rows: (samples,) position of each sample in its split, -1 in
    training; n_targets: target tokens of the whole batch, also where this is one rank's part.
    """

    task: str
    ids: Ints
    whole_word_ids: Ints
    mask: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    user_id: Ints
    item_id: Ints
    rows: npt.NDArray[np.int64]
    n_targets: int

    def __len__(self) -> int:
        return len(self.user_id)


@dataclass(frozen=True, slots=True)
class Samples:
    """Tokenised samples of one task."""

    task: str
    prompts: TokenizedPrompts
    targets: Ragged
    user_id: Ints
    item_id: Ints

    def __len__(self) -> int:
        return len(self.user_id)

    def batch(
        self, rows: npt.NDArray[np.int64], part: slice = slice(None), place: bool = False
    ) -> Batch:
        """Return some samples, or a part of them, as a batch."""
        own = rows[part]
        at, mask = self.prompts.ids.grid(own)
        to, written = self.targets.grid(own)
        labels = np.where(written, filled(self.targets.values, to, written), np.int64(-100))
        return Batch(
            task=self.task,
            ids=filled(self.prompts.ids.values, at, mask),
            whole_word_ids=filled(self.prompts.whole_word_ids.values, at, mask),
            mask=mask,
            labels=labels,
            user_id=self.user_id[own],
            item_id=self.item_id[own],
            rows=own if place else np.full(len(own), -1),
            n_targets=int((self.targets.offsets[rows + 1] - self.targets.offsets[rows]).sum()),
        )

    def by_length(self, batch_size: int) -> Iterator[Batch]:
        """Yield all samples as batches, the longest first; each batch has its rows."""
        order = np.argsort(-self.prompts.ids.lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            yield self.batch(order[start : start + batch_size], place=True)


class SampleTokenizer:
    """Tokenises samples: prompts word by word, targets as the model shall generate them."""

    def __init__(self, shards: Shards, tokens: Tokens, end: int, *, plans: bool = False) -> None:
        """`end` is the end token of a target; with plans, an explanation's begins with its
        feature."""
        self.shards, self.tokens, self.end = shards, tokens, end
        self._features = features_of(shards) if plans else None
        items = tokens.items(shards.n_items)
        # if no item's tokens begin another's, an item's last token shows that it has ended
        self.items_need_end = not prefix_free(items)
        self.longest_item = int(items.lengths.max())
        self._items = _ended(items, end) if self.items_need_end else items

    def tokenize(self, task: str, table: pa.Table) -> Samples:
        """Tokenise the rows of a sample file."""
        item_id = table["item_id"].to_numpy()
        if task == "explanation":
            targets = _ended(self.tokens.texts(self._planned(table)), self.end)
        else:
            targets = self._items.take(item_id.astype(np.int64) - 1)
        return Samples(
            task=task,
            prompts=self.tokens.prompts(table["prompt"]),
            targets=targets,
            user_id=table["user_id"].to_numpy(),
            item_id=item_id,
        )

    def _planned(self, table: pa.Table) -> pa.ChunkedArray | list[str]:
        """Return the targets of explanations: with plans, "feature | sentence"."""
        if self._features is None:
            return table["target"]
        rows = zip(*(table[n].to_pylist() for n in ("user_id", "item_id", "target")), strict=True)
        return [f"{self._features[row]} {SEPARATOR} {row[2]}" for row in rows]

    def check(self, tasks: tuple[str, ...]) -> None:
        """Insist, on samples of each task, that words are tokenised apart. Errors: `PodError`."""
        for task in tasks:
            table = self.shards.table(self.shards.sample_files(task, "train")[0], ["prompt"])
            self.tokens.check(table["prompt"].slice(0, 8).to_pylist())

    def split(self, task: str, split: str, most: int | None = None) -> Samples:
        """Read the samples of a validation or test split, or `most` of them, evenly spaced."""
        return self.tokenize(
            task, self.shards.sample_table(task, split, columns=COLUMNS, most=most)
        )


COLUMNS = ["user_id", "item_id", "prompt", "target"]


def features_of(shards: Shards) -> dict[tuple[int, int, str], str]:
    """Return the feature of each explanation by user, item and sentence."""
    columns = ["user_id", "item_id", "sentence", "feature"]
    table = shards.table(EXPLANATIONS, columns)
    user, item, sentence, feature = (table[name].to_pylist() for name in columns)
    return dict(zip(zip(user, item, sentence, strict=True), feature, strict=True))


class TaskStream:
    """The endless training batches of one task: batch k is always the same.

    An epoch is the samples of a round, each once; rounds take turns. Row groups are permuted and
    read in windows. A window is shuffled and cut into buckets, a bucket is sorted by length and cut
    into batches, and all batches of the window are shuffled.
    """

    def __init__(self, tokenizer: SampleTokenizer, task: str, batch_size: int, seed: int) -> None:
        """Errors: `PodError` for a round without samples."""
        self.tokenizer, self.task, self.batch_size, self.seed = tokenizer, task, batch_size, seed
        shards = tokenizer.shards
        self._files = [
            shards.sample_files(task, "train", round_) for round_ in range(shards.rounds)
        ]
        if not all(sum(map(shards.rows, files)) for files in self._files):
            raise PodError(f"{shards.folder} has no {task} samples to train on")
        self._groups = lru_cache(maxsize=None)(self._list_groups)
        self._epoch_batches = lru_cache(maxsize=None)(self._count_batches)

    def batches_in_epoch(self, epoch: int) -> int:
        """Return how many batches an epoch has."""
        return self._epoch_batches(epoch)

    def batches(
        self, start: int = 0, step: int = 1, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        """Yield batches start, start + step, ...; of each, the part of one rank.

        step: of several workers that take batches in turn, worker w of n has start + w and n.
        rank: of the processes that share each batch; it has samples rank, rank + world_size, ...
        """
        epoch, first = 0, 0
        while first + self.batches_in_epoch(epoch) <= start:
            first += self.batches_in_epoch(epoch)
            epoch += 1
        wanted = start
        while True:
            for n, window in enumerate(self._windows(epoch)):
                last = first + self._batches(sum(rows for *_, rows in window))
                if wanted < last:
                    samples, order = self._read(epoch, n, window)
                    while wanted < last:
                        yield samples.batch(order[wanted - first], slice(rank, None, world_size))
                        wanted += step
                first = last
            epoch += 1

    def _count_batches(self, epoch: int) -> int:
        return sum(self._batches(sum(r for *_, r in w)) for w in self._windows(epoch))

    def _batches(self, rows: int) -> int:
        return -(-rows // self.batch_size)

    def _list_groups(self, round_: int) -> list[tuple[str, int, int]]:
        """Return file, number and rows of each row group: enough to find any batch."""
        return [
            (name, group, rows)
            for name in self._files[round_]
            for group, rows in enumerate(self.tokenizer.shards.row_groups(name))
        ]

    def _windows(self, epoch: int) -> list[list[tuple[str, int, int]]]:
        groups = self._groups(epoch % len(self._files))
        windows: list[list[tuple[str, int, int]]] = []
        filled = WINDOW_ROWS
        for i in self._rng(epoch, 0).permutation(len(groups)):
            if filled >= WINDOW_ROWS:
                windows.append([])
                filled = 0
            windows[-1].append(groups[i])
            filled += groups[i][2]
        return windows

    def _read(
        self, epoch: int, number: int, window: list[tuple[str, int, int]]
    ) -> tuple[Samples, list[npt.NDArray[np.int64]]]:
        """Return a window's samples and the rows of each of its batches."""
        files: dict[str, list[int]] = {}
        for name, group, _ in window:
            files.setdefault(name, []).append(group)
        tables = [
            self.tokenizer.shards.open_file(name).read_row_groups(sorted(groups), columns=COLUMNS)
            for name, groups in sorted(files.items())
        ]
        samples = self.tokenizer.tokenize(self.task, pa.concat_tables(tables))
        rng = self._rng(epoch, 1 + number)
        rows = rng.permutation(len(samples))
        lengths = samples.prompts.ids.lengths
        # Sentences vary in length as much as prompts, and padding a target costs more: sorted by
        # target, then by prompt, 11% of Beauty's tokens are padding; by the sum of both, 29%. The
        # targets of the other tasks, items, are equally long.
        weight = 1 + int(lengths.max()) if self.task == "explanation" else 1
        lengths = lengths + weight * samples.targets.lengths
        batches = []
        for start in range(0, len(rows), BUCKET_BATCHES * self.batch_size):
            bucket = rows[start : start + BUCKET_BATCHES * self.batch_size]
            bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
            batches += np.split(bucket, range(self.batch_size, len(bucket), self.batch_size))
        return samples, [batches[i] for i in rng.permutation(len(batches))]

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, TASKS.index(self.task), *key])


def prefix_free(rows: Ragged) -> bool:
    """Return whether no row is a prefix of another."""
    listed = sorted(row.tolist() for row in map(rows.row, range(len(rows))))
    return all(after[: len(row)] != row for row, after in pairwise(listed))


def _ended(targets: Ragged, end: int) -> Ragged:
    """Cut targets to `TARGET_TOKENS`, the end token that each gets included."""
    lengths = np.minimum(targets.lengths, TARGET_TOKENS - 1) + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = np.full(offsets[-1], end, np.int32)
    inside = np.ones(offsets[-1], bool)
    inside[offsets[1:] - 1] = False
    kept = np.arange(len(targets.values)) - np.repeat(targets.offsets[:-1], targets.lengths)
    values[inside] = targets.values[kept < np.repeat(lengths - 1, targets.lengths)]
    return Ragged(values, offsets)
