from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_bundles import SHAPE, write_linear, write_quantized

from serving.bundle import Bundle


@pytest.fixture
def linear(tmp_path: Path) -> Bundle:
    return Bundle.load(write_linear(tmp_path / "linear"), threads=1)


@pytest.fixture
def quantized(tmp_path: Path) -> Bundle:
    return Bundle.load(write_quantized(tmp_path / "quantized"), threads=1)


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (23, *SHAPE), np.uint8)


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[[np.ndarray], Path]:
    """Write pictures as PNG files in two folders, so that their sorted order is the array's."""

    def write(pictures: np.ndarray) -> Path:
        for row, picture in enumerate(pictures):
            path = tmp_path / "pictures" / "ab"[row >= 10] / f"{row:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture[..., 0]).save(path)
        return tmp_path / "pictures"

    return write
