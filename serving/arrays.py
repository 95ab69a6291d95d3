"""Items in an .npy array."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from items.errors import ItemError
from items.npy import NpyFile
from items.spec import ItemSpec
from serving.batches import Chunk, InputError, Stamp, fingerprint_of


class ArrayFile:
    """Rows of an .npy file. A row's id is its number. A row with a NaN or an infinity is broken."""

    def __init__(self, path: Path, item: ItemSpec) -> None:
        try:
            self._file = NpyFile(path)
        except ItemError as error:
            raise InputError(f"{path}: not a whole .npy array: {error}") from error
        header = self._file.header
        if not header.shape:
            raise InputError(f"{path}: not an array of items")
        shape = header.shape[1:]
        self._shape = (*shape, 1) if shape == item.shape[:-1] and item.shape[-1:] == (1,) else shape
        if self._shape != item.shape:
            raise InputError(f"{path}: items have shape {shape}, the bundle takes {item.shape}")
        if header.dtype != item.dtype:
            raise InputError(f"{path}: items are {header.dtype}, the bundle takes {item.dtype}")
        self.path = str(path)
        self.total = header.shape[0]
        self._stamp = Stamp.of(self._file.status)
        self.fingerprint = fingerprint_of(["npy", *self._stamp.content])

    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """Yield the rows from `start` on."""
        for first in range(start, self.total, size):
            try:
                items = self._file.rows(first, first + size)
            except ItemError as error:
                self.check_unchanged()
                raise InputError(f"{self.path}: {error}") from error
            items = items.reshape(len(items), *self._shape)
            ids = [str(row) for row in range(first, first + len(items))]
            broken: dict[int, str] = {}
            if items.dtype.kind == "f":
                finite = np.isfinite(items.reshape(len(items), -1)).all(axis=1)
                broken = {int(row): "it holds NaN or infinity" for row in np.flatnonzero(~finite)}
                items = items[finite] if broken else items
            yield Chunk(ids, items, broken)

    def check_unchanged(self) -> None:
        """Raise InputError if the file was written to or replaced since it was opened."""
        self._stamp.check(Path(self.path))
