"""Metrics of samples, against cases small enough to see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from components import samples

LINE = np.arange(10.0)[:, None]  # 0 to 9, each 1 from the next


def test_the_nearest_is_found_with_its_distance() -> None:
    distances, which = samples.nearest(np.array([[2.2], [-3.0]]), LINE)
    assert distances == pytest.approx([0.2, 3])
    assert which.tolist() == [2, 0]


def test_a_point_is_not_its_own_neighbour() -> None:
    assert samples.spacing(LINE) == pytest.approx(np.ones(10))
    assert samples.spacing(LINE, 2) == pytest.approx([2, *[1] * 8, 2])


def test_a_hole_is_farther_from_every_code_than_codes_are_from_one_another() -> None:
    holes = samples.in_holes(np.array([[4.5], [9.9], [10.1], [-2.0]]), LINE)
    assert holes.tolist() == [False, False, True, True]


def test_the_loneliest_hundredth_of_codes_does_not_say_what_a_hole_is() -> None:
    spaced = np.concatenate([np.arange(900.0), 2000 + 3 * np.arange(95.0), [1e6, 2e6, 3e6]])[:, None]
    holes = samples.in_holes(np.array([[902.0], [1999.0], [2400.0], [1e6 + 10]]), spaced)
    assert holes.tolist() == [False, False, True, True]


def test_precision_and_recall_tell_a_dropped_mode_from_a_made_up_one() -> None:
    random = np.random.default_rng(0)
    left, right, nowhere = (random.normal(centre, 0.1, (200, 2)) for centre in (-5, 5, 50))
    real = np.concatenate([left, right])
    dropped, made_up = random.normal(-5, 0.1, (200, 2)), np.concatenate([left + 0.01, nowhere])
    assert samples.inside(dropped, real).mean() > 0.9
    assert samples.inside(real, dropped).mean() == pytest.approx(0.5, abs=0.05)
    assert samples.inside(made_up, real).mean() == pytest.approx(0.5, abs=0.02)


def test_an_edge_of_a_ball_belongs_to_it() -> None:
    # With k = 3 the ball around 0 reaches to 3, the one around 9 to 6, so from -3 to 12.
    assert samples.inside(np.array([[-3.0], [-3.1], [12.0], [12.1]]), LINE, 3).tolist() == [True, False, True, False]


def test_detail_is_what_the_leading_components_cannot_show() -> None:
    random = np.random.default_rng(0)
    plane = np.zeros((500, 5))
    plane[:, :2] = random.normal(0, 3, (500, 2))
    detail = samples.Detail(plane, size=2)
    assert detail(plane[:3]) == pytest.approx(0, abs=1e-9)
    assert detail(plane[:3] + np.array([0, 0, 0, 0, 2.0])) == pytest.approx([4] * 3)


def test_crowding_is_how_few_grid_points_own_half_of_the_codes() -> None:
    assert samples.crowding(np.array([[0.1], [0.2], [0.3], [4], [5], [6]]), LINE) == pytest.approx(1 / 10)
    assert samples.crowding(LINE, LINE) == pytest.approx(5 / 10)


def test_the_divergence_is_the_textbooks_for_one_dimension_and_nothing_for_the_standard_normal() -> None:
    codes = stats.norm(1.5, 0.5).ppf((np.arange(4000) + 0.5) / 4000)[:, None]
    by_hand = np.log(1 / 0.5) + (0.5**2 + 1.5**2) / 2 - 0.5
    assert samples.divergence_from_standard(codes) == pytest.approx(by_hand, rel=5e-3)
    standard = np.random.default_rng(0).normal(size=(100_000, 3))
    assert samples.divergence_from_standard(standard) == pytest.approx(0, abs=1e-3)


def test_a_ratio_of_medians_has_an_interval_around_it() -> None:
    random = np.random.default_rng(1)
    ratio, low, high = samples.ratio_of_medians(random.normal(4, 1, 500), random.normal(2, 1, 500))
    assert low < ratio < high
    assert low < 2 < high
    assert high - low < 0.4


def test_the_interval_of_a_ratio_is_that_of_another_bootstrap() -> None:
    random = np.random.default_rng(2)
    over, under = random.normal(4, 1, 300), random.normal(2, 0.5, 200)
    _, low, high = samples.ratio_of_medians(over, under, resamples=4000)
    peer = stats.bootstrap(
        (over, under), lambda a, b, axis=-1: np.median(a, axis=axis) / np.median(b, axis=axis),
        n_resamples=4000, method="percentile", rng=3,
    ).confidence_interval  # fmt: skip
    assert (low, high) == pytest.approx((peer.low, peer.high), rel=0.005)
    assert high - low == pytest.approx(peer.high - peer.low, rel=0.1)
