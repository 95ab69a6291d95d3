"""Intervals of means over items, and the one definition of a significant difference: a paired bootstrap.

Every mean over the same number of items is resampled by the same draws. So the resampled means of two experiments are
paired, and each experiment is resampled once, however many others it is compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

RESAMPLES = 1000
LEVEL = 0.95
BLOCK = 50  # resamples whose draws are held as float64 at once
KEPT = 1 << 27  # bytes of draws that are kept for the next mean


def interval(values: Array, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean of values (items,) (Efron, 1979)."""
    return _ends(resampled_means(values, seed))


def paired_difference(first: Array, second: Array, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the difference of two means, of values (items,) each.

    Both are values of the same items in the same order, and each resample takes the same items of both.

    Raises:
        ValueError: they are not of the same number of items.
    """
    if first.shape != second.shape:
        raise ValueError(f"values of {len(first)} and of {len(second)} items, must be of the same items")
    return _ends(resampled_means(first, seed) - resampled_means(second, seed))


def differs(first: Array, second: Array, seed: int = 0) -> int:
    """Return 1 where the mean of the first is significantly higher than that of the second, -1 where lower, else 0.

    It is where the interval of :func:`paired_difference` does not hold 0.
    """
    if np.array_equal(first, second):
        return 0
    low, high = paired_difference(first, second, seed)
    return int(low > 0) - int(high < 0)


def resampled_means(values: Array, seed: int = 0) -> Array:
    """Return the means of 1,000 resamples of values (items,), (1000,) float64.

    Raises:
        ValueError: there are no values.
    """
    if values.ndim != 1 or not len(values):
        raise ValueError(f"values have shape {values.shape}, must be one of each item")
    return _resampled_means(np.asarray(values, np.float64).tobytes(), seed)


def resamples(items: int, seed: int = 0) -> Iterable[Array]:
    """Return how often each of 1,000 resamples draws each item, in blocks of integers (BLOCK, items)."""
    return _kept_draws(items, seed) if RESAMPLES * items <= KEPT else _draws(items, seed)


@lru_cache(maxsize=512)
def _resampled_means(content: bytes, seed: int) -> Array:
    values = np.frombuffer(content)
    blocks = resamples(len(values), seed)
    center = values[0]  # so that values that are all the same have that mean exactly
    means: Array = np.concatenate([draws.astype(np.float64) @ (values - center) for draws in blocks])
    means = center + means / len(values)
    means.setflags(write=False)  # it is kept, and shared by all callers
    return means


@lru_cache(maxsize=2)
def _kept_draws(items: int, seed: int) -> tuple[Array, ...]:
    return tuple(_draws(items, seed))


def _draws(items: int, seed: int) -> Iterator[Array]:
    """Yield how often each resample draws each item, (BLOCK, items) of the smallest integers that hold it."""
    random = np.random.default_rng(seed)
    for _ in range(RESAMPLES // BLOCK):
        block = [np.bincount(random.integers(items, size=items), minlength=items) for _ in range(BLOCK)]
        yield np.array(block).astype(np.min_scalar_type(max(map(np.max, block))))


def _ends(means: Array) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
