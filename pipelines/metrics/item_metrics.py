"""Metrics of items: how much of each a code keeps, and how codes, neighbours and subspaces compare."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from components.codebook_use import entropies

Floats = npt.NDArray[np.floating[Any]]
TINY = 1e-12  # the least chance of a word

Integers = npt.NDArray[np.integer[Any]]


def squared_errors(items: Floats, rebuilt: Floats) -> Floats:
    """Return each item's squared error summed over its values, (n,) float64, of two arrays (n, ...)."""
    difference = items.reshape(len(items), -1).astype(np.float32) - rebuilt.reshape(len(items), -1)
    sums: Floats = np.einsum("nv,nv->n", difference, difference, dtype=np.float64)
    return sums


def surprisals(counts: Integers, chances: Floats) -> Floats:
    """Return the nats of each text's words, (n,) float64, of counts and chances of words, (n, words) or (1, words)."""
    logarithms = np.log(np.maximum(chances, TINY).astype(np.float64))
    sums: Floats = np.einsum("nv,nv->n", counts, np.broadcast_to(logarithms, counts.shape))
    return sums * -1.0


def squared_error_of_the_mean(items: Floats) -> float:
    """Return the mean squared error of items (n, ...), each summed over its values, if the mean item stood for all."""
    mean = np.broadcast_to(items.mean(0, dtype=np.float64, keepdims=True), items.shape)
    return float(squared_errors(items, mean).mean())


def psnrs(mean_squared_errors: Floats) -> Floats:
    """Return each image's peak signal-to-noise ratio in dB from its mean squared error, for pixels in 0-1."""
    return -10.0 * np.log10(np.maximum(mean_squared_errors, 1e-12))


def precisions(found: Integers, labels: Integers) -> Floats:
    """Return the share of each query's neighbours that are of its class, precision at k, (queries,).

    Args:
        found: classes of the k neighbours, (queries, k).
        labels: the queries' own, (queries,).
    """
    return np.asarray((found == labels[:, None]).mean(1), np.float64)


def overlaps(first: Integers, second: Integers) -> Floats:
    """Return the share of neighbours that two searches have in common, (queries,), of their items (queries, k)."""
    return np.asarray((first[:, :, None] == second[:, None, :]).any(2).mean(1), np.float64)


def active_fractions(codes: Floats, silent: float = 0.1) -> Floats:
    """Return the share of units that each item activates, (n,), of real codes (n, ...).

    A unit is active where its absolute value is above `silent` times the largest that it takes for any of the items:
    but for rectified and top-k units, nothing trained by gradient is exactly 0. A normally distributed unit is active
    for about 70 % of ten thousand items.
    """
    values = np.abs(codes.reshape(len(codes), -1))
    shares: Floats = (values > silent * values.max(0)).mean(1, dtype=np.float64)
    return shares


def position_entropies(codes: Integers) -> Floats:
    """Return the entropy in bits of each element of discrete codes over items, (elements,), of (n, elements).

    Their sum is what a code takes if each element is coded by its own frequencies, those of these items, and without
    regard to the others: at least the entropy of the whole code. The tables of frequencies are not counted.
    """
    columns = codes.reshape(len(codes), -1).T
    return np.concatenate([entropies(np.unique(column, return_counts=True)[1][None]) for column in columns])


def distinct(rows: npt.NDArray[Any]) -> int:
    """Return how many different items there are in an array (n, ...)."""
    return len({hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows})


def principal_angles(first: Floats, second: Floats) -> Floats:
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
    return np.degrees(angles)


def _orthonormal(vectors: Floats) -> Floats:
    """Return an orthonormal basis, as rows, of what the rows span; those that add nothing but rounding are dropped."""
    _, singular, rows = np.linalg.svd(vectors.astype(np.float64), full_matrices=False)
    kept: Floats = rows[singular > singular.max(initial=0) * max(vectors.shape) * np.finfo(vectors.dtype).eps]
    return kept
