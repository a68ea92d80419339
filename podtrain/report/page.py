"""The page of a run: one HTML file that needs nothing beside itself."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from podprep.contract.writing import write_text
from podprep.ui.page import Head, Section, render, table
from podprep.ui.page import page as html_page
from podprep.ui.svg import curves, element
from podtrain.report.facts import Facts, read_facts
from podtrain.report.results import (
    TEXT_COLUMNS,
    Found,
    Result,
    against_words,
    best_baseline,
    heading,
    result_rows,
    ways,
)
from podtrain.run import Run

PROTOCOLS = {
    "clean": "Clean protocol: no number, order or explanation tells what was held out, so the "
    "figures are what was learned. Published figures, taken from data that tell, are no yardstick.",
    "pod": "Published protocol (--compat pod): products are numbered by first appearance, and part "
    "of the explanations of test purchases are trained on. The figures compare with the published "
    "ones only; max+1 and last+1 show what the numbering alone gives.",
}
NAMES = {"sequential": "Sequential", "topn": "Top-N", "explanation": "Explanations"}
AMONG = {"sequential": "all items", "topn": "the candidates of each user"}
# The two that are drawn come first, so that a narrow window shows them too. No NDCG@1: with one
# right item it is HR@1.
RANK_COLUMNS = ("hit@10", "ndcg@10", "hit@5", "ndcg@5", "hit@1")
DRAWN = {"hit@10": "data", "ndcg@10": "pale"}


def write_report(run: Run, path: Path) -> None:
    """Write the page of a run, as far as the run has got.

    Errors: `PodError` if the file cannot be written, or for what is damaged in the run or dataset.
    """
    write_text(path, page(read_facts(run)))


def page(facts: Facts) -> str:
    """Return the page as HTML; the same run gives the same bytes."""
    sections = [_losses(facts)]
    for split in sorted(facts.results):  # test before valid
        for task in facts.tasks:
            if found := facts.results[split].get(task):
                if task == "explanation":
                    sections.append(_texts(facts, found))
                else:
                    sections += [_ranks(facts, found, way) for way in reversed(ways(found))]
    sections += _not_evaluated(facts)
    if facts.gallery:
        cards = render("podtrain.report", "gallery.html.j2", users=facts.gallery.users)
        sections.append(Section(facts.gallery.title, facts.gallery.words, cards, size="wide"))
    return html_page(
        title=f"{facts.dataset}: a run of podtrain",
        heading=f"{facts.dataset}, {facts.protocol} protocol",
        about=PROTOCOLS.get(facts.protocol, f"Protocol: {facts.protocol}."),
        tiles=_tiles(facts),
        details=facts.made_with,
        sections=sections,
        footer=f"podtrain {facts.version}. Dataset {facts.manifest_sha256[:12]}. "
        "Point at a bar, dot or name for more.",
        broad=True,
    )


def _tiles(facts: Facts) -> list[tuple[str, str]]:
    best = facts.best
    steps = max((step for points in facts.losses.values() for step, _ in points), default=0)
    return [
        (facts.model, "model"),
        (f"{facts.parameters:,}", "parameters"),
        (", ".join(facts.tasks), "tasks"),
        (str(facts.seed), "seed"),
        (f"{steps:,.0f}", "steps trained"),
        (f"{best:,.0f}" if best else "none yet", "best step"),
        (facts.status, "training"),
    ]


def _losses(facts: Facts) -> Section:
    """The losses of each task and of all."""
    losses, best = facts.losses, facts.best
    if not losses:
        words = "No step was logged yet: go on with podtrain fit --resume."
        return Section("No losses yet", words, size="wide")
    drawn = []
    for task in facts.tasks:
        train, valid = losses.get(("train", task), []), losses.get(("valid", task), [])
        if train or valid:
            mark = next((p for p in valid if p[0] == best), None)
            name = NAMES[task]
            svg = curves(f"{name}: loss over steps", {"train": train, "valid": valid}, mark)
            drawn.append(element("figure", element("figcaption", name), svg))
    last = ("keep", "last") in facts.made_with
    if best is None:
        title = "Losses: nothing was validated yet"
    elif last:
        title = f"Losses: the last weights are kept, of step {best:,.0f}"
    else:
        since = sum(step > best for step, _ in facts.scores)
        ended = f"later validations without gain: {since}" if since else "better to the end"
        title = f"Losses: best weights at step {best:,.0f}; {ended}"
    words = "Mean over target tokens, in nats. Training runs with dropout, so it may lie higher. "
    if not last:
        words += (
            "The weights kept are those of the best validation by ranks (NDCG@10), not by loss."
        )
    legend = [("train", "training"), ("valid", "validation"), ("best", "best step, weights kept")]
    return Section(title, words, element("div", *drawn, class_="multiples"), legend, "wide")


def _ranks(facts: Facts, found: Found, exclude_seen: bool) -> Section:
    """The model, the baselines and the published figures, with a bar for what matters most."""
    task, rows = found["task"], result_rows(found, exclude_seen=exclude_seen)
    most = max(row.value(column) or 0 for row in rows for column in DRAWN) or 1
    heads = [Head(""), Head("", "bars"), *(Head(heading(c), "n") for c in RANK_COLUMNS)]
    cells = [[row.name, _bars(row, most), *map(row.figure, RANK_COLUMNS)] for row in rows]
    words = [f"{found['rows'][0]['n']:,} users, the held-out item among {AMONG[task]}."]
    if found.get("against") and found["against"]["exclude_seen"] == exclude_seen:
        words.append(f"{against_words(found)}.")
    words += _remarks(facts, rows)
    words += [
        f"As published, a random item stands for each of {row['random_items']:,} answers that "
        "named none."
        for row in found["rows"]
        if row["random_items"] and row["exclude_seen"] == exclude_seen
    ]
    words += _outdated(facts, found)
    left_out = ", bought items left out" if exclude_seen else ""
    return Section(
        title=f"{NAMES[task]}, {found['split']}{left_out}{_beside_baselines(rows)}",
        words=" ".join(words),
        body=table(heads, cells, [row.kind for row in rows], scrolls=True),
        legend=[(style, heading(column)) for column, style in DRAWN.items()],
    )


def _bars(row: Result, most: float) -> Markup:
    drawn = []
    for column, style in DRAWN.items():
        if (value := row.value(column)) is not None:
            width = f"width:{100 * value / most:.1f}%"
            tip = f"{heading(column)} {value:.4f}"
            drawn.append(element("i", class_=style, style=width, title=tip))
    return Markup("".join(drawn))


def _texts(facts: Facts, found: Found) -> Section:
    """The measures of explanations."""
    rows = result_rows(found, exclude_seen=False)
    heads = [Head(""), *(Head(heading(column), "n") for column in TEXT_COLUMNS)]
    cells = [[row.name, *map(row.figure, TEXT_COLUMNS)] for row in rows]
    words = [
        f"{found['rows'][0]['n']:,} sentences beside those that people wrote. BLEU and ROUGE in "
        "percent; POD: as the published code takes it. USR: share of sentences that differ; FMR: "
        "share that names what the person wrote about; FCR: share of all features that any "
        "sentence names; DIV: features that two sentences share, less is better.",
        *_remarks(facts, rows),
        *_outdated(facts, found),
    ]
    body = table(heads, cells, [row.kind for row in rows], scrolls=True)
    return Section(f"{NAMES[found['task']]}, {found['split']}", " ".join(words), body, size="wide")


def _remarks(facts: Facts, rows: Sequence[Result]) -> list[str]:
    """What the published figures are worth beside ours, where they are shown."""
    if not any(row.kind == "published" for row in rows):
        return []
    if facts.protocol == "clean":
        return ["POD's published figures are from leaky data: not comparable with a clean dataset."]
    return [
        "POD's published figures are from leaky data as these are; "
        "like with like is the row 'model, as published' (podtrain evaluate --compat pod)."
    ]


def _outdated(facts: Facts, found: Found) -> list[str]:
    """Say so where the weights have changed since they were measured, or training goes on."""
    said = []
    step = found["environment"].get("step")
    if facts.best is not None and step != facts.best:
        said.append(
            f"Measured at step {step:,}; the weights have changed since: "
            f"podtrain evaluate {facts.folder}."
        )
    if facts.status != "finished":
        said.append("Training has not ended: podtrain fit --resume goes on.")
    return said


def _beside_baselines(rows: Sequence[Result]) -> str:
    """Say in the title how far the model is from the best baseline."""
    model = next((row for row in rows if row.kind == "model"), None)
    baseline = best_baseline(rows, "ndcg@10")
    if model is None or model.value("ndcg@10") is None or baseline is None:
        return ""
    own, most = model.figure("ndcg@10"), baseline.figure("ndcg@10")
    return f": NDCG@10 {own}, the best baseline ({baseline.name}) {most}"


def _not_evaluated(facts: Facts) -> list[Section]:
    """Name the commands that fill what is missing."""
    missing = [task for task in facts.tasks if not any(task in f for f in facts.results.values())]
    if not missing:
        return []
    start = f"podtrain evaluate {facts.folder}"
    whole = len(missing) == len(facts.tasks)
    commands = [start] if whole else [f"{start} --task {task}" for task in missing]
    words = "Results and a gallery of users come from:"
    body = Markup("").join(element("pre", command) for command in commands)
    return [Section(f"Not evaluated yet: {', '.join(missing)}", words, body, size="wide")]
