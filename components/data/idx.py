"""The idx format of MNIST and its like (http://yann.lecun.com/exdb/mnist/)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.data.errors import DataError

_UBYTE = 8


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the array of unsigned bytes that an idx file holds.

    The file is two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension's size as a
    big-endian uint32, then the values in C order.

    Args:
        path: of the raw file, not gzipped.
        dimensions: how many the array must have: 1 for labels, 3 for images.

    Raises:
        DataError: the file is something else, or its length disagrees with its header.
    """
    content = path.read_bytes()
    magic = bytes([0, 0, _UBYTE, dimensions])
    if content[:4] != magic:
        raise DataError(f"{path}: begins with {content[:4].hex()}, an idx{dimensions}-ubyte file with {magic.hex()}")
    header = 4 + 4 * dimensions
    shape = tuple(int(size) for size in np.frombuffer(content[4:header][: len(content[4:header]) // 4 * 4], ">u4"))
    if len(shape) != dimensions or len(content) != header + math.prod(shape):
        raise DataError(f"{path}: has {len(content)} bytes, which is not what its header says: shape {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
