"""What a code is worth: how much of an item it keeps, what it is good for, how evenly a codebook is used.

Everything here takes numpy arrays and gives one figure an item, a position or a codebook, or one figure in all.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from components.data.torchvision_shim import import_torchvision

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]


def squared_errors(items: Floats, rebuilt: Floats) -> Floats:
    """Return each item's squared error summed over its values, (n,) float64, of two arrays (n, ...)."""
    difference = items.reshape(len(items), -1).astype(np.float32) - rebuilt.reshape(len(items), -1)
    sums: Floats = np.einsum("nv,nv->n", difference, difference, dtype=np.float64)
    return sums


def psnrs(mean_squared_errors: Floats) -> Floats:
    """Return each image's peak signal-to-noise ratio in dB from its mean squared error, for pixels in 0-1."""
    return -10.0 * np.log10(np.maximum(mean_squared_errors, 1e-12))


def ssims(images: Floats, rebuilt: Floats, chunk: int = 100) -> Floats | None:
    """Return each image's structural similarity (n,) of two arrays (n, height, width, channels) with pixels in 0-1.

    Wang et al., IEEE TIP 13 (2004): an 11x11 Gaussian window of sigma 1.5. Smaller images get a uniform 7x7 window,
    and images smaller than that None. Edges are mirrored, as torchmetrics does, so every pixel has a window.
    """
    import_torchvision("transforms.v2")  # torchmetrics imports it on its own, and would fail where it needs the shim
    from torchmetrics.functional.image import structural_similarity_index_measure

    side = min(images.shape[1:3])
    if side < 7:
        return None
    window: dict[str, Any] = {} if side >= 11 else {"gaussian_kernel": False, "kernel_size": 7}
    parts = []
    for start in range(0, len(images), chunk):
        pair = [torch.from_numpy(np.asarray(a[start : start + chunk], np.float32)) for a in (rebuilt, images)]
        first, second = (x.permute(0, 3, 1, 2) for x in pair)
        each = structural_similarity_index_measure(first, second, data_range=1.0, reduction="none", **window)
        parts.append(each.reshape(-1).numpy())
    return np.concatenate(parts).astype(np.float64)


def knn_correct(train: Floats, train_labels: Integers, test: Floats, test_labels: Integers, k: int = 5) -> Floats:
    """Return 1 for each test item whose class the majority of its k nearest training items has, else 0."""
    from sklearn.neighbors import KNeighborsClassifier  # here: training imports this module, and this takes a second

    neighbours = KNeighborsClassifier(n_neighbors=min(k, len(train)), algorithm="brute")
    guessed = neighbours.fit(train, train_labels).predict(test)
    return np.asarray(guessed == test_labels, np.float64)


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


def probe_correct(train: Floats, train_labels: Integers, test: Floats, test_labels: Integers) -> Floats:
    """Return 1 for each test item that logistic regression on standardized features gets right, else 0."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-3))
    guessed = probe.fit(train, train_labels).predict(test)
    return np.asarray(guessed == test_labels, np.float64)


def active_fractions(codes: Floats, silent: float = 0.1) -> Floats:
    """Return the share of units that each item activates, (n,), of real codes (n, ...).

    A unit is active where its absolute value is above `silent` times the largest that it takes for any of the items:
    but for rectified and top-k units, nothing trained by gradient is exactly 0. A normally distributed unit is active
    for about 70 % of ten thousand items.
    """
    values = np.abs(codes.reshape(len(codes), -1))
    shares: Floats = (values > silent * values.max(0)).mean(1, dtype=np.float64)
    return shares


def code_counts(codes: Integers, levels: int, alphabets: int) -> Integers:
    """Return how often each alphabet's entries are used, (alphabets, levels).

    Args:
        codes: integers below `levels`, (n, elements).
        levels: entries of each alphabet.
        alphabets: see :class:`CodeSpec`.
    """
    numbered = codes.reshape(-1, alphabets).astype(np.int64) + levels * np.arange(alphabets)
    return np.bincount(numbered.reshape(-1), minlength=alphabets * levels).reshape(alphabets, levels)


def entropies(counts: Integers) -> Floats:
    """Return the entropy in bits of each row of counts, (rows,), of (rows, entries): of the frequencies as they are.

    That is less than the entropy of what was sampled, the more so the fewer samples there are for an entry.
    """
    shares = counts / counts.sum(1, keepdims=True)
    return np.asarray(-(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(1), np.float64)


def codebook_figures(counts: Integers) -> dict[str, float]:
    """Return the mean and the worst usage and perplexity of codebooks from how often entries are used.

    Usage is the share of entries used at all. Perplexity is 2 to the entropy of the use: as many entries, evenly used,
    would carry as much. Counted together, codebooks that use one entry each would look well used.

    Args:
        counts: (alphabets, entries), see :func:`code_counts`.
    """
    usages, perplexities = (counts > 0).mean(1), 2.0 ** entropies(counts)
    return {
        "codebook_usage": float(usages.mean()),
        "codebook_usage_worst": float(usages.min()),
        "codebook_perplexity": float(perplexities.mean()),
        "codebook_perplexity_worst": float(perplexities.min()),
    }


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


def bootstrap_interval(values: Floats, seed: int = 0, resamples: int = 1000) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean over items (Efron, 1979)."""
    random = np.random.default_rng(seed)
    means = [values[random.integers(len(values), size=len(values))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
