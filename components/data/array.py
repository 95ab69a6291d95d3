"""The user's own data as one .npy array, an item a row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.data.checks import first_not_finite
from components.data.errors import DataError
from components.data.raw import Fraction, Outline, RawDataset, check_fractions, deal, split_sizes, take
from components.settings import Settings
from items.errors import ItemError
from items.npy import NpyFile
from items.spec import ItemSpec


class ArraySettings(Settings):
    """A .npy file of (N, ...) items, and where there are classes another of (N,) integers.

    uint8 of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3) is images. Anything else is vectors, each item flattened in
    C order: uint8 stays as it is, float32 and float64 become float32. Labels may be any integers; the classes are the
    distinct ones in rising order. Relative paths start at the project's root.
    """

    kind: Literal["array"] = "array"
    source: Path
    labels: Path | None = None
    validation: Fraction = 0.1
    test: Fraction = 0.1
    licence: str = "not stated"

    def outline(self, name: str, root: Path) -> Outline:
        """Return the outline by the header; raises as `load` does, but where items themselves are at fault."""
        check_fractions(self.validation, self.test)
        array, item = _described(name, root / self.source.expanduser())
        train = len(array) - sum(split_sizes(name, len(array), self.validation, self.test))
        if self.labels is None:
            return Outline(item, None, train)
        return Outline(item, len(_labels(name, root / self.labels.expanduser(), len(array))[1]), train)

    def load(self, name: str, seed: int, downloads: Path, root: Path) -> RawDataset:
        """Return the array's items, shuffled by `seed` and dealt to the splits.

        Raises:
            DataError: a file is missing, or is not as the class says, or has too few items; names file and item.
            SettingError: the fractions leave nothing to train on.
        """
        check_fractions(self.validation, self.test)
        items, item = _items(name, root / self.source.expanduser())
        indices = deal(len(items), *split_sizes(name, len(items), self.validation, self.test), seed)
        if self.labels is None:
            splits, classes = take(indices, items=items), None
        else:
            labels, classes = _labels(name, root / self.labels.expanduser(), len(items))
            splits = take(indices, items=items, labels=labels)
        return RawDataset(item, splits, classes, source=f"array {self.source}", licence=self.licence)


def _described(name: str, path: Path) -> tuple[NDArray[Any], ItemSpec]:
    """Return the array, mapped, and what one of its rows is as an item."""
    array = _open(name, path)
    where = f"dataset {name}: {path}"
    if array.dtype not in (np.uint8, np.float32, np.float64):
        raise DataError(f"{where} holds {array.dtype}, must be uint8, float32 or float64")
    if array.ndim < 2 or array.size == 0:
        raise DataError(f"{where} has shape {array.shape}, must be (N, ...) with at least one item of one value")
    if array.dtype == np.uint8 and (array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))):
        return array, ItemSpec(kind="image", shape=(*array.shape[1:3], *(array.shape[3:] or (1,))), dtype="uint8")
    dtype: Literal["uint8", "float32"] = "uint8" if array.dtype == np.uint8 else "float32"
    return array, ItemSpec(kind="vector", shape=(math.prod(array.shape[1:]),), dtype=dtype)


def _items(name: str, path: Path) -> tuple[NDArray[Any], ItemSpec]:
    array, item = _described(name, path)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is named below
        items = array.reshape(len(array), *item.shape).astype(item.dtype, copy=False)
    broken = first_not_finite(items) if item.kind == "vector" else None
    if broken is not None:
        raise DataError(f"dataset {name}: {path}, item {broken}: holds NaN, infinity or more than float32 can hold")
    return items, item


def _labels(name: str, path: Path, count: int) -> tuple[NDArray[Any], tuple[str, ...]]:
    array = _open(name, path)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise DataError(
            f"dataset {name}: {path} holds {array.dtype} of shape {array.shape}, must be integers of shape ({count},)"
        )
    values, labels = np.unique(array, return_inverse=True)
    return labels.astype(np.int64), tuple(str(value) for value in values)


def _open(name: str, path: Path) -> NDArray[Any]:
    try:
        return NpyFile(path).mapped()
    except FileNotFoundError:
        raise DataError(f"dataset {name}: {path} is not there") from None
    except (ItemError, OSError) as error:
        raise DataError(f"dataset {name}: {path} cannot be read as a .npy array: {error}") from error
