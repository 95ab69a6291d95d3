"""Errors of rebuilt items."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def squared_errors(items: Array, rebuilt: Array) -> Array:
    """Return each item's squared error summed over its values, (n,) float64, of two arrays (n, ...)."""
    difference = items.reshape(len(items), -1).astype(np.float32) - rebuilt.reshape(len(items), -1)
    sums: Array = np.einsum("nv,nv->n", difference, difference, dtype=np.float64)
    return sums


def psnrs(mean_squared_errors: Array) -> Array:
    """Return each image's peak signal-to-noise ratio in dB from its mean squared error, for pixels in 0-1."""
    return -10.0 * np.log10(np.maximum(mean_squared_errors, 1e-12))
