"""Neighbours that a search found: of which class they are, and how many another search found too."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def precisions(found: Array, labels: Array) -> Array:
    """Return the share of each query's neighbours that are of its class, precision at k, (queries,).

    Args:
        found: classes of the k neighbours, (queries, k).
        labels: the queries' own, (queries,).
    """
    return np.asarray((found == labels[:, None]).mean(1), np.float64)


def overlaps(first: Array, second: Array) -> Array:
    """Return the share of neighbours that two searches have in common, (queries,), of their items (queries, k)."""
    return np.asarray((first[:, :, None] == second[:, None, :]).any(2).mean(1), np.float64)
