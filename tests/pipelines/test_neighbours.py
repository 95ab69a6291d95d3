"""Searches against an ordering of all distances by numpy, which keeps the earlier item of equally near ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.metrics import neighbours
from pipelines.metrics.neighbours import Database
from pipelines.project import StageError

Array = np.ndarray[Any, np.dtype[Any]]


def hamming(first: Array, second: Array) -> Array:
    return np.unpackbits(first[:, None] ^ second[None], axis=-1).sum(-1)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), items=st.integers(1, 300), bits=st.sampled_from([8, 16, 256]), k=st.integers(1, 20)
)
def test_of_equally_near_bits_the_earlier_come_first_and_a_draw_at_the_last_place_is_noted(
    seed: int, items: int, bits: int, k: int
) -> None:
    random, k = np.random.default_rng(seed), min(k, items)
    packed = random.choice(np.array([0, 0, 1, 128], np.uint8), (items, bits // 8))
    queries = random.choice(np.array([0, 1, 3], np.uint8), (30, bits // 8))
    distances = hamming(queries, packed)
    found = Database.hamming(packed).search(queries, k)
    expected = np.argsort(distances, axis=1, kind="stable")[:, :k]
    ordered = np.sort(distances, axis=1)
    np.testing.assert_array_equal(found.items, expected)
    np.testing.assert_array_equal(found.distances, ordered[:, :k])
    np.testing.assert_array_equal(found.tied, (ordered <= ordered[:, k - 1 : k]).sum(1) > k)


def test_the_order_of_ties_is_not_left_to_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 3)
    packed = np.zeros((1000, 4), np.uint8)
    packed[::3] = 1
    database = Database.hamming(packed)
    whole = database._index

    class Backwards:
        """Finds what Faiss finds, the later of equally near items before the earlier."""

        ntotal = whole.ntotal

        def search(self, queries: Array, k: int) -> tuple[Array, Array]:
            distances = hamming(queries, packed)
            items = np.lexsort((-np.arange(1000)[None].repeat(len(queries), 0), distances), axis=1)[:, :k]
            return np.take_along_axis(distances, items, 1), items

    database._index = Backwards()
    found = database.search(np.array([[0, 0, 0, 0], [1, 1, 1, 1]] * 4, np.uint8), 5)
    assert found.items.tolist() == [[1, 2, 4, 5, 7], [0, 3, 6, 9, 12]] * 4
    assert found.tied.all()


def test_real_vectors_are_ordered_by_euclidean_distance() -> None:
    random = np.random.default_rng(0)
    items, queries = (random.normal(size=(n, 7)).astype(np.float32) for n in (500, 40))
    items[450:] = items[:50]
    distances = ((queries[:, None].astype(np.float64) - items[None]) ** 2).sum(-1)
    found = Database.euclidean(items).search(queries, 6)
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :6], rtol=1e-4)
    np.testing.assert_array_equal(found.items, np.argsort(distances, axis=1, kind="stable")[:, :6])


def test_more_neighbours_than_there_are_items_are_refused() -> None:
    database = Database.euclidean(np.zeros((4, 2), np.float32))
    assert database.search(np.ones((1, 2), np.float32), 4).items.tolist() == [[0, 1, 2, 3]]
    with pytest.raises(StageError, match="neighbours: 5, must be 1 to 4, the items that are searched"):
        database.search(np.ones((1, 2), np.float32), 5)
