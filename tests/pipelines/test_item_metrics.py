from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

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


def test_squared_errors_are_sums_over_an_items_values() -> None:
    items = np.array([[[0, 2], [3, 4]], [[1, 1], [1, 1]]], np.uint8)
    rebuilt = np.array([[[1, 0], [3, 4.5]], [[1, 1], [1, 1]]], np.float32)
    errors = squared_errors(items, rebuilt)
    assert errors.tolist() == [1 + 4 + 0.25, 0]
    assert errors.dtype == np.float64


def test_psnr_is_ten_log_ten_of_peak_over_error() -> None:
    np.testing.assert_allclose(psnrs(np.array([1.0, 0.1, 0.0025])), [0, 10, 26.0206], atol=1e-4)
    assert np.isfinite(psnrs(np.zeros(1)))


def test_entropy_of_a_position_is_over_items() -> None:
    codes = np.array([[0, 5, 1], [0, 6, 1], [0, 7, 2], [0, 8, 1]], np.uint16)
    rare = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    np.testing.assert_allclose(position_entropies(codes), [0, 2, rare])


def test_distinct_counts_different_rows() -> None:
    rows = np.array([[[1, 2], [3, 4]], [[1, 2], [3, 4]], [[1, 2], [4, 3]]])
    assert distinct(rows) == 2
    assert distinct(rows[:, ::-1]) == 2
    assert distinct(rows[:0]) == 0


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
