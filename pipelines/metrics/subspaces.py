"""Angles between subspaces."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def principal_angles(first: Array, second: Array) -> Array:
    """Return the angles between two subspaces in degrees, the smallest first, each 0 to 90.

    Björck and Golub, Mathematics of Computation 27 (1973): the cosines are the singular values of QᵀP, for orthonormal
    bases Q and P. A cosine near 1 says little of a small angle, so those are taken from their sines, as Knyazev and
    Argentati do (SIAM J. Sci. Comput. 23, 2002).

    Args:
        first: vectors that span one subspace, (vectors, dimensions), orthogonal or not.
        second: those of the other, of the same dimensions.
    """
    bases = sorted((_orthonormal(first), _orthonormal(second)), key=len)
    across = bases[0] @ bases[1].T
    cosines = np.linalg.svd(across, compute_uv=False)
    # What of the smaller subspace lies outside of the larger; in rising order to stand beside falling cosines.
    sines = np.linalg.svd(bases[0] - across @ bases[1], compute_uv=False)[::-1]
    angles = np.where(cosines**2 < 0.5, np.arccos(np.clip(cosines, 0, 1)), np.arcsin(np.clip(sines, 0, 1)))
    degrees: Array = np.degrees(angles)
    return degrees


def _orthonormal(vectors: Array) -> Array:
    """Return an orthonormal basis, as rows, of what the rows span; those that add nothing but rounding are dropped."""
    _, singular, rows = np.linalg.svd(vectors.astype(np.float64), full_matrices=False)
    kept: Array = rows[singular > singular.max(initial=0) * max(vectors.shape) * np.finfo(vectors.dtype).eps]
    return kept
