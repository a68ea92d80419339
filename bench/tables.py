"""Write the tables of README.md and docs/ anew from the JSON files that the benchmarks wrote.

usage: python -m bench.tables

A page names where a table goes: what is between <!-- results:NAME --> and <!-- /results --> comes
from bench/results/NAME.json, which `python -m bench.quality NAME` writes, or is nothing as long as
that is not there. The table of `make bench` is called speed, and comes from bench/results.json.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.figures import load, markdown
from podtrain.evaluate.published import published

HERE = Path(__file__).parent
PAGES = (HERE.parent / "README.md", *sorted((HERE.parent / "docs").glob("*.md")))
PLACE = re.compile(r"(<!-- results:([\w-]+) -->\n).*?(<!-- /results -->)", re.DOTALL)

TITLES = {
    "sample": "The sample, all three tasks",
    "beauty-clean": "Beauty, *clean* protocol, sequential",
    "beauty-pod": "Beauty, `--compat pod`, sequential",
    "beauty-tasks": "Beauty by `--compat pod`, all three tasks in one run",
    "musical": "Musical Instruments 2014, all three tasks",
    "all-beauty": "All_Beauty 2018, all three tasks",
}
TASKS = {
    "sequential": "sequential, test, bought items left out",
    "topn": "top-N, test, 100 candidates",
    "explanation": "explanation, test",
}
RANKERS = ("model", "T5 alone", "memory alone", "item-knn", "markov", "popularity")
RANKS = {"hit@5": "HR@5", "ndcg@5": "NDCG@5", "hit@10": "HR@10", "ndcg@10": "NDCG@10"}
TEXTS = {
    "usr": "USR", "fmr": "FMR", "fcr": "FCR", "div": "DIV",
    "bleu1": "BLEU-1", "bleu4": "BLEU-4", "rouge1": "ROUGE-1", "rougeL": "ROUGE-L",
}  # fmt: skip
SEEDS = 3  # of bench.quality, unless it is told otherwise

Found = dict[str, Any]


def main() -> None:
    """Rewrite the pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


def filled(page: str, here: Path = HERE) -> str:
    """Return a page with the tables of the results that there are."""
    return PLACE.sub(lambda place: place[1] + block(place[2], here) + place[3], page)


def block(name: str, here: Path) -> str:
    """Return what stands in a place; nothing where nothing was measured."""
    if name == "speed":
        return markdown(load(here / "results.json"))
    file = here / "results" / f"{name}.json"
    return section(name, json.loads(file.read_text(encoding="utf-8"))) if file.exists() else ""


def section(name: str, found: Found) -> str:
    """Return a recipe's results: how they came about, then a table for each task."""
    parts = [f"### {TITLES[name]}", made(name, found)]
    for task in (task for task in TASKS if task in found["tasks"]):
        parts += [explained(found) if task == "explanation" else ranked(found, task)]
        if against := found["against"].get(task):
            parts.append(beside(against))
    return "\n\n".join(parts) + "\n\n"


def made(name: str, found: Found) -> str:
    """Say by what command, on what, with which seeds and in what time."""
    seeds, seconds = found["seeds"], found["seconds_of_training"]
    option = "" if len(seeds) == SEEDS else f" --seeds {len(seeds)}"
    which = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    fastest, slowest = f"{min(seconds):,.0f}", f"{max(seconds):,.0f}"
    took = fastest if fastest == slowest else f"{fastest} to {slowest}"
    each, where = "each trained" if len(seeds) > 1 else "trained", found["environment"]
    users = max(found["tasks"][task][0]["n"] for task in found["tasks"] if task != "explanation")
    return (
        f"`python -m bench.quality {name}{option}`: {users:,} users, "
        f"{found['parameters']:,} parameters, {which}, {each} in {took} s "
        f"({where['processor']}, {where['device']}, {where['threads']} threads, "
        f"{where['precision']})."
    )


def ranked(found: Found, task: str) -> str:
    """Return a table of ranks. The published figures leave nothing out: the model so, too."""
    rows = {(row["name"], row["exclude_seen"]): row for row in found["tasks"][task]}
    left_out = any(exclude_seen for _, exclude_seen in rows)
    cells = [
        cells_of(rows[name, left_out], RANKS, rank_figure)
        for name in RANKERS
        if (name, left_out) in rows
    ]
    known = published(task, found["dataset"]) if found["protocol"] == "pod" else {}
    if known:
        if left_out:
            every = cells_of(rows["model", False], RANKS, rank_figure)
            cells.append(["model, nothing left out", *every[1:]])
        figures = [rank_figure(known[metric]) for metric in RANKS]
        cells.append(["POD as published, nothing left out", *figures])
    return table([TASKS[task], *RANKS.values()], cells)


def explained(found: Found) -> str:
    """Return the table of texts."""
    cells = [cells_of(row, TEXTS, text_figure) for row in found["tasks"]["explanation"]]
    return table([TASKS["explanation"], *TEXTS.values()], cells)


def beside(against: Found) -> str:
    """Say how far the model is from item-kNN, and whether that could be chance."""
    words = []
    for metric in ("ndcg@10", "hit@10"):
        a = against[metric]
        low, high = signed(a["low"]), signed(a["high"])
        p = "p < .001" if a["p"] < 1e-3 else f"p = {a['p']:.3f}".replace("0.", ".")
        difference = signed(a["difference"])
        words.append(f"{RANKS[metric]} {difference} (95% {low} to {high}, {p}: {a['verdict']})")
    return f"Model beside item-knn: {', '.join(words)}."


def cells_of(row: Found, columns: dict[str, str], figure: Callable[..., str]) -> list[str]:
    """Return a row: its name, then mean and, where seeds differ, standard deviation."""
    cells = [row["name"]]
    for name in columns:
        mean, sd = figure(row["mean"][name], name), figure(row["sd"][name], name)
        cells.append(f"{mean} ± {sd}" if row["sd"][name] else mean)
    return cells


def rank_figure(value: float, _: str = "") -> str:
    """Return a share with four decimals."""
    return f"{value:.4f}".replace("0.", ".", 1)


def text_figure(value: float, name: str) -> str:
    """Return a percentage with one decimal, the other measures with three."""
    return f"{value:.1f}" if name.startswith(("bleu", "rouge")) else f"{value:.3f}"


def signed(value: float) -> str:
    """Return a difference with its sign."""
    return f"{value:+.4f}".replace("0.", ".", 1)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table, its figures to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
