"""The embedded sample: an invented review dump in the form of the 2014 Amazon release.

Same seed, same bytes (before compression) on every machine. Only `random.Random.random()` is
drawn from, because it is the one method whose sequence Python promises to keep between versions.
"""

import gzip
import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from podprep.raw.sample_text import (
    Draw,
    Product,
    User,
    escape,
    opinion,
    review_text,
    topics_of,
    word_lists,
)

_Row = dict[str, Any]

_USERS = 440
_PASSERS_BY = 16  # users with too few purchases for a 5-core
_RARE_PRODUCTS = 8  # products with too few buyers for a 5-core
_DUPLICATES = 3  # second reviews of a product by the same user
_DAY = 86_400
_FIRST_DAY = 14_610  # 2010-01-01, in days since 1970
_SPAN = 1_640  # days on which a first review may fall
_LENGTHS = ((35, 5, 6), (36, 7, 9), (20, 10, 15), (5, 16, 19), (4, 20, 38))  # weight, from, to
_KIND_WEIGHTS = (17, 15, 14, 13, 12, 11, 10, 9)
_BRAND_WEIGHTS = (7, 5, 4, 4)
_BASE_36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _code(length: int, *key: object) -> str:
    number = int.from_bytes(hashlib.sha256(repr(key).encode()).digest(), "big")
    return "".join(_BASE_36[number // 36**place % 36] for place in range(length))


def _products(seed: int) -> list[Product]:
    draw = Draw(seed, "products")
    shelf = [
        (kind, brand, place)
        for kind, entry in enumerate(word_lists()["kinds"])
        for brand in range(len(entry["brands"]))
        for place in range(len(entry["nouns"]))
    ]
    places = {spot: number for number, spot in enumerate(shelf)}
    shelf += [draw.pick(shelf) for _ in range(_RARE_PRODUCTS)]
    products = []
    for number, (kind, brand, place) in enumerate(shelf):
        entry = word_lists()["kinds"][kind]
        noun, _, listed = entry["nouns"][place].partition(": ")
        left = listed.split()
        features = tuple(left.pop(draw.below(len(left))) for _ in range(len(left)))
        popularity = _BRAND_WEIGHTS[brand] * 1000 // (6 + draw.below(90))  # a long tail
        product = Product(
            asin="B0" + _code(8, "product", seed, number),
            kind=kind,
            brand=entry["brands"][brand],
            noun=noun,
            features=features,
            salient=2 + draw.below(2),
            quality=draw.below(25) - 12,
            weight=popularity if number < len(places) else 0,
            successor=places[kind, brand, (place + 1) % len(entry["nouns"])],
        )
        products.append(product)
    return products


def _user(draw: Draw, seed: int, number: int, products: Sequence[Product]) -> User:
    kinds: list[int] = []
    for share in draw.pick(((1,), (7, 3), (3, 2), (5, 3, 2))):
        weights = [0 if kind in kinds else w for kind, w in enumerate(_KIND_WEIGHTS)]
        kinds += [draw.weighted(weights)] * share
    known = sorted({f for p in products if p.kind in kinds for f in p.features})
    cares = frozenset(draw.pick(known) for _ in range(4))
    handles = word_lists()["handles"]
    name = f"{draw.pick(handles['manners'])}_{draw.pick(handles['animals'])}"
    name += str(10 + draw.below(90)) if draw.chance(40) else ""
    code = "A" + _code(12 + draw.below(2), "user", seed, number)
    return User(code, name, tuple(kinds), cares, draw.below(25) - 12, draw.below(1000))


def _length(draw: Draw) -> int:
    _, low, high = _LENGTHS[draw.weighted([weight for weight, _, _ in _LENGTHS])]
    return low + draw.below(high - low + 1)


def _history(draw: Draw, user: User, products: Sequence[Product], length: int) -> list[int]:
    """What the user buys, in order: series are followed, else taste decides."""
    owned: list[int] = []
    while len(owned) < length:
        number = _wish(draw, user, products, owned)
        if number not in owned:
            owned.append(number)
    return owned


def _wish(draw: Draw, user: User, products: Sequence[Product], owned: list[int]) -> int:
    roll = draw.below(100)
    if owned and roll < 50:
        return products[owned[-1]].successor
    if len(owned) > 1 and roll < 62:  # back to a series left one step ago: more than Markov can see
        return products[owned[-2]].successor
    if roll >= 92:  # what everybody buys
        return draw.weighted([p.weight for p in products])
    kind = draw.pick(user.kinds)
    return draw.weighted([p.weight if p.kind == kind else 0 for p in products])


def _days(draw: Draw, count: int) -> list[int]:
    """Ascending days, 38 in 100 of them the same as the one before."""
    ties = [draw.chance(38) for _ in range(count - 1)]
    distinct = count - sum(ties)
    window = min(_SPAN, distinct * (10 + draw.below(60)))
    start = _FIRST_DAY + draw.below(_SPAN - window + 1)
    chosen: set[int] = set()
    while len(chosen) < distinct:
        chosen.add(start + draw.below(window))
    ascending = iter(sorted(chosen))
    days = [next(ascending)]
    for tie in ties:
        days.append(days[-1] if tie else next(ascending))
    return days


def _rating(draw: Draw, user: User, product: Product) -> int:
    cared = user.cares.intersection(product.features[: product.salient])
    score = draw.below(100) + product.quality + user.mood + 8 * bool(cared)
    return 1 + sum(score >= bound for bound in (6, 13, 25, 45))


def _row(draw: Draw, user: User, product: Product, day: int) -> _Row:
    rating = _rating(draw, user, product)
    votes = draw.below(9) * draw.chance(30)
    tone = "good" if rating > 3 else "bad"
    summary = opinion(
        draw, user, product, topics_of(draw, user, product), f"summary_{tone}", rating > 3
    )
    date = datetime.fromtimestamp(day * _DAY, UTC)
    return {
        "reviewerID": user.id,
        "asin": product.asin,
        "reviewerName": user.name,
        "helpful": [draw.below(votes + 1), votes],
        "reviewText": escape(review_text(draw, user, product, rating)),
        "overall": float(rating),
        "summary": escape(summary),
        "unixReviewTime": day * _DAY,
        "reviewTime": f"{date.month:02d} {date.day}, {date.year}",
    }


def _rows(seed: int) -> list[_Row]:
    """Every sound review, by product and in time order within a product."""
    products, rows = _products(seed), []
    people, orders, dates, texts = (Draw(seed, t) for t in ("users", "orders", "dates", "texts"))
    for number in range(_USERS + _PASSERS_BY):
        user = _user(people, seed, number, products)
        length = _length(orders) if number < _USERS else 1 + orders.below(2)
        history = _history(orders, user, products, length)
        if number >= _USERS:
            history.append(len(products) - 1 - number % _RARE_PRODUCTS)
        for index, day in zip(history, _days(dates, len(history)), strict=True):
            rows.append(_row(texts, user, products[index], day))
        if number < _DUPLICATES:
            day = rows[-1]["unixReviewTime"] // _DAY + 1 + dates.below(30)
            rows.append(_row(texts, user, products[history[0]], day))
    return sorted(rows, key=lambda row: (row["asin"], row["unixReviewTime"], row["reviewerID"]))


def _encode(row: _Row) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


def _malformed(seed: int, like: _Row) -> list[bytes]:
    """One line of each kind that a reader must reject; none takes a sound review away."""
    rows = [like | {"reviewerID": "A" + _code(13, "malformed", seed, n)} for n in range(6)]
    no_asin = {key: value for key, value in rows[1].items() if key != "asin"}
    return [
        _encode(rows[0])[:-40],
        b"-- end of part 1 of 2 --",
        _encode(no_asin),
        _encode(rows[2] | {"overall": "five"}),
        _encode(rows[3] | {"reviewerID": ""}),
        _encode(rows[4] | {"unixReviewTime": -_DAY}),
        _encode(rows[5] | {"reviewText": "Arrived ~ fine."}).replace(b"~", b"\xff\xfe"),
    ]


def _write(path: Path, lines: Iterable[bytes]) -> None:
    # No name and no time in the header: the bytes must depend on the content alone.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        packed.write(b"".join(line + b"\n" for line in lines))


def write_sample(path: Path, seed: int = 0) -> None:
    """Write the sample's reviews, gzipped JSON lines, among them seven malformed ones."""
    rows = _rows(seed)
    lines = [_encode(row) for row in rows]
    places = Draw(seed, "malformed")
    for line in _malformed(seed, rows[places.below(len(rows))]):
        lines.insert(places.below(len(lines)), line)
    _write(path, lines)


def write_sample_meta(path: Path, seed: int = 0) -> None:
    """Write the sample's product metadata, gzipped, one Python literal a line as in 2014."""
    draw = Draw(seed, "meta")
    products = sorted(_products(seed), key=lambda product: product.asin)
    entries = [_meta(draw, product) for product in products]
    _write(path, (repr(entry).encode() for entry in entries if not draw.chance(2)))


def _meta(draw: Draw, product: Product) -> _Row:
    words = word_lists()
    variant = draw.pick(words["variants"])
    trail = [words["department"], words["kinds"][product.kind]["name"]]
    trails = [[*trail, product.noun.title()]]
    if draw.chance(15):
        trails.append([words["department"], "Gifts"])
    entry: _Row = {
        "asin": product.asin,
        "title": f"{product.brand} {product.noun.title()} {variant}".rstrip(),
        "price": (299 + 100 * draw.below(60) + draw.below(100)) / 100,
        "brand": product.brand,
        "categories": trails,
    }
    for key, percent in (("title", 2), ("price", 10), ("brand", 25)):
        if draw.chance(percent):
            del entry[key]
    return entry
