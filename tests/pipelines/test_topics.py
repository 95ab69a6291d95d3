"""Precision and average precision by shared topic are those of ir-measures."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, P, R

from items.sparse import SparseRows
from pipelines.metrics.topics import judge, macro, macro_interval, rank

RANDOM = np.random.default_rng(0)
TRAIN, TEST = RANDOM.normal(size=(150, 6)).astype(np.float32), RANDOM.normal(size=(23, 6)).astype(np.float32)
TRAIN_TOPICS = (RANDOM.random((150, 5)) < 0.2).astype(np.int32)
TEST_TOPICS = (RANDOM.random((23, 5)) < 0.3).astype(np.int32)
TEST_TOPICS[4] = 0
SHARED = TEST_TOPICS @ TRAIN_TOPICS.T > 0


CURVE = (1, 2, 4, 8, 16, 32, 64, 128, 150)
MEASURES = (AP, P @ 10, P @ 100, *(measure @ cut for measure in (P, R) for cut in CURVE))


def theirs(similarities: np.ndarray) -> dict[str, list[float]]:
    """Return the values of each query by ir-measures, 0 where nothing is relevant to it."""
    qrels = {f"q{q}": {f"d{d}": int(SHARED[q, d]) for d in range(150)} for q in range(23)}
    runs = {f"q{q}": {f"d{d}": float(similarities[q, d]) for d in range(150)} for q in range(23)}
    found: dict[str, list[float]] = {}
    for measure in MEASURES:
        each = {one.query_id: one.value for one in ir_measures.iter_calc([measure], qrels, runs)}
        found[str(measure)] = [each.get(f"q{q}", 0.0) for q in range(23)]
    return found


def test_rankings_are_judged_as_by_ir_measures() -> None:
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (TEST, TRAIN)]
    ranked = rank(3 * TRAIN, SparseRows.of(TRAIN_TOPICS), TEST, SparseRows.of(TEST_TOPICS))
    expected = theirs(unit[0] @ unit[1].T)
    for cut in (1, 10, 100):
        assert ranked.precisions[cut].tolist() == pytest.approx(expected[f"P@{cut}"], abs=1e-6)
    assert ranked.average_precisions.tolist() == pytest.approx(expected["AP"], abs=1e-5)
    assert ranked.average_precisions[4] == 0
    assert ranked.curve.shape == (23, len(CURVE), 2)
    for place, cut in enumerate(CURVE):
        assert ranked.curve[:, place, 0].tolist() == pytest.approx(expected[f"P@{cut}"], abs=1e-6)
        assert ranked.curve[:, place, 1].tolist() == pytest.approx(expected[f"R@{cut}"], abs=1e-6)


def test_equally_similar_items_come_in_the_datasets_order() -> None:
    topics = np.array([[1, 0], [0, 1], [1, 0]], np.int32)
    ranked = judge(np.zeros((1, 3)), SparseRows.of(topics), SparseRows.of(topics[:1]))
    assert ranked.precisions[1].tolist() == [1.0]
    assert ranked.precisions[10].tolist() == pytest.approx([2 / 3])  # of three there are
    assert ranked.average_precisions.tolist() == pytest.approx([(1 + 2 / 3) / 2])


def test_scores_may_be_large_and_negative() -> None:
    """BM25's grow with the query's length."""
    topics = np.array([[0], [1], [0], [1]], np.int32)
    ranked = judge(np.array([[10.0, 30_000.0, -2.0, 3.0]]), SparseRows.of(topics), SparseRows.of(topics[1:2]))
    assert ranked.precisions[1].tolist() == [1.0]
    assert ranked.average_precisions.tolist() == pytest.approx([(1 + 2 / 3) / 2])


def test_the_interval_of_the_macro_mean_is_that_of_resampled_queries() -> None:
    values = RANDOM.random(23)
    topics = SparseRows.of(TEST_TOPICS)
    low, high = macro_interval(values, topics)
    draws = np.random.default_rng(5).integers(23, size=(2000, 23))
    means = []
    for draw in draws:
        chosen = TEST_TOPICS[draw]
        means.append(np.mean([values[draw][chosen[:, t] > 0].mean() for t in range(5) if chosen[:, t].any()]))
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.02)
    assert low < macro(values, topics) < high
    assert macro_interval(np.full(23, 0.5), topics) == pytest.approx((0.5, 0.5))


def test_each_topic_counts_once_in_the_macro_mean() -> None:
    topics = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0]], np.int32)
    assert macro(np.array([1.0, 0.0, 0.5]), SparseRows.of(topics)) == pytest.approx((0.5 + 0.5) / 2)
    assert macro(np.array([1.0, 0.0, 0.25]), SparseRows.of(topics)) == pytest.approx((1.25 / 3 + 0.25) / 2)


def test_bits_are_ranked_by_their_hamming_distance() -> None:
    train, test = (RANDOM.integers(2, size=(n, 128)) for n in (150, 23))
    ranked = rank(2.0 * train - 1, SparseRows.of(TRAIN_TOPICS), 2.0 * test - 1, SparseRows.of(TEST_TOPICS))
    distances = (test[:, None] != train[None]).sum(2)
    expected = judge(-distances, SparseRows.of(TRAIN_TOPICS), SparseRows.of(TEST_TOPICS))
    np.testing.assert_array_equal(ranked.precisions[10], expected.precisions[10])
    np.testing.assert_array_equal(ranked.average_precisions, expected.average_precisions)
