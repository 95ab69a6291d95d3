"""Rows that are mostly zeros, compressed (CSR): for each row the columns that are not, and their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer[Any]]


class SparseRows:
    """Rows (n, width) of non-negative integers. Indexing gives dense rows, so memory holds only those asked for.

    Attributes:
        indptr: the place in `indices` and `counts` where each row starts, and that where the last ends, (n + 1,) int64.
        indices: the column of each value that is not 0, rising within a row, (values,) int32.
        counts: those values, (values,) int32.
        width: columns of a row.
    """

    def __init__(self, indptr: Integers, indices: Integers, counts: Integers, width: int) -> None:
        self.indptr, self.indices, self.counts, self.width = indptr, indices, counts, width

    @classmethod
    def of(cls, rows: npt.NDArray[np.integer[Any]]) -> SparseRows:
        """Return dense rows (n, width), compressed."""
        places, columns = np.nonzero(rows)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(places, minlength=len(rows)))]).astype(np.int64)
        return cls(indptr, columns.astype(np.int32), rows[places, columns].astype(np.int32), rows.shape[1])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.indptr) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), self.width

    @property
    def ndim(self) -> int:
        """Two, as of the dense array."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of dense rows."""
        return np.dtype(self.counts.dtype.name)

    def __getitem__(self, rows: slice | Sequence[int] | Integers) -> npt.NDArray[Any]:
        """Return dense rows, (rows, width)."""
        chosen = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        places, lengths = self._places(chosen)
        dense = np.zeros((len(chosen), self.width), self.dtype)
        at = np.repeat(np.arange(len(chosen)) * self.width, lengths) + self.indices[places]
        dense.reshape(-1)[at] = self.counts[places]
        return dense

    def take(self, rows: Integers) -> SparseRows:
        """Return the rows at these indices, as sparse as they are here."""
        places, lengths = self._places(np.asarray(rows))
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return SparseRows(indptr, self.indices[places], self.counts[places], self.width)

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """The row of each value, (values,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    def totals(self) -> npt.NDArray[np.int64]:
        """Return the sum of each row, (n,)."""
        sums = np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])
        return np.asarray(sums[self.indptr[1:]] - sums[self.indptr[:-1]])

    def _places(self, rows: Integers) -> tuple[Integers, Integers]:
        """Return where the values of some rows are, one row after the other, and how many each has."""
        starts = np.asarray(self.indptr)[rows]
        lengths = np.asarray(self.indptr)[rows + 1] - starts
        before = np.cumsum(lengths) - lengths
        return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum())), lengths
