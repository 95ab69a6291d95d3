"""Checks of arrays before they become a prepared dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data.errors import DataError
from items.sparse import SparseRows
from items.spec import ItemSpec

_VALUES_AT_ONCE = 1 << 22  # so that checking a memory-mapped array takes little memory


Arrays = Mapping[str, NDArray[Any] | SparseRows]


def check_split(where: str, arrays: Arrays, item: ItemSpec, classes: int | None) -> None:
    """Raise DataError unless `arrays` are one split of such items.

    Args:
        where: the dataset and split, as an error should name them.
        arrays: `items` (count, *item.shape) of item.dtype, finite, at least one. Where there are classes, `labels`
            (count,) of integers in [0, classes), or `topics` (count, classes) of 0 and 1 where an item may be of any
            number of them.
        item: what each row of `items` is.
        classes: number of classes, or None for a dataset without labels.
    """
    expected = {"items"} if classes is None else {"items", "topics" if "topics" in arrays else "labels"}
    if set(arrays) != expected:
        raise DataError(f"{where}: has the arrays {sorted(arrays)}, must have {sorted(expected)}")
    items = arrays["items"]
    if isinstance(items, SparseRows):
        _check_rows(where, "items", items, (len(items), *item.shape))
    else:
        _check_items(where, items, item)
    if isinstance(topics := arrays.get("topics"), SparseRows):
        _check_rows(where, "topics", topics, (len(items), classes or 0))
    elif isinstance(labels := arrays.get("labels"), np.ndarray):
        _check_labels(where, labels, len(items), classes or 0)


def _check_rows(where: str, name: str, rows: SparseRows, shape: tuple[int, ...]) -> None:
    """Raise DataError unless sparse rows have this shape, at least one row, and hold what they should."""
    if rows.shape != shape or len(rows) == 0:
        raise DataError(f"{where}: {name} have shape {rows.shape}, must be {shape} with at least one item")
    if rows.indptr[0] != 0 or rows.indptr[-1] != len(rows.indices) or (np.diff(rows.indptr) < 0).any():
        raise DataError(f"{where}: indptr of {name} must rise from 0 to {len(rows.indices)}, the number of values")
    if len(rows.indices) != len(rows.counts) or (
        len(rows.indices) and not 0 <= rows.indices.min() <= rows.indices.max() < rows.width
    ):
        raise DataError(f"{where}: indices of {name} must be from 0 to {rows.width - 1}, one for each count")


def first_not_finite(items: NDArray[Any]) -> int | None:
    """Return the index of the first item that holds a NaN or an infinity, or None."""
    if items.dtype.kind != "f":
        return None
    step = max(1, _VALUES_AT_ONCE // max(1, items[:1].size))
    for start in range(0, len(items), step):
        rows = items[start : start + step]
        finite = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        if not finite.all():
            return start + int(np.argmin(finite))
    return None


def _check_items(where: str, items: NDArray[Any], item: ItemSpec) -> None:
    if items.shape[1:] != item.shape or items.dtype != np.dtype(item.dtype) or items.ndim == 0:
        raise DataError(
            f"{where}: items are {items.dtype} of shape {items.shape}, "
            f"must be {item.dtype} of shape (count, {', '.join(map(str, item.shape))})"
        )
    if len(items) == 0:
        raise DataError(f"{where}: has no items, must have at least one")
    broken = first_not_finite(items)
    if broken is not None:
        raise DataError(f"{where}, item {broken}: holds NaN or infinity, values must be finite")


def _check_labels(where: str, labels: NDArray[Any], count: int, classes: int) -> None:
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{where}: labels are {labels.dtype} of shape {labels.shape}, must be integers of shape ({count},)"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        index = int(wrong[0])
        raise DataError(f"{where}, item {index}: label {labels[index]}, must be from 0 to {classes - 1}")
