"""Streams: every sample once an epoch, and the same batches however the work is cut and stopped."""

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.reference.stream import Collate, PromptDataset, loader
from podprep.contract.errors import PodError
from podprep.contract.manifest import read_manifest, write_manifest
from podprep.contract.schema import SCHEMAS, sample_path
from podprep.contract.shards import Shards
from podprep.contract.tasks import TASKS
from podprep.contract.writing import write_parquet
from podprep.engine import Machine
from podprep.raw.sample import write_sample
from podprep.recipe.inputs import Inputs
from podprep.recipe.options import BuildOptions
from podprep.recipe.pipeline import build
from podprep.recipe.templates import load_templates
from podtrain.data import stream
from podtrain.data.stream import Batch, Samples, SampleTokenizer, TaskStream, prefix_free
from podtrain.data.tokenizer import learn
from podtrain.data.tokens import Ragged, Tokens, ragged
from podtrain.recommenders.pod.model import Inputs as ModelInputs

ROUNDS, ROWS, END = 2, 50, 1
# rows in a file, in a row group, in a window; a pool is 2 batches in all of them
CUTS = {
    "one window": (ROWS, ROWS, 32_768),
    "files, groups, windows": (13, 5, 7),
    "windows of one group": (ROWS, 3, 1),
}
Make = Callable[..., TaskStream]
Sample = tuple[int, int, list[int], list[int], list[int]]  # user, item, ids, whole, target


def build_sample(folder: Path) -> Shards:
    write_sample(folder / "sample.json.gz")
    inputs = Inputs(
        dataset="sample",
        options=BuildOptions(rounds=ROUNDS),
        templates=load_templates(),
        dump=folder / "sample.json.gz",
    )
    machine = Machine(threads=1, memory=1 << 30)
    build(inputs, machine, folder / "shards", progress=lambda *_: None)
    return Shards.open(folder / "shards")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return build_sample(tmp_path_factory.mktemp("sample"))


def reader_of(shards: Shards, id_digits: int = 0) -> SampleTokenizer:
    tokenizer, _ = learn(shards, shards.tasks, id_digits)
    return SampleTokenizer(shards, Tokens(tokenizer, "item_{}"), END)


@pytest.fixture(scope="module")
def readers(sample: Shards, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SampleTokenizer]:
    """Of the first training samples of the sample, in files and row groups of several sizes."""
    tokens, made = reader_of(sample).tokens, {}
    for name, (part_rows, group_rows, _) in CUTS.items():
        folder = tmp_path_factory.mktemp("cut")
        manifest = read_manifest(sample.folder)
        manifest["files"] = {k: v for k, v in manifest["files"].items() if "split=train" not in k}
        for task in TASKS:
            for round_ in range(ROUNDS):
                table = sample.sample_table(task, "train", round_).slice(0, ROWS)
                for part, first in enumerate(range(0, ROWS, part_rows)):
                    path = sample_path(task, "train", round_, part)
                    rows = [table.slice(first, part_rows)]
                    file = write_parquet(folder, path, SCHEMAS[task], rows, group_rows)
                    entry = asdict(file)
                    manifest["files"][entry.pop("path")] = entry
        write_manifest(folder, manifest)
        made[name] = SampleTokenizer(Shards.open(folder), tokens, END)
    return made


@pytest.fixture(params=CUTS)
def make(
    request: pytest.FixtureRequest,
    readers: dict[str, SampleTokenizer],
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    """Return a function that makes a stream over one of the cuts."""
    monkeypatch.setattr(stream, "WINDOW_ROWS", CUTS[request.param][2])
    monkeypatch.setattr(stream, "BUCKET_BATCHES", 2)
    return lambda task, size=4, seed=0: TaskStream(readers[request.param], task, size, seed)


def samples_of(batch: Batch) -> list[Sample]:
    """A batch without its pads, which must stand at the right and say that they are pads."""
    found = []
    for row in range(len(batch.user_id)):
        n, target = int(batch.mask[row].sum()), batch.labels[row]
        assert batch.mask[row, :n].all()
        assert not batch.ids[row, n:].any()
        assert not batch.whole_word_ids[row, n:].any()
        m = int((target != -100).sum())
        assert (target[m:] == -100).all()
        who = int(batch.user_id[row]), int(batch.item_id[row])
        tokens = (
            a.tolist() for a in (batch.ids[row, :n], batch.whole_word_ids[row, :n], target[:m])
        )
        found.append((*who, *tokens))
    if found:  # no column without a token
        longest = [max(len(sample[i]) for sample in found) for i in (2, 3, 4)]
        arrays = (batch.ids, batch.whole_word_ids, batch.labels)
        assert [a.shape for a in arrays] == [(len(found), n) for n in longest]
    return found


def plainly(reader: SampleTokenizer, table: pa.Table, closed: bool) -> list[Sample]:
    """The samples of a table: prompts and targets tokenised whole."""
    found = []
    for row in table.to_pylist():
        explained = "history" not in row and "candidates" not in row
        texts = [row["prompt"], row["target"] if explained else f"item_{row['item_id']}"]
        ids, target = reader.tokens.tokenizer(texts, add_special_tokens=False)["input_ids"]
        whole = reader.tokens.prompts(texts[:1]).whole_word_ids.row(0).tolist()
        found.append((row["user_id"], row["item_id"], ids, whole, target + [END] * closed))
    return found


def epochs(made: TaskStream, n: int) -> list[list[Batch]]:
    batches = made.batches()
    return [list(islice(batches, made.batches_in_epoch(epoch))) for epoch in range(n)]


@cache
def first_batches(reader: SampleTokenizer, task: str, n: int) -> list[Batch]:
    """A stream of seed 0 that nothing interrupts."""
    return list(islice(TaskStream(reader, task, 4, 0).batches(), n))


def users(batches: list[Batch]) -> list[int]:
    return [int(user) for batch in batches for user in batch.user_id]


@pytest.mark.parametrize("task", TASKS)
def test_an_epoch_has_every_sample_of_its_round_once(make: Make, task: str) -> None:
    made = make(task)
    reader, closed = made.tokenizer, task == "explanation"
    tables = [reader.shards.sample_table(task, "train", round_) for round_ in range(ROUNDS)]
    rounds = [Counter(map(str, plainly(reader, table, closed))) for table in tables]
    for epoch, batches in enumerate(epochs(made, 2 * ROUNDS)):
        assert all(1 <= len(batch.user_id) <= 4 for batch in batches)
        assert {batch.task for batch in batches} == {task}
        assert {row for batch in batches for row in batch.rows} == {-1}
        seen = Counter(str(s) for batch in batches for s in samples_of(batch))
        assert seen == rounds[epoch % ROUNDS]
    if not closed:
        assert rounds[0] != rounds[1]  # or the order of rounds is not seen


def test_the_order_is_a_function_of_seed_task_and_epoch(make: Make) -> None:
    first = [users(batches) for batches in epochs(make("topn"), 2 * ROUNDS)]
    np.random.seed(1)  # no hidden state has a say
    assert [users(batches) for batches in epochs(make("topn"), 2 * ROUNDS)] == first
    orders = [
        *first,
        users(epochs(make("sequential"), 1)[0]),
        users(epochs(make("topn", seed=1), 1)[0]),
    ]
    assert len({tuple(sorted(order)) for order in orders}) == 1  # a user has one sample in each
    assert len(set(map(tuple, orders))) == len(orders)
    # not only within a window: what comes first moves all over the files
    assert len({frozenset(order[:5]) for order in orders}) == len(orders)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(TASKS), st.integers(0, 60), st.integers(1, 5), st.integers(1, 6), st.data())
def test_stopped_and_shared_work_is_the_same_work(
    make: Make, task: str, start: int, workers: int, ranks: int, data: Any
) -> None:
    """Any worker's and any rank's share, from any batch of more than four epochs on."""
    worker, rank = (data.draw(st.integers(0, n - 1)) for n in (workers, ranks))
    whole = first_batches(make(task).tokenizer, task, 66)
    own = whole[start + worker :: workers]
    shared = make(task).batches(start + worker, workers, rank, ranks)
    for batch in own:
        part = next(shared)
        assert samples_of(part) == samples_of(batch)[rank::ranks]
        assert part.n_targets == batch.n_targets
        assert batch.n_targets == sum(len(target) for *_, target in samples_of(batch))


@pytest.mark.parametrize("task", TASKS)
def test_a_step_longer_than_an_epoch_skips_it(make: Make, task: str) -> None:
    sizes = [make(task).batches_in_epoch(epoch) for epoch in range(4)]
    assert (len(set(sizes)) > 1) == (stream.WINDOW_ROWS == 7)  # windows differ in size there
    step = 3 * sizes[0] + 1
    whole = list(islice(make(task).batches(), 2 * step + 1))
    skipping = list(islice(make(task).batches(0, step), 3))
    assert [samples_of(b) for b in skipping] == [samples_of(whole[i]) for i in (0, step, 2 * step)]


def pads_read(batches: list[Batch]) -> float:
    return 1 - sum(int(b.mask.sum()) for b in batches) / sum(b.mask.size for b in batches)


def pads(batches: list[Batch]) -> float:
    """The share of positions, read or to be written, that hold no token."""
    held = sum(int(b.mask.sum() + (b.labels >= 0).sum()) for b in batches)
    return 1 - held / sum(b.mask.size + b.labels.size for b in batches)


# An epoch of the sample is 430 sequences: 64 a batch, all sorted, have 16 % pads; by chance 44 %.
@pytest.mark.parametrize(
    ("task", "size", "most"),
    [
        ("sequential", 64, 0.18),
        ("sequential", 16, 0.05),
        ("topn", 64, 0.01),
        ("explanation", 64, 0.27),
    ],
)
def test_few_pads(
    sample: Shards, monkeypatch: pytest.MonkeyPatch, task: str, size: int, most: float
) -> None:
    reader = reader_of(sample)
    [batches] = epochs(TaskStream(reader, task, size, 0), 1)
    assert pads(batches) < most
    lengths = [batch.ids.shape[1] for batch in batches]
    assert lengths not in (sorted(lengths), sorted(lengths)[::-1])  # short and long ones mixed
    monkeypatch.setattr(stream, "BUCKET_BATCHES", 1)
    assert pads(epochs(TaskStream(reader, task, size, 0), 1)[0]) > 1.5 * pads(batches)


@pytest.mark.parametrize("id_digits", [0, 1, 3])
def test_an_item_is_closed_only_where_another_begins_so(sample: Shards, id_digits: int) -> None:
    reader = reader_of(sample, id_digits)
    items = reader.tokens.items(sample.n_items)
    assert reader.items_need_end == (id_digits == 1)  # item_1 and item_12; 3 digits hold all 239
    assert reader.longest_item == (3 if id_digits == 1 else 1)
    for task in TASKS:
        closed = reader.items_need_end or task == "explanation"
        table = sample.sample_table(task, "test").slice(0, 40)
        read = reader.tokenize(task, table)
        batch = read.batch(np.arange(len(read)), place=True)
        assert samples_of(batch) == plainly(reader, table, closed)
        assert np.array_equal(batch.rows, np.arange(len(read)))
        if task != "explanation":
            rows = [items.row(i - 1).tolist() for i in table["item_id"].to_pylist()]
            assert [s[-1][: len(r)] for s, r in zip(samples_of(batch), rows, strict=True)] == rows


@pytest.mark.parametrize("id_digits", [0, 1])
@pytest.mark.parametrize("task", TASKS)
def test_batches_equal_those_of_the_reference(sample: Shards, task: str, id_digits: int) -> None:
    """What bench/stream.py is measured against makes the same tensors of the same samples."""
    reader, rows = reader_of(sample, id_digits), np.arange(40, 100)
    closed = reader.items_need_end or task == "explanation"
    dataset = PromptDataset(sample, task)
    expected = Collate(reader.tokens.tokenizer, task, closed)([dataset[i] for i in rows.tolist()])
    table = sample.sample_table(task, "train")
    found = ModelInputs.of(reader.tokenize(task, table).batch(rows), torch.device("cpu"))
    for name, tensor in expected.items():
        assert torch.equal(getattr(found, name), tensor), name
    drawn = [
        b["user"].tolist()
        for b in loader(dataset, Collate(reader.tokens.tokenizer, task, closed), 64)
    ]
    users = table["user_id"].to_pylist()
    assert sorted(chain(*drawn)) == sorted(users)
    assert drawn[0] != users[:64]


def test_a_long_explanation_is_cut_and_still_ends(sample: Shards) -> None:
    reader = reader_of(sample)
    words = [0, 1, stream.TARGET_TOKENS - 2, stream.TARGET_TOKENS - 1, stream.TARGET_TOKENS, 300]
    texts = [" ".join(["great"] * n) for n in words]
    table = sample.sample_table("explanation", "train").slice(0, len(words)).drop_columns("target")
    read = reader.tokenize("explanation", table.append_column("target", pa.array(texts)))
    [great] = reader.tokens.texts(["great"]).row(0).tolist()
    for row, n in enumerate(words):
        kept = min(n, stream.TARGET_TOKENS - 1)
        assert read.targets.row(row).tolist() == [great] * kept + [END]


def test_by_length_gives_each_row_once_with_its_place(sample: Shards) -> None:
    for task in TASKS:
        samples = reader_of(sample).split(task, "valid")
        table = sample.sample_table(task, "valid")
        whole = samples_of(samples.batch(np.arange(len(samples))))
        assert [(s[0], s[1]) for s in whole] == list(
            zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True)
        )
        batches = list(samples.by_length(48))
        places = [int(row) for batch in batches for row in batch.rows]
        assert sorted(places) == list(range(len(table)))
        assert [s for batch in batches for s in samples_of(batch)] == [whole[p] for p in places]
        widths = [batch.ids.shape[1] for batch in batches]
        assert widths == sorted(widths, reverse=True)
        assert pads_read(batches) < 0.2


@pytest.mark.parametrize("most", [1, 2, 7, 100, 269, 270, 1000])
def test_a_part_of_a_split_is_an_even_choice(sample: Shards, most: int) -> None:
    reader = reader_of(sample)
    whole, part = (reader.split("explanation", "valid", m) for m in (None, most))
    assert len(whole) == 270
    assert len(part) == min(most, 270)

    def pairs(samples: Samples) -> list[tuple[int, int]]:
        return list(zip(samples.user_id.tolist(), samples.item_id.tolist(), strict=True))

    places = [pairs(whole).index(pair) for pair in pairs(part)]
    gaps = np.diff(places)
    assert places[0] == 0
    assert most == 1 or places[-1] == 269
    assert most == 1 or gaps.min() >= max(1, gaps.max() - 1)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("most", [1, 2, 3, 13, 37, 49, 50, 51])
def test_an_even_choice_does_not_depend_on_the_files(
    readers: dict[str, SampleTokenizer], cut: str, most: int
) -> None:
    shards, columns = readers[cut].shards, ["item_id", "user_id"]
    whole = readers["one window"].shards.sample_table("topn", "train", 1).select(columns)
    chosen = np.linspace(0, ROWS - 1, min(most, ROWS)).astype(np.int64)
    assert shards.sample_table("topn", "train", 1, columns, most).equals(whole.take(chosen))
    assert shards.sample_table("topn", "train", 1, columns).equals(whole)


def test_a_stream_without_samples_is_refused(
    readers: dict[str, SampleTokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = readers["one window"]
    lacking = {k: v for k, v in reader.shards.manifest["files"].items() if "topn" not in k}
    monkeypatch.setitem(reader.shards.manifest, "files", lacking)
    with pytest.raises(PodError, match=r"has no topn samples to train on"):
        TaskStream(reader, "topn", 4, 0)


def test_only_what_is_read_is_hashed_and_before_it_is_used(
    sample: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream starts from footers; a file that was changed is refused when its turn comes."""
    folder = tmp_path / "copied"
    shutil.copytree(sample.folder, folder)
    shards = Shards.open(folder)
    first, second = (shards.sample_files("topn", "train", n)[0] for n in range(ROUNDS))
    reader, opened, open_file = (
        SampleTokenizer(shards, reader_of(sample).tokens, END),
        [],
        Shards.open_file,
    )

    def noting(self: Shards, name: str) -> pq.ParquetFile:
        opened.append(name)
        return open_file(self, name)

    monkeypatch.setattr(Shards, "open_file", noting)
    path = folder / second
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    made = TaskStream(reader, "topn", 64, 0)
    epoch, batches = made.batches_in_epoch(0), made.batches()
    assert made.batches_in_epoch(1) == epoch
    assert opened == []
    assert len(list(islice(batches, epoch))) == epoch
    assert opened == [first]
    with pytest.raises(PodError, match="was changed after the build") as error:
        next(batches)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("harm", ["cut short", "missing", "other rows"])
def test_a_footer_that_does_not_agree_is_refused_at_once(
    sample: Shards, tmp_path: Path, harm: str
) -> None:
    folder = tmp_path / "copied"
    shutil.copytree(sample.folder, folder)
    path = folder / sample.sample_files("topn", "train", 1)[0]
    if harm == "missing":
        path.unlink()
    elif harm == "cut short":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        pq.write_table(pq.ParquetFile(path).read().slice(1), path)
    made = TaskStream(
        SampleTokenizer(Shards.open(folder), reader_of(sample).tokens, END), "topn", 64, 0
    )
    with pytest.raises(PodError, match="is missing" if harm == "missing" else "was changed"):
        made.batches_in_epoch(1)


rows_of_tokens = st.lists(st.lists(st.integers(1, 3), max_size=5), max_size=12)
laws = settings(max_examples=100, deadline=None, derandomize=True)


@laws
@given(rows_of_tokens, st.data())
def test_ragged_rows_equal_lists(rows: list[list[int]], data: Any) -> None:
    made = ragged(rows)

    def listed(rows: Ragged) -> list[list[int]]:
        return [rows.row(i).tolist() for i in range(len(rows))]

    assert listed(made) == rows
    assert made.lengths.tolist() == [len(row) for row in rows]
    chosen = data.draw(
        st.lists(st.integers(0, len(rows) - 1), max_size=15) if rows else st.just([])
    )
    taken = made.take(np.array(chosen, np.int64))
    assert listed(taken) == [rows[i] for i in chosen]
    width = max((len(rows[i]) for i in chosen), default=0)
    padded = taken.padded()
    assert padded.shape == (len(chosen), width)
    assert padded.tolist() == [rows[i] + [0] * (width - len(rows[i])) for i in chosen]


@laws
@given(rows_of_tokens)
def test_prefix_free_equals_trying_all_pairs(rows: list[list[int]]) -> None:
    begins = any(
        row == other[: len(row)]
        for i, row in enumerate(rows)
        for j, other in enumerate(rows)
        if i != j
    )
    assert prefix_free(ragged(rows)) == (not begins)


@laws
@given(rows_of_tokens, st.integers(1, 6))
def test_closing_targets_equals_lists(rows: list[list[int]], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "TARGET_TOKENS", most)
        ended = stream._ended(ragged(rows), 9)
    assert [ended.row(i).tolist() for i in range(len(ended))] == [
        [*row[: most - 1], 9] for row in rows
    ]
