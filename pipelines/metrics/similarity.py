"""Structural similarity of images (Wang et al., IEEE TIP 13, 2004)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SIDE = 7  # pixels of the smallest window
GAUSSIAN_SIDE, SIGMA = 11, 1.5
LUMINANCE, CONTRAST = 0.01**2, 0.03**2  # the constants of equation 13, for pixels in 0-1
CHUNK = 1 << 22  # pixels at once


def ssims(images: Array, rebuilt: Array) -> Array:
    """Return each image's structural similarity (n,) of two arrays (n, height, width, channels) with pixels in 0-1.

    An 11x11 Gaussian window of sigma 1.5; smaller images get a uniform 7x7 window. Edges are mirrored, so every pixel
    has a window.

    Raises:
        ValueError: images are smaller than that window.
    """
    height, width, channels = images.shape[1:]
    if min(height, width) < SIDE:
        raise ValueError(f"images of {height}×{width} pixels, must be at least {SIDE}×{SIDE}")
    side = GAUSSIAN_SIDE if min(height, width) >= GAUSSIAN_SIDE else SIDE
    rows, columns = _filter(height, side), _filter(width, side).T
    count = max(1, CHUNK // (height * width * channels))
    parts = []
    for start in range(0, len(images), count):
        x, y = (array[start : start + count].transpose(0, 3, 1, 2).astype(np.float32) for array in (images, rebuilt))
        parts.append(_similarities(x, y, rows, columns))
    return np.concatenate(parts)


def _similarities(x: Array, y: Array, rows: Array, columns: Array) -> Array:
    """Return the mean over pixels of equation 13, (n,) float64, of images (n, channels, height, width)."""
    mean_x, mean_y, squares_x, squares_y, products = (rows @ (a @ columns) for a in (x, y, x * x, y * y, x * y))
    variances = np.maximum(squares_x - mean_x**2, 0) + np.maximum(squares_y - mean_y**2, 0)
    covariance = products - mean_x * mean_y
    above = (2 * mean_x * mean_y + LUMINANCE) * (2 * covariance + CONTRAST)
    below = (mean_x**2 + mean_y**2 + LUMINANCE) * (variances + CONTRAST)
    means: Array = (above / below).mean((1, 2, 3), dtype=np.float64)
    return means


def _filter(size: int, side: int) -> Array:
    """Return the window along one axis as a matrix (size, size) that takes pixels to weighted means around each."""
    offsets = np.arange(side) - side // 2
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2)) if side == GAUSSIAN_SIDE else np.ones(side)
    mirrored = np.abs(np.arange(size)[:, None] + offsets)
    mirrored = np.minimum(mirrored, 2 * (size - 1) - mirrored)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], mirrored), weights / weights.sum())
    return matrix.astype(np.float32)
