"""The use of codebooks: how many of their vectors are used, and how evenly.

Each stage of a residual quantizer, each variable and each bit is a codebook of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]


def code_counts(codes: Integers, levels: int, alphabets: int) -> Integers:
    """Return how often each vector of each codebook is used, (alphabets, levels).

    Args:
        codes: integers below `levels`, (n, elements).
        levels: vectors of each codebook.
        alphabets: codebooks, see :class:`CodeSpec`.
    """
    numbered = codes.reshape(-1, alphabets).astype(np.int64) + levels * np.arange(alphabets)
    return np.bincount(numbered.reshape(-1), minlength=alphabets * levels).reshape(alphabets, levels)


def entropies(counts: Integers) -> Floats:
    """Return the entropy in bits of each row of counts, (rows,), of (rows, values): of the frequencies as they are.

    That is less than the entropy of what was sampled, the more so the fewer samples there are for a value.
    """
    shares = counts / counts.sum(1, keepdims=True)
    return np.asarray(-(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(1), np.float64)


def codebook_metrics(counts: Integers) -> dict[str, float]:
    """Return the mean and the worst usage and perplexity of codebooks.

    Usage is the share of vectors used at all. Perplexity is 2 to the entropy of the use: as many vectors, evenly used,
    would carry as much. Counted together, codebooks that use one vector each would look well used.

    Args:
        counts: (codebooks, vectors), see :func:`code_counts`.
    """
    usages, perplexities = (counts > 0).mean(1), 2.0 ** entropies(counts)
    return {
        "codebook_usage": float(usages.mean()),
        "codebook_usage_worst": float(usages.min()),
        "codebook_perplexity": float(perplexities.mean()),
        "codebook_perplexity_worst": float(perplexities.min()),
    }
