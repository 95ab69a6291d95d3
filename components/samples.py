"""Metrics of made-up items: whether they look like real ones, cover them all, and are more than copies.

Everything here takes numpy arrays; distances are Euclidean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from components.codebook_use import Floats, Integers

Booleans = npt.NDArray[np.bool_]

FITTED = 10_000  # items that are enough for the leading principal components
ASKED = 5_000  # codes whose neighbours say how far codes lie from each other


def nearest(points: Floats, among: Floats) -> tuple[Floats, Integers]:
    """Return each point's distance (n,) to the nearest of `among` (m, dimensions), and which that is (n,)."""
    distances, indices = NearestNeighbors(n_neighbors=1).fit(among).kneighbors(points)
    return distances[:, 0], indices[:, 0]


def spacing(points: Floats, k: int = 1) -> Floats:
    """Return each point's distance (n,) to the k-th nearest of the others."""
    k = min(k, len(points) - 1)
    # Its nearest neighbour in a set that it belongs to is itself, or a twin as near.
    distances: Floats = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[0][:, k]
    return distances


def in_holes(points: Floats, codes: Floats, seed: int = 0) -> Booleans:
    """Return which points (n, dimensions) lie in holes: farther from every code than 99 % of codes from another.

    Args:
        points: where a decoder is asked.
        codes: where it was trained, (m, dimensions).
        seed: of which codes are asked how far they lie from another, where there are many.
    """
    asked = np.random.default_rng(seed).permutation(len(codes))[:ASKED]
    neighbours = NearestNeighbors(n_neighbors=2).fit(codes)
    usual = np.quantile(neighbours.kneighbors(codes[asked])[0][:, 1], 0.99)
    holes: Booleans = neighbours.kneighbors(points, 1)[0][:, 0] > usual
    return holes


def inside(points: Floats, reference: Floats, k: int = 3) -> Booleans:
    """Return which points lie in the region that reference items take up: within the k-nearest ball of one of them.

    Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", arXiv 1904.06991,
    equation 1. The share of samples inside of real items is their precision; that of real items inside of samples is
    their recall. Both depend on how many there are of each. Compared by their own values, blurred items have a high
    precision, for they lie between real ones, and a low recall, for they lie close together.

    Args:
        points: (n, dimensions).
        reference: (m, dimensions), what takes up the region.
        k: which neighbour a ball reaches to.
    """
    radii = spacing(reference, k)
    found = np.zeros(len(points), np.bool_)
    squares = (reference.astype(np.float64) ** 2).sum(1)
    for start in range(0, len(points), 500):
        chunk = points[start : start + 500].astype(np.float64)
        squared = (chunk**2).sum(1)[:, None] + squares - 2 * chunk @ reference.T.astype(np.float64)
        found[start : start + 500] = (squared <= radii**2 + 1e-9 * squares.max(initial=0)).any(1)
    return found


class Detail:
    """The part of an item that its leading principal components cannot show: blurred items have little, noise much."""

    def __init__(self, items: Floats, size: int = 32, seed: int = 0) -> None:
        """Fit `size` components on up to FITTED of items (n, values)."""
        chosen = np.random.default_rng(seed).permutation(len(items))[:FITTED]
        size = min(size, len(chosen), items.shape[1])
        self._pca = PCA(size, svd_solver="randomized", random_state=seed).fit(items[np.sort(chosen)])

    def __call__(self, items: Floats) -> Floats:
        """Return each item's squared distance (n,) from what the components show."""
        left = items - self._pca.inverse_transform(self._pca.transform(items))
        detail: Floats = np.einsum("nv,nv->n", left, left, dtype=np.float64)
        return detail


def crowding(codes: Floats, grid: Floats) -> float:
    """Return how small a share of grid points (m, dimensions) has half of the codes (n, dimensions) nearest to it."""
    _, owners = nearest(codes, grid)
    counts = np.sort(np.bincount(owners, minlength=len(grid)))[::-1]
    return float(np.searchsorted(counts.cumsum(), len(codes) / 2) + 1) / len(grid)


def divergence_from_standard(codes: Floats) -> float:
    """Return KL(N(m, S) || N(0, I)) in nats, m and S the mean and covariance of codes (n, dimensions)."""
    mean, covariance = codes.mean(0, dtype=np.float64), np.atleast_2d(np.cov(codes, rowvar=False))
    _, log_determinant = np.linalg.slogdet(covariance + 1e-12 * np.eye(len(mean)))
    return float(0.5 * (mean @ mean + np.trace(covariance) - len(mean) - log_determinant))


def ratio_of_medians(over: Floats, under: Floats, seed: int = 0, resamples: int = 1000) -> tuple[float, float, float]:
    """Return median(over) / median(under) with its 95 % percentile bootstrap interval, both resampled."""
    random = np.random.default_rng(seed)

    def drawn(values: Floats) -> npt.NDArray[Any]:
        return np.median(values[random.integers(len(values), size=(resamples, len(values)))], axis=1)

    low, high = np.quantile(drawn(over) / drawn(under), [0.025, 0.975])
    return float(np.median(over) / np.median(under)), float(low), float(high)
