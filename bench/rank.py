"""Time ranking the whole catalogue: exact scores against `generate` with 20 beams.

usage: python bench/rank.py RUN [--users 512] [--threads 1] [--json FILE]

Same weights, same users, same process, one after the other; figures are users per second of the
processor. The reference is what one would write today: transformers' `generate`, as many new
tokens as an item has, ten sequences returned.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from podtrain.data.stream import Batch
from podtrain.evaluate.decode import Asked
from podtrain.model.pod import Inputs
from podtrain.train.run import Run


def main() -> None:
    """Run both and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--users", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run = Run.open(args.run)
    asked = Asked.of(run, run.shards(), "cpu", "fp32")
    batches = list(asked.reader.split("sequential", "test", args.users).by_length(64))
    new_tokens = asked.reader.longest_item + 1

    def exact(batch: Batch) -> None:
        asked.catalogue_scores(batch)

    def generate(batch: Batch) -> None:
        with torch.inference_mode():
            embedded, mask = asked.model.embed(Inputs.of(batch, asked.device))
            asked.model.t5.generate(
                inputs_embeds=embedded,
                attention_mask=mask.long(),
                num_beams=20,
                num_return_sequences=10,
                max_new_tokens=new_tokens,
                early_stopping=True,
            )

    ways: dict[str, Callable[[Batch], None]] = {"exact": exact, "generate, 20 beams": generate}
    found = {name: rate(way, batches) for name, way in ways.items()}
    slowest = min(found.values())
    table = Table(title=f"{args.run}: {args.users} users, {args.threads} thread(s)")
    for column in ("", "users/s", "ratio"):
        table.add_column(column, justify="right" if column else "left")
    for name, value in found.items():
        table.add_row(name, f"{value:,.0f}", f"{value / slowest:.1f}")
    Console(width=80).print(table)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


def rate(way: Callable[[Batch], None], batches: list[Batch]) -> float:
    """Return users per second of the processor, after one batch to warm up."""
    way(batches[0])
    start = time.process_time()
    for batch in batches:
        way(batch)
    return sum(len(batch.user_id) for batch in batches) / (time.process_time() - start)


if __name__ == "__main__":
    main()
