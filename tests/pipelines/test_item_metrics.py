from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from scipy.linalg import subspace_angles
from scipy.stats import bootstrap

from pipelines.metrics import significance, similarity
from pipelines.metrics.classes import knn_correct, probe_correct
from pipelines.metrics.item_metrics import (
    active_fractions,
    distinct,
    overlaps,
    position_entropies,
    precisions,
    principal_angles,
    psnrs,
    squared_errors,
)
from pipelines.metrics.significance import interval
from pipelines.metrics.similarity import ssims


def test_squared_errors_are_sums_over_an_items_values() -> None:
    items = np.array([[[0, 2], [3, 4]], [[1, 1], [1, 1]]], np.uint8)
    rebuilt = np.array([[[1, 0], [3, 4.5]], [[1, 1], [1, 1]]], np.float32)
    errors = squared_errors(items, rebuilt)
    assert errors.tolist() == [1 + 4 + 0.25, 0]
    assert errors.dtype == np.float64


def test_psnr_is_ten_log_ten_of_peak_over_error() -> None:
    np.testing.assert_allclose(psnrs(np.array([1.0, 0.1, 0.0025])), [0, 10, 26.0206], atol=1e-4)
    assert np.isfinite(psnrs(np.zeros(1)))


def ssim_by_definition(first: np.ndarray, second: np.ndarray, window: np.ndarray) -> float:
    """Return the mean over pixels and channels of Wang et al.'s equation 13, for (height, width, channels)."""
    scores, edge = [], len(window) // 2
    first, second = (np.pad(image, ((edge, edge), (edge, edge), (0, 0)), mode="reflect") for image in (first, second))
    for channel in range(first.shape[2]):
        x, y = (sliding_window_view(image[..., channel].astype(float), window.shape) for image in (first, second))

        def mean(values: np.ndarray) -> np.ndarray:
            return (values * window).sum((2, 3))

        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        c1, c2 = 0.01**2, 0.03**2
        scores.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(scores))


def gaussian_window() -> np.ndarray:
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    return np.outer(weights, weights) / weights.sum() ** 2


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((20, 15, 1), gaussian_window()),
        ((11, 13, 3), gaussian_window()),
        ((8, 8, 1), np.full((7, 7), 1 / 49)),
        ((10, 10, 1), np.full((7, 7), 1 / 49)),
        ((7, 12, 3), np.full((7, 7), 1 / 49)),
    ],
    ids=lambda value: str(getattr(value, "shape", value)),
)
def test_ssim_is_that_of_its_definition(
    shape: tuple[int, ...], window: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "CHUNK", 2 * np.prod(shape))  # two images at once, and one is left over
    random = np.random.default_rng(0)
    images = random.random((5, *shape), dtype=np.float32)
    rebuilt = np.clip(images + random.normal(0, 0.2, images.shape), 0, 1).astype(np.float32)
    expected = [ssim_by_definition(image, other, window) for image, other in zip(images, rebuilt, strict=True)]
    assert max(expected) < 0.97
    np.testing.assert_allclose(ssims(images, rebuilt), expected, atol=1e-4)


def test_ssim_of_identical_images_is_one(digits: np.ndarray) -> None:
    images = digits[:9] / 255.0
    np.testing.assert_allclose(ssims(images, images), np.ones(9), atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 20, 1), (20, 6, 3), (1, 1, 1)])
def test_images_too_small_for_a_window_have_no_ssim(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"images of {shape[0]}×{shape[1]} pixels, must be at least 7×7"):
        ssims(np.zeros((2, *shape)), np.zeros((2, *shape)))


def two_clouds(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = random.integers(0, 2, count)
    return random.normal(size=(count, 3)) + 20 * labels[:, None], labels


@pytest.mark.parametrize("judge", [knn_correct, probe_correct])
def test_separable_classes_are_found_and_wrong_labels_count_as_wrong(
    judge: Callable[..., np.ndarray],
) -> None:
    random = np.random.default_rng(0)
    train, train_labels = two_clouds(random, 80)
    test, test_labels = two_clouds(random, 30)
    wrong = np.arange(30) < 10
    correct = judge(train, train_labels, test, np.where(wrong, 1 - test_labels, test_labels))
    np.testing.assert_array_equal(correct, 1.0 - wrong)


def test_knn_takes_the_majority_of_five() -> None:
    train, labels = np.array([[0.0], [1], [2], [3], [4], [100]]), np.array([0, 0, 1, 1, 1, 0])
    assert knn_correct(train, labels, np.array([[0.0]]), np.array([1])).tolist() == [1]
    assert knn_correct(train, labels, np.array([[0.0]]), np.array([0]), k=1).tolist() == [1]
    assert knn_correct(train[:3], labels[:3], np.array([[2.0]]), np.array([0])).tolist() == [1]


def test_the_probe_standardizes_features_of_unlike_scales() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    features = np.stack([1e-4 * (labels + 0.05 * random.normal(size=200)), 1e4 * random.normal(size=200)], 1)
    assert probe_correct(features[:150], labels[:150], features[150:], labels[150:]).mean() == 1


def test_entropy_of_a_position_is_over_items() -> None:
    codes = np.array([[0, 5, 1], [0, 6, 1], [0, 7, 2], [0, 8, 1]], np.uint16)
    rare = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    np.testing.assert_allclose(position_entropies(codes), [0, 2, rare])


def test_distinct_counts_different_rows() -> None:
    rows = np.array([[[1, 2], [3, 4]], [[1, 2], [3, 4]], [[1, 2], [4, 3]]])
    assert distinct(rows) == 2
    assert distinct(rows[:, ::-1]) == 2
    assert distinct(rows[:0]) == 0


def test_interval_is_scipys_bootstrap_interval() -> None:
    values = np.random.default_rng(0).exponential(size=400)
    oracle = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=2).confidence_interval
    width = oracle.high - oracle.low
    low, high = np.mean([interval(values, seed) for seed in range(4)], axis=0)  # 4 × 1000 resamples
    assert low == pytest.approx(oracle.low, abs=0.06 * width)
    assert high == pytest.approx(oracle.high, abs=0.06 * width)


def test_interval_depends_on_the_seed_alone() -> None:
    values = np.random.default_rng(0).normal(size=50)
    first = interval(values, seed=3)
    np.random.seed(0)
    significance._resampled_means.cache_clear()
    significance._kept_draws.cache_clear()
    assert interval(values, seed=3) == first
    assert interval(values, seed=4) != first


@settings(deadline=None, max_examples=60)
@given(first=st.integers(1, 5), second=st.integers(1, 5), dimensions=st.integers(5, 9), tilt=st.integers(-9, 1))
def test_principal_angles_are_scipys(first: int, second: int, dimensions: int, tilt: int) -> None:
    random = np.random.default_rng(first * 100 + second * 10 + dimensions)
    one = random.normal(size=(first, dimensions))
    other = np.resize(one, (second, dimensions)) + 10.0**tilt * random.normal(size=(second, dimensions))
    expected = np.degrees(subspace_angles(one.T, other.T))[::-1]
    np.testing.assert_allclose(principal_angles(one, other), expected, rtol=1e-5, atol=1e-5)


def test_principal_angles_by_hand() -> None:
    plane = np.array([[1.0, 0, 0], [1, 1, 0]])
    assert principal_angles(plane, np.array([[0.0, 0, 2]])).tolist() == [90]
    np.testing.assert_allclose(principal_angles(plane, np.array([[3.0, 0, 3]])), [45])
    np.testing.assert_allclose(principal_angles(plane, np.array([[0.0, 1, 0], [0, 0, 1]])), [0, 90], atol=1e-9)
    tilted = np.array([[1.0, 1e-9, 0]])
    np.testing.assert_allclose(principal_angles(np.array([[5.0, 0, 0]]), tilted), [np.degrees(1e-9)], rtol=1e-5)
    assert len(principal_angles(np.float32([[1, 2, 3], [2, 4, 6]]), plane)) == 1


def test_active_fractions_count_units_above_a_share_of_their_own_largest_value() -> None:
    codes = np.array([[0.0, 10.0, -0.05, 0.2], [0.0, 0.0, 0.0, 0.0], [0.0, 5.0, 5.0, -1.0]])
    assert active_fractions(codes).tolist() == [0.5, 0.0, 0.75]
    assert active_fractions(codes, silent=0.3).tolist() == [0.25, 0.0, 0.75]


def test_precision_counts_neighbours_of_the_querys_class() -> None:
    found = np.array([[3, 3, 1, 3], [0, 1, 2, 3], [2, 2, 2, 2]])
    assert precisions(found, np.array([3, 4, 2])).tolist() == [0.75, 0.0, 1.0]


def test_overlap_counts_shared_neighbours_in_whatever_order() -> None:
    first = np.array([[5, 6, 7, 8], [5, 6, 7, 8], [5, 6, 7, 8]])
    second = np.array([[8, 7, 6, 5], [9, 5, 0, 8], [1, 2, 3, 4]])
    assert overlaps(first, second).tolist() == [1.0, 0.5, 0.0]
