"""Checks of arrays before they become a prepared dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data.errors import DataError
from items.spec import ItemSpec

_VALUES_AT_ONCE = 1 << 22  # so that checking a memory-mapped array takes little memory


def check_split(where: str, arrays: Mapping[str, NDArray[Any]], item: ItemSpec, classes: int | None) -> None:
    """Raise DataError unless `arrays` are one dense split of such items.

    Args:
        where: the dataset and split, as an error should name them.
        arrays: `items` (count, *item.shape) of item.dtype, finite, at least one; `labels` (count,) of integers in
            [0, classes), where there are classes.
        item: what each row of `items` is.
        classes: number of classes, or None for a dataset without labels.
    """
    expected = {"items"} if classes is None else {"items", "labels"}
    if set(arrays) != expected:
        raise DataError(f"{where}: has the arrays {sorted(arrays)}, must have {sorted(expected)}")
    _check_items(where, arrays["items"], item)
    if classes is not None:
        _check_labels(where, arrays["labels"], len(arrays["items"]), classes)


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
