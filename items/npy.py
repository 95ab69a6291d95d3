"""The .npy format (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), checked before it is used.

A header is Python syntax. numpy's own reader raises errors of many kinds where it is damaged.
"""

from __future__ import annotations

import ast
import math
import os
import struct
import warnings
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from items.errors import ItemError
from items.files import open_regular

MAGIC = b"\x93NUMPY"
LENGTHS = {1: "<H", 2: "<I", 3: "<I"}  # of the header, by the format's version
HEADER_BYTES = 10_000  # numpy's own bound
DIMENSIONS = 32


@dataclass(frozen=True)
class Header:
    """Header of an .npy file. Its values begin at byte `offset`."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    offset: int


class NpyFile:
    """An .npy array in an open file.

    Rows are read, not mapped: a mapped file that another process cuts would kill this process.

    Attributes:
        header: shape, dtype and order.
        status: the file's, when it was opened.
    """

    def __init__(self, path: Path) -> None:
        """Open a file and check its header.

        Raises:
            ItemError: it is not a whole .npy array of numbers.
            OSError: it cannot be opened.
        """
        self._file = open_regular(path)
        try:
            self.status = os.fstat(self._file.fileno())
            self.header = read_header(self._file, self.status.st_size)
        except BaseException:
            self._file.close()
            raise

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows `start` to `stop`, or up to the last, as (rows, *shape[1:]) in C order.

        Raises:
            ItemError: the file has become shorter since it was opened.
        """
        header = self.header
        count = header.shape[0]
        stop = min(stop, count)
        values = math.prod(header.shape[1:])
        if not header.fortran_order:
            rows: NDArray[Any] = np.empty((stop - start, *header.shape[1:]), header.dtype)
            self._read(rows, start * values)
            return rows
        columns: NDArray[Any] = np.empty((values, stop - start), header.dtype)
        for place, column in enumerate(columns):
            self._read(column, place * count + start)
        return np.ascontiguousarray(columns.reshape(*header.shape[:0:-1], stop - start).T)

    def mapped(self) -> NDArray[Any]:
        """Map the whole array read-only."""
        header = self.header
        order: Any = "F" if header.fortran_order else "C"
        return np.memmap(
            self._file, dtype=header.dtype, mode="r", offset=header.offset, shape=header.shape, order=order
        )

    def _read(self, values: NDArray[Any], first: int) -> None:
        """Fill an array with the file's values from the `first` on."""
        left = values.reshape(-1).view(np.uint8).data
        position = self.header.offset + first * self.header.dtype.itemsize
        while left:
            done = os.preadv(self._file.fileno(), [left], position)
            if not done:
                raise ItemError("it has become shorter while it was read")
            left, position = left[done:], position + done


def read_header(file: FileIO, size: int) -> Header:
    """Read and check the header of an .npy file of `size` bytes; its array must fill the rest of the file.

    Raises:
        ItemError: the header is damaged, does not fit the size, or describes another array than one of numbers.
    """
    start = file.read(len(MAGIC) + 2)
    length_format = LENGTHS.get(start[-2]) if start[:-2] == MAGIC and start[-1] == 0 else None
    if length_format is None:
        raise ItemError("it does not begin as an .npy file of version 1, 2 or 3 does")
    packed = file.read(struct.calcsize(length_format))
    length = struct.unpack(length_format, packed)[0] if len(packed) == struct.calcsize(length_format) else 0
    if not 0 < length <= HEADER_BYTES:
        raise ItemError(f"its header has {length} bytes, 1 to {HEADER_BYTES} are read")
    text = file.read(length)
    offset = len(start) + len(packed) + length
    shape, dtype, fortran_order = _parse(text)
    whole = offset + math.prod(shape) * dtype.itemsize
    if whole != size:
        raise ItemError(f"it has {size} bytes, its header says {whole}")
    return Header(shape, dtype, fortran_order, offset)


def _parse(text: bytes) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes and old names of types
            described = ast.literal_eval(text.decode("latin1").strip())
            kind, fortran_order, shape = described["descr"], described["fortran_order"], described["shape"]
            dtype: np.dtype[Any] = np.dtype(kind if isinstance(kind, str) else object)
    except Exception:  # Python's parser raises errors of many types
        raise ItemError("its header must be a dictionary of descr, fortran_order and shape") from None
    if dtype.kind not in "biufc" or dtype.itemsize == 0:
        raise ItemError(f"its values are {str(kind)[:40]!r}, must be booleans or numbers, without pickled objects")
    if not isinstance(shape, tuple) or len(shape) > DIMENSIONS or not all(map(_is_size, shape)):
        raise ItemError("its header's shape must be a tuple of sizes")
    if not isinstance(fortran_order, bool):
        raise ItemError("its header's fortran_order must be True or False")
    return shape, dtype, fortran_order


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63
