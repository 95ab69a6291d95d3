"""Items in an .npy array."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from serving.batches import Chunk, InputError, fingerprint_of, stamp
from serving.manifest import ItemContract


class ArrayFile:
    """Rows of an .npy file, mapped into memory; a row's id is its number. Rows of floats must be finite."""

    def __init__(self, path: Path, item: ItemContract) -> None:
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise InputError(f"{path}: not a whole .npy array without pickled objects: {error}") from error
        if not isinstance(array, np.ndarray) or array.ndim == 0:
            raise InputError(f"{path}: not an array of items")
        if array.shape[1:] == item.shape[:-1] and item.shape[-1:] == (1,):
            array = array[..., np.newaxis]
        if not item.fits(array.shape[1:]):
            raise InputError(f"{path}: items have shape {array.shape[1:]}, the bundle takes {item.shape}")
        if array.dtype != item.dtype:
            raise InputError(f"{path}: items are {array.dtype}, the bundle takes {item.dtype}")
        self.path = str(path)
        self.total = len(array)
        self.fingerprint = fingerprint_of(["npy", *stamp(path)])
        self._array = array

    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """Read the rows from `start` on."""
        for first in range(start, self.total, size):
            items = np.ascontiguousarray(self._array[first : first + size])
            ids = [str(row) for row in range(first, first + len(items))]
            broken: dict[int, str] = {}
            if items.dtype.kind == "f":
                finite = np.isfinite(items.reshape(len(items), -1)).all(axis=1)
                broken = {int(row): "it has values that are NaN or infinite" for row in np.flatnonzero(~finite)}
                items = items[finite] if broken else items
            yield Chunk(ids, items, broken)
