"""Exact nearest neighbours by Faiss, and which come first where several are equally near.

Faiss promises no order among equal distances, nor which of them it leaves out (its IndexBinaryFlat happens to keep the
earlier items). Here the earlier item of the database comes first, whatever Faiss does: where the last place is a draw,
more are asked for until all that share it are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from pipelines.project import StageError

Array = npt.NDArray[Any]

WIDENING = 4  # how many times as many are asked for where a draw goes on
BLOCK = 512  # queries at once: where all items are the same, each query's list is the whole database


@dataclass(frozen=True)
class Neighbours:
    """The neighbours of each query, nearest first; of equally near ones the earlier item of the database.

    Attributes:
        items: places in the database, (queries, k) int64.
        distances: squared Euclidean, float32, or Hamming, int32, (queries, k).
        tied: whether an item that was left out is as near as the last that was taken, (queries,) bool.
    """

    items: Array
    distances: Array
    tied: Array


class Database:
    """Items to search among, held in memory: real vectors by `euclidean`, or bits by `hamming`."""

    def __init__(self, index: Any, items: Array) -> None:
        self._index = index
        self._index.add(items)

    @classmethod
    def euclidean(cls, vectors: Array) -> Database:
        """Search vectors (n, dimensions) float32 by squared Euclidean distance, as float32 gives it."""
        return cls(faiss.IndexFlatL2(vectors.shape[1]), vectors)

    @classmethod
    def hamming(cls, packed: Array) -> Database:
        """Search bits as `numpy.packbits` packs them, (n, bytes) uint8, by how many differ."""
        return cls(faiss.IndexBinaryFlat(8 * packed.shape[1]), packed)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, queries: Array, k: int) -> Neighbours:
        """Return the k nearest items of each query, (queries, …) of the same kind as the items.

        Raises:
            StageError: the database holds fewer than k items.
        """
        if not 0 < k <= len(self):
            raise StageError(f"neighbours: {k}, must be 1 to {len(self)}, the items that are searched")
        blocks = [self._search(queries[start : start + BLOCK], k) for start in range(0, len(queries), BLOCK)]
        return Neighbours(*map(np.concatenate, zip(*blocks, strict=True)))

    def _search(self, queries: Array, k: int) -> tuple[Array, Array, Array]:
        """Return items, distances and ties of a block of queries."""
        asked = min(k + 1, len(self))
        distances, items = self._index.search(queries, asked)
        tied = (distances[:, k - 1 : k] == distances[:, k:]).any(1)  # there is no place k + 1 where all are taken
        nearest, found = _first(distances, items, k)
        drawn = np.flatnonzero(tied)
        while len(drawn):
            asked = min(WIDENING * asked, len(self))
            distances, items = self._index.search(queries[drawn], asked)
            nearest[drawn], found[drawn] = _first(distances, items, k)
            drawn = drawn[distances[:, k - 1] == distances[:, -1]] if asked < len(self) else drawn[:0]
        return found, nearest, tied


def _first(distances: Array, items: Array, k: int) -> tuple[Array, Array]:
    """Return the first k of distances and items (queries, found) in order of distance, then of place."""
    order = np.lexsort((items, distances), axis=1)[:, :k]
    return np.take_along_axis(distances, order, 1), np.take_along_axis(items, order, 1)
