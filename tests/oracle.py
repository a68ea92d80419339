"""The build once more in plain Python, the way one would explain it: what the SQL must equal."""

import hashlib
from collections import Counter, defaultdict
from typing import Any

Row = dict[str, Any]
Purchase = tuple[int, str, str, int]  # line number, reviewer, product, time


def key(seed: int, *words: object) -> str:
    return hashlib.md5("/".join(map(str, (seed, *words))).encode()).hexdigest()


def draw(hexadecimal: str, i: int, n: int) -> int:
    return int(hexadecimal[7 * i - 7 : 7 * i], 16) * n >> 28


def permuted(hexadecimal: str, slots: int, a: int, b: int) -> list[int]:
    k = [int(hexadecimal[4 * i : 4 * i + 11], 16) for i in range(6)]

    def image(slot: int) -> int:
        v, low, high = slot % b * a + slot // b, a, b
        for i in range(5):
            left, right = v % low, v // low
            f = (k[i] * right + k[i + 1]) % 2**44 >> 14
            v = right + high * ((left + f) % low)
            low, high = high, low
        return v

    return [image(v) for v in range(slots)]


def sides(size: int) -> tuple[int, int]:
    root = max(12, -int(-(size**0.5) // 1))
    _, a = min((s * -(-size // s) - size, s) for s in range(root, root + 64))
    return a, max(12, -(-size // a))


def purchases(rows: list[Row], duplicates: str) -> list[Purchase]:
    all_of_them = [
        (n, r["reviewerID"], r["asin"], r["unixReviewTime"]) for n, r in enumerate(rows, 1)
    ]
    if duplicates == "all":
        return all_of_them
    kept: dict[tuple[str, str], Purchase] = {}
    for p in sorted(all_of_them, key=lambda p: (p[3], p[0]), reverse=duplicates == "last"):
        kept.setdefault((p[1], p[2]), p)
    return sorted(kept.values())


def core(bought: list[Purchase], k: int) -> list[Purchase]:
    while True:
        users, items = Counter(p[1] for p in bought), Counter(p[2] for p in bought)
        left = [p for p in bought if users[p[1]] >= k and items[p[2]] >= k]
        if len(left) == len(bought):
            return left
        bought = left


def sequences(bought: list[Purchase], protocol: str, seed: int) -> dict[str, list[Purchase]]:
    by_user: dict[str, list[Purchase]] = defaultdict(list)
    for p in bought:
        by_user[p[1]].append(p)
    for user, own in by_user.items():
        own.sort(
            key=lambda p: (p[3], key(seed, "tie", user, p[2]) if protocol == "clean" else "", p[0])
        )
    return dict(by_user)


def numbers(
    rows: list[Row], ordered: dict[str, list[Purchase]], protocol: str, seed: int
) -> tuple[list[str], list[str]]:
    """Return the users and the products in the order of their numbers."""
    items = {p[2] for own in ordered.values() for p in own}
    if protocol == "clean":
        return (
            sorted(ordered, key=lambda u: key(seed, "user", u)),
            sorted(items, key=lambda i: key(seed, "item", i)),
        )
    users = list(dict.fromkeys(r["reviewerID"] for r in rows if r["reviewerID"] in ordered))
    return users, list(dict.fromkeys(p[2] for u in users for p in ordered[u]))
