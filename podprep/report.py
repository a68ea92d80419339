"""What people read: tables on a terminal, one-line progress, sizes in words."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from podprep.raw.datasets import CATEGORIES, Dataset, locate, search_paths

if TYPE_CHECKING:
    from podprep.engine import Progress as Report


@contextmanager
def stage_progress() -> "Iterator[Report]":
    """Yield a function that shows the stage at work; silent where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                for task in tasks.values():
                    bar.update(task, total=1, completed=1)
                tasks[stage] = bar.add_task(stage, total=None, done="")
            count = f"{done:,} of {total:,}" if total else f"{done:,}" if done else ""
            bar.update(tasks[stage], total=total or None, completed=done, done=count)

        yield report
        for task in tasks.values():
            bar.update(task, total=1, completed=1)


def accounting_table(manifest: dict[str, Any]) -> Table:
    """Return the row accounting: per stage what came in, what went out, what was dropped."""
    table = Table(title="What became of the lines", title_justify="left")
    table.add_column("stage")
    table.add_column("in", justify="right")
    table.add_column("out", justify="right")
    table.add_column("dropped", justify="right")
    table.add_column("of which")
    for stage in manifest["stages"]:
        out, dropped = stage["out"], stage["dropped"]
        notes = [f"{n:,} {what}" for what, n in out.items() if what != "kept"]
        notes += [f"{n:,} {why}" for why, n in dropped.items()]
        table.add_row(
            stage["stage"],
            f"{stage['in']:,}",
            f"{sum(out.values()):,}",
            f"{sum(dropped.values()):,}",
            ", ".join(notes),
        )
    return table


def dataset_table(manifest: dict[str, Any]) -> Table:
    """Return the figures of the dataset."""
    s, inputs = manifest["statistics"], manifest["inputs"]
    table = Table(
        title=f"{inputs['dataset']}, {manifest['release']} release, {inputs['reading']} reading",
        title_justify="left",
        show_header=False,
    )
    table.add_column()
    table.add_column()
    fewest, most = s["fewest_negatives"], s["most_negatives"]
    few = "" if fewest == inputs["options"]["negatives"] else " (as many as the catalogue allows)"
    rows = [
        ("users", f"{s['users']:,}"),
        ("items", f"{s['items']:,}, {s['items_never_trained']:,} of them never bought in training"),
        ("purchases", f"{s['purchases']:,}"),
        ("sequence length", f"mean {s['mean_length']:.2f}, {s['shortest']:,} to {s['longest']:,}"),
        ("density", f"{s['density']:.4%}"),
        (
            "purchases tied in time",
            "not known"
            if s["tied_share"] is None
            else f"{s['tied_share']:.1%}, ordered by {inputs['tie_policy']}",
        ),
        ("negatives", f"{fewest if fewest == most else f'{fewest} to {most}'} each{few}"),
    ]
    for task, counts in s["samples"].items():
        counted = ", ".join(f"{n:,} {split}" for split, n in counts.items())
        rounds = inputs["options"]["rounds"]
        rows.append((f"{task} samples", f"{counted} (train: {rounds} rounds)"))
    if s["features"]:
        named = ", ".join(f"{f['feature']} {f['explanations']:,}" for f in s["features"])
        rows.append(("most frequent features", named))
    for name, value in rows:
        table.add_row(name, value)
    return table


def datasets_table(listed: list[Dataset]) -> Table:
    """Return the registry: name, release, size, where it is looked for and where it is from."""
    releases = ", ".join(f"{r} ({len(c)} categories)" for r, c in CATEGORIES.items())
    table = Table(
        title="Datasets by name; any category by RELEASE/Category, such as 2023/All_Beauty",
        title_justify="left",
        caption=f"releases: {releases}",
        caption_justify="left",
    )
    for column in ("name", "release", "reviews", "size", "looked for in", "address"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for d in listed:
        found = locate(d)
        where = f"{found} (found)" if found else str(next(iter(search_paths(d)), "generated"))
        table.add_row(
            d.name,
            d.release,
            f"{d.reviews:,}" if d.reviews else "unknown" if d.url else "",
            f"{d.size / 1e6:,.1f} MB" if d.size else "unknown" if d.url else "",
            where,
            d.url or "",
        )
    return table


def sample_table(task: str, split: str, samples: list[dict[str, Any]], width: int = 320) -> Table:
    """Return samples as prompt and target; `width` characters of a prompt are shown."""
    table = Table(title=f"{task}, {split}", title_justify="left", show_lines=True)
    table.add_column("template")
    table.add_column("prompt", ratio=3)
    table.add_column("target", ratio=1)
    for sample in samples:
        prompt = sample["prompt"]
        if len(prompt) > width:
            left = len(prompt[width:].split())
            prompt = f"{prompt[:width].rsplit(' ', 1)[0]} … ({left} more words)"
        table.add_row(sample["template_id"], Text(prompt), Text(sample["target"]))
    return table


def print_tables(*tables: Table) -> None:
    """Print tables to stdout; in a pipe 120 columns wide, not the terminal's guess of 80."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    for table in tables:
        console.print(table)
