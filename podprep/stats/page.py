"""The page of a dataset: one HTML file with pictures, that needs nothing beside itself."""

from datetime import date
from pathlib import Path
from typing import Any

from markupsafe import Markup

from podprep.contract.writing import write_text
from podprep.stats.figures import Rows, heading, prompt_lengths, quantile
from podprep.stats.flow import SPLIT_NAMES, SPLITS, flow, levels
from podprep.ui.page import Head, Section, table
from podprep.ui.page import page as html_page
from podprep.ui.svg import Picture, element, linear, logarithmic, percent, short

FLOW_WIDTHS = {"broad": 1290, "narrow": 420}
SPLIT_LEGEND = list(SPLIT_NAMES.items())


def write_page(found: dict[str, Any], path: Path) -> None:
    """Write the page of what `podprep.stats.figures.collect` found.

    Errors: `PodError` if the file cannot be written.
    """
    write_text(path, page(found))


def page(found: dict[str, Any]) -> str:
    """Return the page as HTML; the same figures give the same bytes."""
    manifest = found["manifest"]
    inputs = manifest["inputs"]
    pictures = (_flow, _lengths, _ranks, _shares, _months, _ties, _negatives, _prompts, _templates)
    sources = ", ".join(f"{s['role']} {s['file']}" for s in inputs["sources"])
    hashes = "; ".join(f"{s['file']} sha256 {s['sha256']}" for s in inputs["sources"])
    return html_page(
        title=f"{inputs['dataset']}: what is in the dataset",
        heading=heading(manifest),
        about=f"Made from {sources} by podprep {manifest['versions']['podprep']}. Ids: "
        f"{inputs['id_scheme']}. Order within a tie: {inputs['tie_policy']}.",
        tiles=_tiles(found),
        sections=[section for picture in pictures if (section := picture(found))],
        footer=f"{hashes}. Point at a bar or dot for its figure.",
    )


def _tiles(found: dict[str, Any]) -> list[tuple[str, str]]:
    f = found["figures"][0]
    tiles = [
        (f"{f['users']:,}", "users"),
        (f"{f['items']:,}", "items"),
        (f"{f['purchases']:,}", "purchases"),
        (f"{f['mean_length']:.1f}", "purchases a user, mean"),
        (percent(f["density"]), "of all user-item pairs"),
        (f"{f['items_never_trained']:,}", "items never in training"),
    ]
    if f["tied_share"] is not None:
        tiles.append((percent(f["tied_share"]), "of purchases tied in time"))
    return tiles


def _flow(found: dict[str, Any]) -> Section | None:
    manifest = found["manifest"]
    drawn = Markup("").join(
        element("div", flow(manifest, width), class_=style) for style, width in FLOW_WIDTHS.items()
    )
    legend = [("kept", "goes on"), *SPLIT_LEGEND, ("drop", "dropped")]
    if any(level.ends == "unexplained" for level in levels(manifest)):
        legend.append(("rest", "not explained, yet in the other samples"))
    words = "Each bar is as wide as it has rows; what is dropped leaves at the right."
    return Section("From raw lines to samples", words, drawn, legend, size="wide")


def _lengths(found: dict[str, Any]) -> Section | None:
    rows = found["lengths"]
    users = sum(row["users"] for row in rows)
    most, shown = rows[-1]["length"], quantile(rows, "length", "users", 0.99)
    step = max(1, round((shown - rows[0]["length"] + 1) / 40))
    first = rows[0]["length"]
    bins: dict[int, int] = {}
    for row in rows:
        place = (min(row["length"], shown) - first) // step
        bins[place] = bins.get(place, 0) + row["users"]
    picture = Picture(
        "How many users have how many purchases",
        linear(
            "purchases of a user", first + (max(bins) + 1) * step - 0.5, low=first - 0.5, whole=True
        ),
        linear("users", max(bins.values()), whole=True),
    )
    for place, n in sorted(bins.items()):
        low, high = first + place * step, first + (place + 1) * step - 1
        last = place == max(bins) and most > shown
        span = f"{low} and more" if last else f"{low}" if low == high else f"{low} to {high}"
        tip = f"{span} purchases: {n:,} users ({percent(n / users)})"
        picture.bar(low - 0.5, high + 0.5, n, tip)
    median = quantile(rows, "length", "users", 0.5)
    words = f"From {first} to {most:,} purchases."
    if most > shown:
        words += f" The last bar has all from {low} on."
    title = f"How long sequences are: half the users have {median} purchases or fewer"
    return Section(title, words, picture.svg())


def _ranks(found: dict[str, Any]) -> Section | None:
    rows = [row for row in found["popularity"] if row["purchases"]]
    if not rows:
        return None
    picture = Picture(
        "Purchases of an item by its rank",
        logarithmic("rank of the item, most bought first (log)", rows[-1]["rank"]),
        logarithmic("purchases (log)", rows[0]["purchases"]),
    )
    points = [(row["rank"], row["purchases"]) for row in rows]
    picture.curve(points)
    for point in points:
        picture.dot(point, f"rank {point[0]:,}: {point[1]:,} purchases", radius=2.2)
    median = next(row["purchases"] for row in found["quantiles"] if float(row["share"]) == 0.5)
    first = rows[0]["purchases"]
    title = f"Popularity by rank: the first item has {first:,} purchases, the median {median:,}"
    return Section(title, "A straight line would be a power law.", picture.svg())


def _shares(found: dict[str, Any]) -> Section | None:
    figures = found["figures"][0]
    if figures["gini"] is None:
        return None
    picture = Picture(
        "Share of the purchases that the most bought items have",
        linear("share of the items, most bought first", 1, words=percent),
        linear("share of the purchases", 1, words=percent),
    )
    points = [(row["item_share"], row["purchase_share"]) for row in found["popularity"]]
    picture.mark((0, 0), (1, 1))
    picture.note((0.6, 0.5), "if all were bought alike")
    picture.curve([(0, 0), *points])
    top = figures["top_share"]
    tip = f"a tenth of the items: {percent(top)} of the purchases"
    picture.dot((0.1, top), tip, radius=4)
    title = f"How purchases pile up: a tenth of the items has {percent(top)} of them"
    words = f"The further from the dashed line, the more unequal. Gini {figures['gini']:.2f}."
    return Section(title, words, picture.svg())


def _months(found: dict[str, Any]) -> Section | None:
    rows = found["months"]
    if not rows:
        return None
    first, last = (date.fromisoformat(f"{rows[n]['month']}-01") for n in (0, -1))
    months = len(rows)
    start = first.year + (first.month - 1) / 12
    # a column a month, or so many months that columns can be seen
    step = next(n for n in (1, 3, 6, 12) if months / n <= 140 or n == 12)
    columns: list[dict[str, Any]] = []
    for n in range(0, months, step):
        own = rows[n : n + step]
        columns.append({s: sum(r[s] for r in own) for s in SPLITS} | {"month": own[0]["month"]})
    unit = {1: "month", 3: "quarter", 6: "half-year", 12: "year"}[step]
    most = max(sum(c[s] for s in SPLITS) for c in columns)
    axis = linear("year", start + months / 12, low=start, words=lambda y: f"{y:.0f}", whole=True)
    picture = Picture(f"Purchases by {unit}", axis, linear(f"purchases a {unit}", most, whole=True))
    for n, column in enumerate(columns):
        low, high = start + n * step / 12, start + min((n + 1) * step, months) / 12
        total = sum(column[s] for s in SPLITS)
        counts = ", ".join(f"{column[s]:,} {SPLIT_NAMES[s]}" for s in SPLITS)
        for split in reversed(SPLITS):  # the tallest first, the others before it
            tip = f"{unit} from {column['month']}: {counts}"
            picture.bar(low, high, total, tip, split)
            total -= column[split]
    title = f"When people bought: {first.year} to {last.year}, by {unit}"
    words = "Test purchases are each user's last, so they lie late."
    return Section(title, words, picture.svg(), SPLIT_LEGEND)


def _ties(found: dict[str, Any]) -> Section | None:
    rows, figures = found["ties"], found["figures"][0]
    if not rows:
        return None
    total = sum(row["purchases"] for row in rows)
    picture = Picture(
        "Purchases by the size of their tie",
        linear("purchases of the user at that time", 6.5, low=0.5),
        linear("share of all purchases", max(r["purchases"] for r in rows) / total, words=percent),
    )
    for row in rows:
        size, share = row["size"], row["purchases"] / total
        many = "none other" if size == 1 else f"{size}{' or more' if size == 6 else ''} in all"
        tip = f"{many}: {row['purchases']:,} purchases ({percent(share)})"
        picture.bar(size - 0.4, size + 0.4, share, tip, "pale" if size == 1 else "data")
    names = [(n, {1: "1 (no tie)", 6: "6+"}.get(n, str(n))) for n in range(1, 7)]
    policy = found["manifest"]["inputs"]["tie_policy"]
    title = f"Ties: {percent(figures['tied_share'])} of the purchases share their time with another"
    words = (
        f"No order is known among them; here it is: {policy}. "
        f"{percent(figures['tied_test_share'])} of the test purchases are tied."
    )
    return Section(title, words, picture.svg(names=names))


def _prompts(found: dict[str, Any]) -> Section | None:
    drawn = []
    for summary in prompt_lengths(found["prompts"]):
        own = [row for row in found["prompts"] if row["task"] == summary["task"]]
        least, most = own[0]["words"], own[-1]["words"]
        step = max(1, -(-(most - least + 1) // 45))
        bins: Rows = []
        for low in range(least, most + 1, step):
            n = sum(row["samples"] for row in own if low <= row["words"] < low + step)
            bins.append({"low": low, "samples": n})
        picture = Picture(
            f"Words of {summary['task']} prompts",
            linear(f"words, {summary['task']} prompts", most + 0.5, low=least - 0.5, whole=True),
            linear("samples", max(row["samples"] for row in bins), whole=True),
            height=135,
        )
        for row in bins:
            low, high = row["low"], row["low"] + step - 1
            span = f"{low}" if low == high else f"{low} to {high}"
            tip = f"{span} words: {row['samples']:,} samples"
            picture.bar(low - 0.5, high + 0.5, row["samples"], tip)
        drawn.append(picture.svg())
    longest = max((row["words"] for row in found["prompts"]), default=0)
    characters = max((row["most_characters"] for row in found["prompts"]), default=0)
    title = f"How long prompts are: at most {longest:,} words, {short(characters)} characters"
    words = "An id such as item_12 is one word here; a tokenizer makes several pieces of it."
    return Section(title, words, Markup("").join(drawn)) if drawn else None


def _negatives(found: dict[str, Any]) -> Section | None:
    rows = found["negatives"]
    if not rows or rows[0]["negatives"] is None:
        return None
    most = max(max(row["negatives"], row["positives"]) for row in rows)
    picture = Picture(
        "Test candidates and test purchases by popularity of the item",
        linear("tenths of the items, least to most bought in training", 10.5, low=0.5),
        linear("share", most, words=percent),
    )
    for row in rows:
        n = row["tenth"]
        bought = f"bought {row['fewest_purchases']:,} to {row['most_purchases']:,} times"
        for shift, kind, style in ((-0.4, "negatives", "rest"), (0, "positives", "test")):
            tip = f"tenth {n} ({bought}): {percent(row[kind])} of the {kind}"
            picture.bar(n + shift, n + shift + 0.4, row[kind], tip, style)
    names = [(row["tenth"], str(row["tenth"])) for row in rows]
    last = rows[-1]
    title = (
        f"Negatives and positives: the most bought tenth has {percent(last['negatives'])} of the "
        f"negatives, {percent(last['positives'])} of the test purchases"
    )
    words = "Where the bars differ, a candidate's popularity alone tells something of the answer."
    legend = [("rest", "negatives of the test"), ("test", "test purchases")]
    return Section(title, words, picture.svg(names=names), legend)


def _templates(found: dict[str, Any]) -> Section:
    heads = [Head("template"), Head("task", "room"), Head("training", "n"), Head("held out", "n")]
    rows = [
        [row["template_id"], row["task"], f"{row['train']:,}", f"{row['held_out']:,}"]
        for row in found["templates"]
    ]
    words = "Samples by template. Validation and test use the bare one, which has ids and no words."
    title = "Which templates are used, and how often"
    return Section(title, words, table(heads, rows), size="double")
