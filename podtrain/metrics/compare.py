"""Whether one run is better than another, or only luckier with its users and seeds."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from podprep.contract.errors import PodError

Verdict = Literal["better", "worse", "within noise"]
Floats = npt.NDArray[np.float64]

DRAWS = 1 << 21  # users drawn at a time, about 50 MB

# Student's t that 5% exceed on either side, for 2 to 10 degrees of freedom. Two standard errors
# would not do with few seeds: where seeds are all the noise, 2 seeds each called 17% of equal
# runs different, 3 seeds 11% (simulated); these call 5%.
STUDENT = (4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run beside the baseline, on the same users.

    mean: over users and seeds; sd: of the means of the seeds, None for a single seed;
    difference: to the mean of the baseline; low, high: its 95% interval; p: the share of
    resamples in which the difference has the other sign, doubled, at least 1 / resamples.
    """

    run: str
    seeds: int
    mean: float
    sd: float | None
    difference: float
    low: float
    high: float
    p: float
    verdict: Verdict


def compare(
    values: Mapping[str, Sequence[npt.NDArray[np.floating[Any]]]],
    baseline: str,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare all runs but the baseline with it, in the order given.

    values: for each run one array (users,) a seed, a metric of the same users in the same order.
    The interval is of a paired bootstrap over users; where both runs have two seeds or more the
    seeds are drawn again too, users and seeds each on their own, which errs to the wide side
    (Owen 2007, The pigeonhole bootstrap). Better and worse need an interval without 0 and, of
    such runs, a difference beyond what Student's t allows the means of the seeds.
    A run is compared alike whatever it is called and whatever other runs are given: what is drawn
    for it depends on its values alone. Errors: `PodError`.
    """
    _refuse(values, baseline)
    seeds = {run: np.stack(arrays, axis=1).astype(np.float64) for run, arrays in values.items()}
    means = {run: array.mean(axis=0) for run, array in seeds.items()}
    resampled = _resampled_means(seeds, resamples, seed)
    found = []
    for run in values:
        if run == baseline:
            continue
        several = min(len(means[run]), len(means[baseline])) > 1
        differences = _differences(
            (seeds[run], resampled[run]), (seeds[baseline], resampled[baseline]), seed
        )
        low, high = (float(q) for q in np.quantile(differences, [0.025, 0.975]))
        difference = float(means[run].mean() - means[baseline].mean())
        sure = not low <= 0 <= high
        if several:
            sure = sure and abs(difference) > _allowance(means[run], means[baseline])
        found.append(
            Comparison(
                run=run,
                seeds=len(means[run]),
                mean=float(means[run].mean()),
                sd=float(means[run].std(ddof=1)) if len(means[run]) > 1 else None,
                difference=difference,
                low=low,
                high=high,
                p=_p_value(differences),
                verdict=("better" if difference > 0 else "worse") if sure else "within noise",
            )
        )
    return found


def _p_value(differences: Floats) -> float:
    below = float((differences <= 0).mean())
    above = float((differences >= 0).mean())
    return float(min(1.0, max(2 * min(below, above), 1 / len(differences))))


def _refuse(values: Mapping[str, Sequence[npt.NDArray[Any]]], baseline: str) -> None:
    if baseline not in values:
        raise PodError(f"no run is named {baseline}: choose from {', '.join(values)}")
    for run, arrays in values.items():
        if not arrays:
            raise PodError(f"{run} has no seed: evaluate it first, or leave it out")
        for array in arrays:
            if array.shape != values[baseline][0].shape:
                raise PodError(
                    f"{run} was evaluated on {len(array)} users, {baseline} on "
                    f"{len(values[baseline][0])}: evaluate both on the same dataset and split"
                )
    if not len(values[baseline][0]):
        raise PodError(f"{baseline} was evaluated on no user: choose another split")


def _differences(run: tuple[Floats, Floats], baseline: tuple[Floats, Floats], seed: int) -> Floats:
    """Return resampled differences of the means; of each its values and resampled means.

    Seeds are drawn by what the values are, so that no name and no other run decides.
    """
    (values, means), (base_values, base_means) = run, baseline
    if min(means.shape[1], base_means.shape[1]) == 1:
        return np.asarray(means.mean(axis=1) - base_means.mean(axis=1))
    key, base_key = _identity(values), _identity(base_values)
    copy = key == base_key  # it draws on its own, too, and neither of the two comes first
    difference = _redrawn_seeds(means, [seed, int(copy), *key])
    difference -= _redrawn_seeds(base_means, [seed, 0, *base_key])
    return np.concatenate([difference, -difference]) if copy else difference


def _identity(values: Floats) -> bytes:
    """Return a hash of a run's values, (users, seeds)."""
    return hashlib.sha256(np.ascontiguousarray(values).data).digest()


def _resampled_means(seeds: dict[str, Floats], resamples: int, seed: int) -> dict[str, Floats]:
    """Return each run's means (resamples, seeds); a resample has the same users for all runs."""
    columns = np.concatenate(list(seeds.values()), axis=1)
    means = np.concatenate(
        [counts @ columns for counts in _user_counts(len(columns), resamples, seed)]
    )
    cuts = np.cumsum([array.shape[1] for array in seeds.values()])[:-1]
    return dict(zip(seeds, np.split(means / len(columns), cuts, axis=1), strict=True))


def _user_counts(users: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield (some resamples, users): how often each user was drawn."""
    rng = np.random.default_rng(seed)
    step = max(1, DRAWS // users)
    for start in range(0, resamples, step):
        n = min(step, resamples - start)
        drawn = rng.integers(users, size=(n, users)) + users * np.arange(n)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=n * users)
        yield counts.reshape(n, users).astype(np.float64)


def _redrawn_seeds(means: Floats, key: list[int]) -> Floats:
    """Return (resamples,): means over seeds drawn again, from those of each seed.

    Draws from n seeds vary by a share of (n - 1) / n too little, so they are stretched by that.
    """
    resamples, n = means.shape
    drawn = np.random.default_rng(key).integers(n, size=(resamples, n))
    centre = means.mean(axis=1)
    away = np.take_along_axis(means, drawn, axis=1).mean(axis=1) - centre
    return np.asarray(centre + away * np.sqrt(n / max(n - 1, 1)))


def _allowance(a: Floats, b: Floats) -> float:
    """Return how far apart the means of two equal runs may be by their seeds alone."""
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    return float(error * STUDENT[min(len(a) + len(b) - 4, len(STUDENT) - 1)])
