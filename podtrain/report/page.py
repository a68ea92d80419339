"""The page of a run: one HTML file that needs nothing beside itself."""

import json
import math
import shlex
from collections.abc import Callable, Iterable
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from podprep.contract.errors import PodError
from podprep.contract.shards import Shards
from podtrain.evaluate.evaluate import Found
from podtrain.evaluate.files import read_results
from podtrain.recommenders.baselines import RULES
from podtrain.report.gallery import gallery
from podtrain.report.published import published
from podtrain.report.svg import Point, curves
from podtrain.report.tables import METHODS, RULE_NAMES, TEXT_COLUMNS
from podtrain.run import METRICS, Run

READINGS = {
    "clean": "Clean reading: no number, order or explanation tells what was held out, so the "
    "figures are what was learned. Published figures, taken from data that tell, are no yardstick.",
    "pod": "Published reading (--compat pod): products are numbered by first appearance, and part "
    "of the explanations of test purchases are trained on. The figures compare with the published "
    "ones only; max+1 and last+1 show what the numbering alone gives.",
}
NAMES = {"sequential": "Sequential", "topn": "Top-N", "explanation": "Explanations"}
AMONG = {"sequential": "all items", "topn": "the candidates of each user"}
# The two that are drawn come first, so that a narrow window shows them too. No NDCG@1: with one
# right item it is HR@1.
RANK_COLUMNS = ("hit@10", "ndcg@10", "hit@5", "ndcg@5", "hit@1")
DRAWN = {"hit@10": "a", "ndcg@10": "b"}
Losses = dict[tuple[str, str], list[Point]]


def write_report(run: Run, shards: Shards, path: Path) -> None:
    """Write the page of a run, as far as the run has got.

    Errors: `PodError` if the file cannot be written, or for what is damaged in the run or dataset.
    """
    if path.is_dir():
        raise PodError(f"{path} is a folder: name a file with --to")
    half = path.with_name(f".{path.name}.writing")
    text = page(run, shards)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(text, encoding="utf-8")
        half.replace(path)
    except OSError as error:
        raise PodError(f"{path} could not be written: {error.strerror or error}") from None
    finally:
        if half.is_file():
            half.unlink()


def page(run: Run, shards: Shards) -> str:
    """Return the page as HTML; the same run gives the same bytes."""
    losses, results = read_losses(run.folder / METRICS), read_results(run.folder)
    best = best_step(losses)
    sections = [_curves(run, losses, best)]
    for split in sorted(results):  # test before valid
        for task in run.config.tasks:
            if found := results[split].get(task):
                draw = _texts if task == "explanation" else _ranks
                sections.append(draw(run, split, task, found, best))
    sections.append(_hint(run, results))
    if drawn := gallery(run, shards):
        sections.append(_section(*drawn, "wide"))
    described = run.description
    about = READINGS.get(described["reading"], f"Reading: {described['reading']}.")
    template = (files("podtrain") / "report" / "report.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=escape(f"{described['dataset']}: a run of podtrain"),
        heading=escape(f"{described['dataset']}, {described['reading']} reading"),
        about=escape(about),
        tiles="".join(_tiles(run, losses, best)),
        made=_made_with(run, shards),
        sections="\n".join(s for s in sections if s),
        footer=escape(
            f"podtrain {described['versions']['podtrain']}. Dataset "
            f"{described['manifest_sha256'][:12]}. Point at a bar, dot or name for more."
        ),
    )


def read_losses(path: Path) -> Losses:
    """Return {(event, task): [(step, loss), ...]} of metrics.jsonl; nothing if it is not there."""
    losses: Losses = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:  # the line that a run in progress is writing
            continue
        if line["name"] == "loss" and math.isfinite(line["value"]):
            point = (float(line["step"]), float(line["value"]))
            losses.setdefault((line["event"], line["task"]), []).append(point)
    return losses


def best_step(losses: Losses) -> Point | None:
    """Return the step of the weights that were kept, and its mean validation loss."""
    return min(losses.get(("valid", "all"), []), key=lambda point: point[1], default=None)


def _section(title: str, words: str, inside: str, size: str = "") -> str:
    """Return a section; `inside` is HTML, the others are text."""
    start = f'<section class="{size}">' if size else "<section>"
    return f"{start}<h2>{escape(title)}</h2><p>{escape(words)}</p>{inside}</section>"


def _tiles(run: Run, losses: Losses, best: Point | None) -> list[str]:
    config = run.config
    steps = max((step for points in losses.values() for step, _ in points), default=0)
    tiles = {
        "base": config.base,
        "parameters": f"{run.description['parameters']:,}",
        "tasks": ", ".join(config.tasks),
        "seed": str(config.seed),
        "steps trained": f"{steps:,.0f}",
        "best step": f"{best[0]:,.0f}" if best else "none yet",
        "validation loss there": f"{best[1]:.4f}" if best else "none yet",
    }
    return [
        f'<div class="tile"><b>{escape(value)}</b><span>{name}</span></div>'
        for name, value in tiles.items()
    ]


def _made_with(run: Run, shards: Shards) -> str:
    """All options of the run, and what they met, folded away."""
    inputs, t5 = shards.manifest["inputs"], run.description["model"]["t5"]
    values = {
        **run.description["config"],
        "model": f"{t5['num_layers']} + {t5['num_decoder_layers']} layers of {t5['d_model']}, "
        f"{t5['num_heads']} heads, {t5['vocab_size']:,} pieces",
        "dataset": f"{shards.n_users:,} users, {shards.n_items:,} items, seed {inputs['seed']}",
        "ids": inputs["id_scheme"],
        "ties": inputs["tie_policy"],
        "versions": ", ".join(f"{k} {v}" for k, v in run.description["versions"].items()),
    }
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(_plain(value))}</dd></div>"
        for name, value in values.items()
    )
    return f"<details><summary>What it was made with</summary><dl>{rows}</dl></details>"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "by itself" if value is None else str(value)


def _curves(run: Run, losses: Losses, best: Point | None) -> str:
    if not losses:
        words = "No step was logged yet: go on with podtrain fit --resume."
        return _section("No losses yet", words, "", "wide")
    drawn = []
    tasks = run.config.tasks
    for task in (*tasks, "all") if len(tasks) > 1 else tasks:
        train, valid = losses.get(("train", task), []), losses.get(("valid", task), [])
        if train or valid:
            mark = next((p for p in valid if best and p[0] == best[0]), None)
            name = NAMES.get(task, "Mean of the tasks")
            svg = curves(f"{name}: loss over steps", {"a": train, "b": valid}, mark)
            drawn.append(f"<figure><figcaption>{name}</figcaption>{svg}</figure>")
    if best is None:
        title = "Losses: nothing was validated yet"
    else:
        since = sum(step > best[0] for step, _ in losses["valid", "all"])
        ended = f"later validations without gain: {since}" if since else "falling to the end"
        title = f"Losses: lowest at step {best[0]:,.0f}; {ended}"
    words = "Mean over target tokens, in nats. Training runs with dropout, so it may lie higher."
    legend = _legend({"a": "training", "b": "validation", "best": "best step, the weights kept"})
    return _section(title, words, f'{legend}<div class="multiples">{"".join(drawn)}</div>', "wide")


def _ranks(run: Run, split: str, task: str, found: Found, best: Point | None) -> str:
    """A table of model, rules and published figures with a bar for what matters most."""
    rows = _rows(run, split, task, found)
    most = max(_value(v, c) or 0 for _, _, v in rows for c in DRAWN) or 1

    def bars(values: dict[str, float]) -> str:
        widths = [
            f'<i class="{style}" style="width:{100 * value / most:.1f}%"'
            f' title="{_heading(column)} {value:.4f}"></i>'
            for column, style in DRAWN.items()
            if (value := _value(values, column)) is not None
        ]
        return f'<td class="bars">{"".join(widths)}</td>'

    users = next((f["users"] for f in found.values() if "users" in f), 0)
    what = [f"{users:,} users, the held-out item among {AMONG[task]}.", *_remarks(run, rows)]
    what += [
        f"As published, a random item stands for each of {f['random_items']:,} answers that "
        "named none."
        for f in found.values()
        if f.get("random_items")
    ]
    what += _stale(run, found, best)
    table = _table(rows, RANK_COLUMNS, bars)
    legend = _legend({style: _heading(column) for column, style in DRAWN.items()})
    title = f"{NAMES[task]}, {split}{_beside_rules(found)}"
    return _section(title, " ".join(what), legend + table)


def _texts(run: Run, split: str, task: str, found: Found, best: Point | None) -> str:
    rows = _rows(run, split, task, found)
    users = next((f["users"] for f in found.values() if "users" in f), 0)
    words = [
        f"{users:,} sentences beside those that people wrote. BLEU and ROUGE in percent; POD: "
        "as the published code takes it. distinct: share of sentences that differ; feature: share "
        "that names what the person wrote about.",
        *_remarks(run, rows),
        *_stale(run, found, best),
    ]
    return _section(f"{NAMES[task]}, {split}", " ".join(words), _table(rows, TEXT_COLUMNS), "wide")


Row = tuple[str, str, dict[str, float]]  # kind, name, metrics


def _rows(run: Run, split: str, task: str, found: Found) -> list[Row]:
    rows = [("model", METHODS[m], found[m]["metrics"]) for m in METHODS if m in found]
    rows += [("rule", n, found[rule]["metrics"]) for rule, n in RULE_NAMES.items() if rule in found]
    known = published(task, run.description["dataset"]) if split == "test" else {}
    if known:
        leaky = ", leaky data" if run.description["reading"] == "clean" else ""
        rows.append(("published", f"POD as published{leaky}", known))
    return rows


def _remarks(run: Run, rows: list[Row]) -> list[str]:
    """What the published figures are worth beside ours, where they are shown."""
    if not any(kind == "published" for kind, _, _ in rows):
        return []
    if run.description["reading"] == "clean":
        return ["POD's published figures are from leaky data: not comparable with a clean dataset."]
    return [
        "POD's published figures are from leaky data as these are; "
        "like with like is the row 'model, as published' (podtrain evaluate --compat pod)."
    ]


def _stale(run: Run, found: Found, best: Point | None) -> list[str]:
    old = {f["step"] for f in found.values() if "step" in f and best and f["step"] != best[0]}
    if not old:
        return []
    steps = ", ".join(f"{step:,}" for step in sorted(old))
    return [
        f"Measured at step {steps}; the weights have changed since: "
        f"podtrain evaluate {shlex.quote(str(run.folder))}."
    ]


def _beside_rules(found: Found) -> str:
    """Say in the title how far the model is from the best rule."""
    model: dict[str, float] = next((found[m]["metrics"] for m in METHODS if m in found), {})
    own = _value(model, "ndcg@10")
    rules = [(found[r]["metrics"]["ndcg@10"], r) for r in RULES if r in found]
    if own is None or not rules:
        return ""
    most, rule = max(rules)
    return f": NDCG@10 {own:.4f}, the best rule ({rule}) {most:.4f}"


def _value(values: dict[str, float], column: str) -> float | None:
    """Return a figure; the published way to count has names of its own."""
    return values.get(column, values.get(column.replace("@", "_pod@")))


def _figure(values: dict[str, float], column: str) -> str:
    value = _value(values, column)
    if value is None:
        return ""
    share = "@" in column or column in ("distinct", "feature")
    return f"{value:.4f}" if share else f"{value:.2f}"


def _heading(column: str) -> str:
    for name, words in {"hit@": "HR@", "ndcg": "NDCG", "bleu": "BLEU-", "rouge": "ROUGE-"}.items():
        column = column.replace(name, words)
    return column.replace("_pod", " POD")


def _table(
    rows: list[Row],
    columns: Iterable[str],
    drawn: Callable[[dict[str, float]], str] | None = None,
) -> str:
    heads = "".join(f'<th class="n">{_heading(column)}</th>' for column in columns)
    lines = [f"<tr><th></th>{'<th></th>' if drawn else ''}{heads}</tr>"]
    for kind, name, values in rows:
        cells = [drawn(values)] if drawn else []
        cells += [f'<td class="n">{_figure(values, column)}</td>' for column in columns]
        lines.append(f'<tr class="{kind}"><td>{escape(name)}</td>{"".join(cells)}</tr>')
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _legend(names: dict[str, str]) -> str:
    keys = "".join(f'<span><i class="{style}"></i>{name}</span>' for style, name in names.items())
    return f'<div class="legend">{keys}</div>'


def _hint(run: Run, results: dict[str, Any]) -> str:
    """Name the commands that fill what is missing."""
    missing = [task for task in run.config.tasks if not any(task in f for f in results.values())]
    if not missing:
        return ""
    start = f"podtrain evaluate {shlex.quote(str(run.folder))}"
    whole = len(missing) == len(run.config.tasks)
    commands = [start] if whole else [f"{start} --task {task}" for task in missing]
    shown = "".join(f"<pre>{escape(command)}</pre>" for command in commands)
    words = "Results and a gallery of users come from:"
    return _section(f"Not evaluated yet: {', '.join(missing)}", words, shown, "wide")
