"""Intervals and paired differences, against scipy's bootstrap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap

from pipelines.metrics import significance
from pipelines.metrics.significance import differs, interval, paired_difference, resampled_means

Array = np.ndarray[Any, np.dtype[Any]]
VALUES = np.random.default_rng(0).exponential(size=400)
OTHERS = 0.9 * VALUES + np.random.default_rng(1).normal(0, 0.2, 400)


def mean_difference(first: Array, second: Array, axis: int = -1) -> Array:
    return np.asarray(first.mean(axis) - second.mean(axis))


def test_an_interval_is_scipys() -> None:
    low, high = interval(VALUES, seed=1)
    oracle = bootstrap((VALUES,), np.mean, n_resamples=20_000, method="percentile", rng=2).confidence_interval
    assert (low, high) == pytest.approx((oracle.low, oracle.high), abs=0.07 * (oracle.high - oracle.low))


def test_a_paired_difference_is_scipys() -> None:
    low, high = paired_difference(VALUES, OTHERS, seed=1)
    oracle = bootstrap(
        (VALUES, OTHERS), mean_difference, n_resamples=20_000, method="percentile", paired=True, rng=2
    ).confidence_interval
    assert (low, high) == pytest.approx((oracle.low, oracle.high), abs=0.07 * (oracle.high - oracle.low))
    unpaired = bootstrap((VALUES, OTHERS), mean_difference, n_resamples=999, method="percentile", rng=2)
    assert high - low < 0.5 * (unpaired.confidence_interval.high - unpaired.confidence_interval.low)


def test_a_resample_draws_as_many_items_as_there_are() -> None:
    """The means of an indicator of each item are how often it was drawn."""
    drawn = np.stack([resampled_means(row) for row in np.eye(8)]) * 8
    np.testing.assert_allclose(drawn.sum(0), 8)
    np.testing.assert_allclose(drawn, drawn.round(), atol=1e-12)
    assert drawn.var() == pytest.approx(7 / 8, rel=0.1)  # of a multinomial count of 8 draws among 8


def test_a_difference_is_significant_though_the_intervals_overlap() -> None:
    better = VALUES - 0.01
    assert interval(better)[1] > interval(VALUES)[0]
    assert (differs(VALUES, better), differs(better, VALUES), differs(VALUES, VALUES)) == (1, -1, 0)
    noise = np.random.default_rng(2).normal(0, 1, 400)  # so the mean has a standard error of 0.05
    noise -= noise.mean()
    shifted = [differs(VALUES + noise + shift, VALUES) for shift in (-0.2, -0.03, 0.03, 0.2)]
    assert shifted == [-1, 0, 0, 1]


def test_values_that_are_all_the_same_have_an_interval_of_one_point() -> None:
    assert interval(np.full(1000, 0.1)) == (0.1, 0.1)
    assert paired_difference(np.full(7, 0.3), np.full(7, 0.1)) == pytest.approx((0.2, 0.2))


def test_an_interval_depends_on_the_seed_alone() -> None:
    first = interval(VALUES, seed=3)
    np.random.seed(0)
    significance._resampled_means.cache_clear()
    assert interval(VALUES, seed=3) == first
    assert interval(VALUES, seed=4) != first


def test_items_too_many_to_keep_their_draws_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = resampled_means(VALUES, seed=5)
    significance._resampled_means.cache_clear()
    monkeypatch.setattr(significance, "KEPT", 0)
    np.testing.assert_array_equal(resampled_means(VALUES, seed=5), kept)


def test_items_are_drawn_once_for_all_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    draws = significance._draws
    monkeypatch.setattr(significance, "_draws", lambda *given: drawn.append(given) or draws(*given))
    experiments = np.random.default_rng(3).normal(size=(6, 501))
    assert sum(differs(a, b) for a in experiments for b in experiments) == 0
    assert drawn == [(501, 0)]


def test_values_of_other_items_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="values of 400 and of 399 items, must be of the same items"):
        paired_difference(VALUES, VALUES[1:])
    with pytest.raises(ValueError, match=r"shape \(0,\)"):
        interval(VALUES[:0])
