"""Negatives over arrays: what 14_negatives.sql draws from a uniform pool, only faster.

The SQL is the recipe and draws whatever is asked for. This draws the same where every product
stands in the pool once, as it does by default: measured on 134,000 times 99 of 12,101 products,
0.5 s of processor time where the SQL takes 3.9.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

CELLS = 32_768  # numbers drawn at a time: they stay in the processor's cache
KEYS = ("k1", "k2", "k3", "k4", "k5", "k6")

Ints = npt.NDArray[np.int64]


def draw_uniform(asked: pa.Table, wanted: int) -> pa.Array:
    """Return for each row of `asked` (14_asked.sql) `wanted` products, fewer where fewer exist.

    They are the first numbers of the row's permutation of 0..a*b-1 that are products and none of
    its own; product i has the number i - 1.
    """
    rows = asked.num_rows
    drawn, counts = np.zeros((rows, wanted), np.int32), np.zeros(rows, np.int32)
    if rows:
        a, b, size = (int(asked[name][0].as_py()) for name in ("a", "b", "size"))
        keys = np.stack([asked[name].to_numpy() for name in KEYS])
        own = asked["own"].combine_chunks()
        lengths = own.value_lengths().to_numpy()
        owner = np.repeat(np.arange(rows), lengths)
        # a permutation tells where it has a number: nobody looks through what was drawn
        slots = slots_of(own.flatten().to_numpy().astype(np.int64) - 1, keys[:, owner], a, b)
        # wide enough for most users; the others draw again
        vain = a * b - size + int(lengths.mean())
        width = min(a * b, (wanted + 8) * a * b // max(1, a * b - vain))
        left = np.arange(rows)
        while len(left):
            step = max(1, CELLS // width)
            for some in np.split(left, range(step, len(left), step)):
                numbers = permuted(keys[:, some, None], width, a, b)
                bad = numbers >= size
                first, last = np.searchsorted(owner, (some[0], some[-1] + 1))
                at, slot = np.searchsorted(some, owner[first:last]), slots[first:last]
                known = (some[at] == owner[first:last]) & (slot < width)
                bad[at[known], slot[known]] = True
                drawn[some], counts[some] = _first_good(numbers, bad, wanted)
            left = left[counts[left] < wanted] if width < a * b else left[:0]
            width = min(a * b, 2 * width)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, (drawn + 1)[np.arange(wanted) < counts[:, None]])


def _first_good(numbers: Ints, bad: npt.NDArray[np.bool_], wanted: int) -> tuple[Ints, Ints]:
    """Return a row's first `wanted` numbers that are not bad, and how many it has."""
    rows, width = numbers.shape
    first = np.zeros((rows, wanted), np.int64)
    first[:, :width] = numbers[:, :wanted]
    mixed = np.flatnonzero(bad[:, :wanted].any(axis=1))
    good_first = np.argsort(bad[mixed], axis=1, kind="stable")[:, :wanted]
    first[mixed, :width] = np.take_along_axis(numbers[mixed], good_first, axis=1)
    return first, np.minimum(wanted, width - bad.sum(axis=1))


def permuted(keys: Ints, slots: int, a: int, b: int) -> Ints:
    """Return the images of 0..slots-1 as `permuted` of 00_draws.sql has them.

    keys: (6, rows, 1); returns (rows, slots).
    """
    left, right = np.divmod(np.arange(slots), b)
    for n in range(5):
        moved = left + _mixed(keys, n, right)
        left, right = right, _modulo(moved, b if n % 2 else a)
    images: Ints = left + b * right
    return images


def slots_of(numbers: Ints, keys: Ints, a: int, b: int) -> Ints:
    """Return the slot whose image each number is. keys: (6, numbers)."""
    right, left = np.divmod(numbers, b)
    for n in reversed(range(5)):
        moved = right - _mixed(keys, n, left)
        left, right = moved % (b if n % 2 else a), left
    return left * b + right


def _mixed(keys: Ints, n: int, half: Ints) -> Ints:
    mixed: Ints = keys[n] * half
    mixed += keys[n + 1]
    mixed &= 2**44 - 1
    mixed >>= 14
    return mixed


def _modulo(numbers: Ints, divisor: int) -> Ints:
    """Return the remainders; numpy divides by a constant much faster than it takes remainders."""
    numbers -= numbers // divisor * divisor
    return numbers
