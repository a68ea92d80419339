"""What the commands show as tables: a build's accounting, a dataset, its figures, its samples."""

from typing import Any

from podprep.raw.datasets import CATEGORIES, Source, locate, search_paths
from podprep.stats.figures import Rows, heading, prompt_lengths
from podprep.ui.console import Column, Table, names_and_values, numbers, texts

PROMPT = 320  # characters of a prompt that are shown


def accounting_table(manifest: dict[str, Any]) -> Table:
    """Return the row accounting: per stage what came in, what went out, what was dropped."""
    columns = [*texts("stage"), *numbers("in", "out", "dropped"), *texts("of which")]
    table = Table("Rows kept and dropped", columns)
    for stage in manifest["stages"]:
        out, dropped = stage["out"], stage["dropped"]
        notes = [f"{n:,} {what}" for what, n in out.items() if what != "kept"]
        notes += [f"{n:,} {why}" for why, n in dropped.items()]
        counts = (stage["in"], sum(out.values()), sum(dropped.values()))
        table.add(stage["stage"], *(f"{n:,}" for n in counts), ", ".join(notes))
    return table


def dataset_table(manifest: dict[str, Any]) -> Table:
    """Return what a build has made, in figures."""
    s, inputs = manifest["statistics"], manifest["inputs"]
    fewest, most = s["fewest_negatives"], s["most_negatives"]
    few = "" if fewest == inputs["options"]["negatives"] else " (as many as the catalogue allows)"
    tied = s["tied_share"]
    rows = [
        ("users", f"{s['users']:,}"),
        ("items", f"{s['items']:,}, {s['items_never_trained']:,} of them never bought in training"),
        ("purchases", f"{s['purchases']:,}"),
        ("sequence length", f"mean {s['mean_length']:.2f}, {s['shortest']:,} to {s['longest']:,}"),
        ("density", f"{s['density']:.4%}"),
        (
            "purchases tied in time",
            "not known" if tied is None else f"{tied:.1%}, ordered by {inputs['tie_policy']}",
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
    title = f"{inputs['dataset']}, {manifest['release']} release, {inputs['reading']} protocol"
    return names_and_values(title, rows)


def datasets_table(listed: list[Source]) -> Table:
    """Return the registry: name, release, size, where it is looked for and where it is from."""
    releases = ", ".join(f"{r} ({len(c)} categories)" for r, c in CATEGORIES.items())
    table = Table(
        "Datasets by name; any category by RELEASE/Category, such as 2023/All_Beauty",
        [*texts("name", "release"), *numbers("reviews", "size"), *texts("looked for in", "from")],
        note=f"releases: {releases}",
    )
    for d in listed:
        found = locate(d)
        table.add(
            d.name,
            d.release,
            f"{d.reviews:,}" if d.reviews else "unknown" if d.url else "",
            f"{d.size / 1e6:,.1f} MB" if d.size else "unknown" if d.url else "",
            f"{found} (found)" if found else str(next(iter(search_paths(d)), "generated")),
            d.url or "",
        )
    return table


def sample_table(task: str, split: str, samples: list[dict[str, Any]]) -> Table:
    """Return samples as prompt and target; a long prompt is cut, and says how much is left."""
    table = Table(f"{task}, {split}", texts("template", "prompt", "target"))
    for sample in samples:
        prompt = sample["prompt"]
        if len(prompt) > PROMPT:
            left = len(prompt[PROMPT:].split())
            prompt = f"{prompt[:PROMPT].rsplit(' ', 1)[0]} … ({left} more words)"
        table.add(sample["template_id"], prompt, sample["target"])
        table.rule()
    return table


def stats_tables(found: dict[str, Any]) -> list[Table]:
    """Return what `podprep.stats.figures.collect` found."""
    tables = [
        accounting_table(found["manifest"]),
        names_and_values(heading(found["manifest"]), _figures(found)),
        _table("Sequence lengths", _lengths(found["lengths"])),
        _table("Purchases of an item", _quantiles(found)),
    ]
    if found["years"]:
        tables.append(_table("Purchases by year", found["years"]))
    if found["ties"]:
        tables.append(_table("Purchases at the same time, by size of the tie", _ties(found)))
    return [
        *tables,
        _table("Samples", found["samples"]),
        _table("Use of templates", found["templates"]),
        _table("Prompts, first round", prompt_lengths(found["prompts"])),
        _table("Test candidates by popularity in training, in tenths of the items", _tenths(found)),
    ]


def _figures(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the figures of the whole dataset as names and words."""
    f, statistics = found["figures"][0], found["manifest"]["statistics"]
    fewest, most = statistics["fewest_negatives"], statistics["most_negatives"]
    inputs = found["manifest"]["inputs"]
    return [
        ("users", f"{f['users']:,}"),
        ("items", f"{f['items']:,}, {f['items_never_trained']:,} of them never bought in training"),
        ("purchases", f"{f['purchases']:,}"),
        ("density", f"{f['density']:.4%}"),
        (
            "sequence length",
            f"mean {f['mean_length']:.2f}, median {f['median_length']:,}, "
            f"{f['shortest']:,} to {f['longest']:,}",
        ),
        ("bought most", f"a tenth of the items has {_percent(f['top_share'])} of the purchases"),
        ("Gini of purchases", f"{f['gini']:.3f}" if f["gini"] is not None else "none"),
        ("time", f"{f['first_day']} to {f['last_day']}" if f["first_day"] else "not known"),
        (
            "tied in time",
            f"{_percent(f['tied_share'])} of the purchases, {_percent(f['tied_test_share'])} of "
            f"the test purchases; order {inputs['tie_policy']}"
            if f["tied_share"] is not None
            else f"not known; order {inputs['tie_policy']}",
        ),
        ("negatives", f"{fewest if fewest == most else f'{fewest} to {most}'} a held-out purchase"),
    ]


def _lengths(rows: Rows) -> Rows:
    users = sum(row["users"] for row in rows)
    edges = [(1, 2), (3, 4), (5, 5), (6, 7), (8, 10), (11, 20), (21, 50), (51, 100), (101, None)]
    found = []
    for low, high in edges:
        own = [r for r in rows if r["length"] >= low and (high is None or r["length"] <= high)]
        n = sum(row["users"] for row in own)
        if n:
            name = (
                f"{low} and more"
                if high is None
                else f"{low}"
                if low == high
                else f"{low} to {high}"
            )
            found.append({"purchases": name, "users": n, "share": _percent(n / users)})
    return found


def _quantiles(found: dict[str, Any]) -> Rows:
    names = {0: "least", 0.5: "median", 1: "most"}
    return [
        {
            "items": names.get(row["share"], f"{float(row['share']):.0%} have at most"),
            "purchases": row["purchases"],
        }
        for row in found["quantiles"]
    ]


def _ties(found: dict[str, Any]) -> Rows:
    total = sum(row["purchases"] for row in found["ties"])
    return [
        {
            "tie of": {1: "none", 6: "6 and more"}.get(row["size"], str(row["size"])),
            "purchases": row["purchases"],
            "share": _percent(row["purchases"] / total),
        }
        for row in found["ties"]
    ]


def _tenths(found: dict[str, Any]) -> Rows:
    return [
        {
            "tenth": row["tenth"],
            "bought": f"{row['fewest_purchases']:,} to {row['most_purchases']:,} times",
            "of the negatives": _percent(row["negatives"]),
            "of the test purchases": _percent(row["positives"]),
        }
        for row in found["negatives"]
    ]


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"


def _table(title: str, rows: Rows) -> Table:
    """Return rows as a table; numbers stand right."""
    columns = [
        Column(name.replace("_", " "), number=not isinstance(value, str) or value.endswith("%"))
        for name, value in (rows[0] if rows else {}).items()
    ]
    table = Table(title, columns)
    for row in rows:
        year = {name: str(value) for name, value in row.items() if name == "year"}
        words = {n: v if isinstance(v, str) else f"{v:,}" for n, v in row.items()}
        table.add(*(words | year).values())
    return table
