"""Retrieval by topic: how many of an item's nearest neighbours share a topic with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from items.sparse import SparseRows
from pipelines.metrics.significance import LEVEL, resamples

Array = npt.NDArray[Any]

CUTS = (1, 10, 100)
DIGITS = 6  # of similarities that differ
AT_ONCE = 256  # queries whose similarities are held in memory


@dataclass(frozen=True)
class Ranked:
    """The quality of each query's ranking.

    Attributes:
        precisions: share of the first k that share a topic with the query, (queries,) by k.
        average_precisions: the mean of the precisions at each relevant item, over all items, (queries,); 0 without any.
        curve: precision and recall after 1, 2, 4, … and all items, (queries, cuts, 2); recall 0 without any.
    """

    precisions: dict[int, Array]
    average_precisions: Array
    curve: Array


def rank(train: Array, train_topics: SparseRows, test: Array, test_topics: SparseRows) -> Ranked:
    """Rank training items for each test item by the cosine of their features.

    Args:
        train, test: features (items, dimensions); of bits as -1 and 1 the cosine ranks as the Hamming distance does.
        train_topics, test_topics: 1 where an item is of a topic, (items, topics).
    """
    candidates = of_length_one(train)
    relevant_to = train_topics[:].astype(np.float32)
    parts = [
        _judge(of_length_one(test[start : start + AT_ONCE]) @ candidates.T, relevant_to, topics)
        for start in range(0, len(test), AT_ONCE)
        for topics in [test_topics[start : start + AT_ONCE].astype(np.float32)]
    ]
    return merge(parts)


def judge(similarities: Array, train_topics: SparseRows, test_topics: SparseRows) -> Ranked:
    """Judge rankings by similarities (queries, training items), the largest first; see :func:`rank`."""
    return _judge(similarities, train_topics[:].astype(np.float32), test_topics[:].astype(np.float32))


def merge(parts: list[Ranked]) -> Ranked:
    """Return the rankings of several batches of queries as one."""
    precisions = {cut: np.concatenate([part.precisions[cut] for part in parts]) for cut in CUTS}
    averages = np.concatenate([part.average_precisions for part in parts])
    return Ranked(precisions, averages, np.concatenate([part.curve for part in parts]))


def macro(values: Array, topics: SparseRows) -> float:
    """Return the mean over topics of the mean value of the queries that have it, (queries,): each topic counts once."""
    of_topics = topics[:].astype(np.float64)
    counts = of_topics.sum(0)
    return float(((values @ of_topics)[counts > 0] / counts[counts > 0]).mean())


def macro_interval(values: Array, topics: SparseRows, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of :func:`macro` over queries; of differences it is a paired one.

    A resample without any query of a topic is averaged over the other topics.
    """
    of_topics = topics[:].astype(np.float64)
    weighted, means = values[:, None] * of_topics, []
    for block in resamples(len(values), seed):
        draws = block.astype(np.float64)
        counts = draws @ of_topics
        found = np.divide(draws @ weighted, counts, out=np.full_like(counts, np.nan), where=counts > 0)
        means.append(np.nanmean(found, 1))
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _judge(similarities: Array, train_topics: Array, test_topics: Array) -> Ranked:
    shared = test_topics @ train_topics.T > 0
    # Rounded, so that of equally similar items the first in the dataset comes first, whatever the last bit of the sums.
    # Similarity, place and relevance are sorted as one integer, several times faster than by argsort.
    items = shared.shape[1]
    rounded = np.rint(np.asarray(similarities, np.float64) * 10**DIGITS).astype(np.int64)
    keys = (-rounded << (items.bit_length() + 1)) | (np.arange(items) << 1) | shared
    relevant = (np.sort(keys, axis=1) & 1).astype(bool)
    hits = np.cumsum(relevant, 1)
    precision_at, relevant_items = hits / np.arange(1, items + 1), np.maximum(1, hits[:, -1])
    averages = (precision_at * relevant).sum(1) / relevant_items
    precisions = {cut: precision_at[:, min(cut, items) - 1].copy() for cut in CUTS}
    cuts = np.unique(np.minimum(2 ** np.arange(items.bit_length() + 1), items)) - 1
    recall_at = hits[:, cuts] / relevant_items[:, None]
    return Ranked(precisions, averages, np.stack([precision_at[:, cuts], recall_at], axis=2))


def of_length_one(features: Array) -> Array:
    """Return features (n, ...) as rows of length 1, (n, dimensions) float32; zeros stay."""
    rows = features.reshape(len(features), -1).astype(np.float32)
    lengths: Array = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows / lengths
