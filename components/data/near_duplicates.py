"""Near-duplicates: rows of counts whose sets of words nearly agree.

Exact, without comparing all pairs: sets that agree this far share one of the rarest words of each (prefix filtering:
Chaudhuri, Ganti, Kaushik, "A Primitive Operator for Similarity Joins in Data Cleaning", ICDE 2006).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from items.sparse import SparseRows

SIMILAR = 0.8  # the words in both sets over those in either (Jaccard), from which rows are near-duplicates
ROWS, PAIRS = 1024, 20_000  # that are compared at a time
CANDIDATES = 2**24  # pairs at most whose rarest words are compared at a time
COMPARED = 2 * 10**9  # pairs at most of which all are compared: of larger sets, a part of the other rows
SLACK = 1e-9  # rounding: SIMILAR times a size may come out just above a whole number


def near_duplicates(known: SparseRows, others: SparseRows) -> tuple[int, int]:
    """Return how many rows of `others` are near-duplicates of a known row, and how many were compared.

    Rows without a word are none. Of more than COMPARED pairs, evenly spread rows of `others` are compared.
    """
    compared = min(len(others), max(1, COMPARED // max(1, len(known))))
    others = others.take(np.arange(compared) * len(others) // max(1, compared))
    rarity = np.argsort(np.argsort(_frequencies(known) + _frequencies(others), kind="stable"))
    rarest_known, words_known = _rarest(known, rarity).T.tocsr(), _words(known)
    rarest, words = _rarest(others, rarity), _words(others)
    sizes_known, sizes = np.diff(known.indptr), np.diff(others.indptr)
    found = np.zeros(len(others), bool)
    at_once = max(1, min(ROWS, CANDIDATES // max(1, len(known))))
    for start in range(0, len(others), at_once):
        candidates = (rarest[start : start + at_once] @ rarest_known).tocoo()
        rows, columns = candidates.row + start, candidates.col
        small, large = np.sort([sizes[rows], sizes_known[columns]], axis=0)
        possible = small >= SIMILAR * large - SLACK
        rows, columns = rows[possible], columns[possible]
        for at in range(0, len(rows), PAIRS):
            left = ~found[rows[at : at + PAIRS]]
            mine, theirs = rows[at : at + PAIRS][left], columns[at : at + PAIRS][left]
            both = words[mine].multiply(words_known[theirs]).sum(1)
            found[mine[both >= SIMILAR * (sizes[mine] + sizes_known[theirs] - both) - SLACK]] = True
    return int(found.sum()), compared


def _frequencies(rows: SparseRows) -> NDArray[np.int64]:
    """Return how many rows have each word, (words,)."""
    return np.bincount(rows.indices, minlength=rows.width)


def _words(rows: SparseRows) -> Any:
    """Return 1 where a row has a word, a sparse array (rows, words)."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(rows.indices), np.int32), rows.indices, rows.indptr), shape=rows.shape)


def _rarest(rows: SparseRows, rarity: NDArray[np.int64]) -> Any:
    """Return the rarest words of each row, one more than a near-duplicate may lack: it has at least one of them."""
    from scipy.sparse import csr_array

    sizes = np.diff(rows.indptr)
    order = np.lexsort((rarity[rows.indices], rows.places))
    ranks = np.arange(len(order)) - np.repeat(rows.indptr[:-1], sizes)
    kept = ranks < np.repeat(sizes - np.ceil(SIMILAR * sizes - SLACK) + 1, sizes)
    places, words = rows.places[kept], rows.indices[order][kept]
    return csr_array((np.ones(len(words), np.int32), (places, words)), shape=rows.shape)
