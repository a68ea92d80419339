"""The reference of bench/build.py: what a user would write today, in pandas and plain Python.

usage: python bench/reference/prep.py DUMP FOLDER [--rounds 4]

It does what the preprocessing scripts that come with published recommenders do: read the gzipped
dump line by line into a DataFrame, drop repeated purchases, peel to the 5-core, order each user's
purchases by time, number users and products by first appearance, leave the last two out, and draw
99 products that the user never bought for every validation and test purchase. With rounds it also
draws, that many times, what the published training loop draws for each user in an epoch: a segment
of the history, and a positive with 99 negatives.

It does not: mine explanations, write prompts and targets, keep rejected lines and an account of
what was dropped, hash its inputs and outputs, check types and ranges, or work in bounded memory
(all is held as Python objects). Its files are text: sequential.txt (with the numbers in
datamaps.json), negative.txt a split, and train.jsonl with the rounds.
"""

import argparse
import gzip
import itertools
import json
import random
import time
from pathlib import Path

import numpy as np
import pandas as pd

CORE = 5
NEGATIVES = 99


def read(dump: Path) -> pd.DataFrame:
    """Return the columns that matter of the reviews of a dump."""
    rows = []
    with gzip.open(dump, "rt", encoding="utf-8") as file:
        for line in file:
            review = json.loads(line)
            rows.append((review["reviewerID"], review["asin"], review["unixReviewTime"]))
    return pd.DataFrame(rows, columns=["user", "item", "time"])


def k_core(purchases: pd.DataFrame) -> pd.DataFrame:
    """Return the largest part in which every user and every product has `CORE` purchases."""
    purchases = purchases.drop_duplicates(["user", "item"])
    while True:
        before = len(purchases)
        for column in ("user", "item"):
            counts = purchases[column].map(purchases[column].value_counts())
            purchases = purchases[counts >= CORE]
        if len(purchases) == before:
            return purchases


def number(purchases: pd.DataFrame) -> tuple[dict[int, list[int]], dict[str, dict[str, int]]]:
    """Return the sequences by user number, and the numbers by name."""
    maps: dict[str, dict[str, int]] = {"user2id": {}, "item2id": {}}
    users, items = maps["user2id"], maps["item2id"]
    sequences = {}
    ordered = purchases.sort_values(["user", "time"], kind="stable")
    for user, bought in ordered.groupby("user", sort=False)["item"]:
        users[user] = len(users) + 1
        sequences[users[user]] = [items.setdefault(item, len(items) + 1) for item in bought]
    return sequences, maps


def frozen_negatives(sequences: dict[int, list[int]], n_items: int) -> dict[int, list[int]]:
    """Return 99 products a user that the user never bought."""
    every_item = np.arange(1, n_items + 1)
    negatives = {}
    for user, items in sequences.items():
        own = set(items)
        drawn: list[int] = []
        while len(drawn) < NEGATIVES:
            sample = np.random.choice(every_item, NEGATIVES, replace=False).tolist()
            drawn += [i for i in sample if i not in own and i not in drawn]
        negatives[user] = drawn[:NEGATIVES]
    return negatives


def training_samples(user: int, items: list[int], n_items: int) -> dict[str, object]:
    """Draw what one epoch of the published loop draws for a user."""
    train, own = items[:-2], set(items)
    start = random.randint(0, len(train) - 2)
    end = random.randint(start + 1, len(train) - 1)
    segment = train[start : end + 1][-21:]
    negatives: set[int] = set()
    while len(negatives) < NEGATIVES:
        item = random.randint(1, n_items)
        if item not in own:
            negatives.add(item)
    positive = random.choice(train)
    candidates = [*negatives, positive]
    random.shuffle(candidates)
    return {"user": user, "segment": segment, "positive": positive, "candidates": candidates}


def write_lines(path: Path, rows: dict[int, list[int]]) -> None:
    """Write `user item item ...` a line."""
    with path.open("w") as file:
        for user, items in rows.items():
            file.write(f"{user} {' '.join(map(str, items))}\n")


def prepare(dump: Path, folder: Path, rounds: int = 4) -> tuple[dict[str, float], list[int]]:
    """Do it all and return the seconds of each stage, and how many users and products are left."""
    random.seed(2022)
    np.random.seed(2022)
    marks = [("", time.perf_counter())]

    def mark(stage: str) -> None:
        marks.append((stage, time.perf_counter()))

    folder.mkdir(parents=True, exist_ok=True)
    purchases = read(dump)
    mark("read")
    purchases = k_core(purchases)
    mark("core")
    sequences, maps = number(purchases)
    write_lines(folder / "sequential.txt", sequences)
    (folder / "datamaps.json").write_text(json.dumps(maps))
    mark("sequences")
    n_items = len(maps["item2id"])
    for split in ("valid", "test"):
        write_lines(folder / f"negative.{split}.txt", frozen_negatives(sequences, n_items))
    mark("frozen negatives")
    with (folder / "train.jsonl").open("w") as file:
        for _ in range(rounds):
            for user, items in sequences.items():
                file.write(json.dumps(training_samples(user, items, n_items)) + "\n")
    mark("training draws")
    seconds = {name: end - start for (_, start), (name, end) in itertools.pairwise(marks)}
    return seconds, [len(sequences), n_items]


def main() -> None:
    """Run it and print as JSON what `prepare` returns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dump", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    print(json.dumps(prepare(args.dump, args.folder, args.rounds)))  # noqa: T201


if __name__ == "__main__":
    main()
