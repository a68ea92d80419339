"""Verdicts: rarely wrong on equal runs, right on different ones, the same from either side."""

import time
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podprep.contract.errors import PodError
from podtrain.metrics.compare import compare

Hits = npt.NDArray[np.float64]


def hits(rng: np.random.Generator, taste: Hits, rate: float) -> Hits:
    """Hits of users with tastes of their own: runs agree about most users, as real ones do."""
    return (taste + rng.normal(0, 0.5, len(taste)) < np.quantile(taste, rate)).astype(np.float64)


def share_called_different(
    runs: int, draw: np.random.Generator, spread: float, seeds: int
) -> float:
    """How often two runs of one recipe are called different; spread: of the rate over seeds."""
    called = 0
    for n in range(runs):
        taste = draw.normal(size=400)
        values = {
            run: [
                hits(draw, taste, float(np.clip(draw.normal(0.2, spread), 0.01, 1)))
                for _ in range(seeds)
            ]
            for run in "ab"
        }
        [found] = compare(values, "a", resamples=300, seed=n)
        called += found.verdict != "within noise"
    return called / runs


def test_equal_runs_of_one_seed_are_called_different_5_times_in_100() -> None:
    # 6000 runs: .054; the standard error of 1000 is .007
    assert 0.035 < share_called_different(1000, np.random.default_rng(1), 0.0, 1) < 0.075


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equal_runs_that_differ_by_seed_are_not_called_different_more_often(seeds: int) -> None:
    """1500 runs: .050, .046, .057. Where seeds add little to users, it is below .02."""
    share = share_called_different(300, np.random.default_rng(seeds), 0.06, seeds)
    assert 0.01 < share < 0.09


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_interval_covers_the_true_difference(seeds: int) -> None:
    rng = np.random.default_rng(6)
    covered = 0
    for n in range(300):
        common = rng.normal(size=300)
        values = {
            run: [
                common + shift + rng.normal(0, 0.05) + rng.normal(0, 0.3, 300) for _ in range(seeds)
            ]
            for run, shift in (("base", 0.0), ("run", 0.1))
        }
        if seeds == 1:  # one seed says nothing of others: the difference is that of these two
            values = {"base": [common], "run": [common + 0.1 + rng.normal(0, 0.3, 300)]}
        [found] = compare(values, "base", resamples=300, seed=n)
        covered += found.low <= 0.1 <= found.high
    assert 0.91 < covered / 300 < 0.99


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_real_difference_is_found_and_has_a_sign(seeds: int) -> None:
    rng = np.random.default_rng(4)
    taste = rng.normal(size=5000)
    rates = {"low": 0.05, "middle": 0.1, "high": 0.2}
    values = {run: [hits(rng, taste, r) for _ in range(seeds)] for run, r in rates.items()}
    low, high = compare(values, "middle")
    assert (low.run, low.verdict) == ("low", "worse")
    assert (high.run, high.verdict) == ("high", "better")
    assert low.low < low.difference < low.high < 0 < high.low < high.difference < high.high
    means = [array.mean() for array in values["high"]]
    assert high.mean == pytest.approx(np.mean(means))
    assert high.difference == pytest.approx(high.mean - np.mean(values["middle"]))
    assert high.seeds == seeds
    assert high.sd == (None if seeds == 1 else pytest.approx(np.std(means, ddof=1)))


def test_few_seeds_that_disagree_prove_nothing() -> None:
    """The users alone would be sure: the noise is in the seeds."""
    rng = np.random.default_rng(0)
    taste = rng.normal(size=20_000)
    values = {
        "base": [hits(rng, taste, r) for r in (0.10, 0.12)],
        "run": [hits(rng, taste, r) for r in (0.12, 0.14)],
    }
    assert compare(values, "base")[0].verdict == "within noise"
    alone = {run: arrays[:1] for run, arrays in values.items()}
    assert compare(alone, "base")[0].verdict == "better"


runs = st.integers(1, 3).flatmap(
    lambda seeds: st.lists(
        st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=5, max_size=5).map(np.array),
        min_size=seeds,
        max_size=seeds,
    )
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(runs, runs, runs)
def test_sides_mirror_and_others_do_not_matter(a: list[Hits], b: list[Hits], c: list[Hits]) -> None:
    [there] = compare({"a": a, "b": b}, "a", resamples=50)
    [back, _] = compare({"a": a, "b": b, "c": c}, "b", resamples=50)
    assert (back.run, there.run) == ("a", "b")
    assert back.difference == pytest.approx(-there.difference)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    opposite = {"better": "worse", "worse": "better", "within noise": "within noise"}
    if min(abs(there.low), abs(there.high)) > 1e-9:  # else rounding decides
        assert back.verdict == opposite[there.verdict]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(runs)
def test_a_run_is_within_noise_of_itself(run: list[Hits]) -> None:
    [found] = compare({"a": run, "b": run}, "a", resamples=50)
    assert found.verdict == "within noise"
    assert found.difference == 0
    if len(run) == 1:
        assert (found.low, found.high) == (0, 0)
    elif len({array.mean() for array in run}) > 1:  # the seeds of each are drawn on their own
        assert found.low < 0 < found.high


def test_the_interval_is_that_of_a_plain_loop() -> None:
    """One seed each: resample users one by one, with a generator of its own."""
    rng = np.random.default_rng(2)
    a, b = rng.random(200), rng.random(200)
    [found] = compare({"a": [a], "b": [b]}, "a", resamples=4000)
    plain = [(b - a)[rng.integers(200, size=200)].mean() for _ in range(4000)]
    assert (found.low, found.high) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.004)


def test_the_same_seed_gives_the_same_verdict_and_parts_do_not_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(2)
    values = {run: [rng.random(50) for _ in range(2)] for run in "abc"}
    whole = compare(values, "a", resamples=101)
    assert compare(values, "a", resamples=101) == whole
    assert compare(values, "a", resamples=101, seed=1) != whole
    monkeypatch.setattr("podtrain.metrics.compare.DRAWS", 150)
    parts = compare(values, "a", resamples=101)
    assert [p.low for p in parts] == pytest.approx([w.low for w in whole])


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_the_spelling_of_a_path_decides_nothing(seeds: int) -> None:
    rng = np.random.default_rng(3)
    one, other = ([rng.random(50) for _ in range(seeds)] for _ in range(2))
    [found] = compare({"runs/a": one, "runs/b": other}, "runs/a", resamples=101)
    [same] = compare({"/here/runs/a": one, "../b": other}, "/here/runs/a", resamples=101)
    assert replace(same, run=found.run) == found


def test_beauty_takes_seconds() -> None:
    values = {run: [np.random.default_rng(n).random(22_363) for n in range(5)] for run in "ab"}
    start = time.process_time()
    compare(values, "a")
    assert time.process_time() - start < 10  # 1 measured


def test_what_cannot_be_compared_is_refused() -> None:
    one, other = np.ones(3), np.ones(4)
    with pytest.raises(PodError, match="no run is named c: choose from a, b"):
        compare({"a": [one], "b": [one]}, "c")
    with pytest.raises(PodError, match="b was evaluated on 4 users, a on 3: evaluate both"):
        compare({"a": [one], "b": [one, other]}, "a")
    with pytest.raises(PodError, match="b has no seed"):
        compare({"a": [one], "b": []}, "a")
    with pytest.raises(PodError, match="a was evaluated on no user"):
        compare({"a": [one[:0]], "b": [one[:0]]}, "a")
