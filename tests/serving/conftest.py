from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_bundles import SHAPE, write_linear, write_quantized

from serving.bundle import Bundle


@pytest.fixture(scope="session")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(write_linear(tmp_path_factory.mktemp("linear")), threads=1)


@pytest.fixture(scope="session")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(write_quantized(tmp_path_factory.mktemp("quantized")), threads=1)


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    pictures = np.random.default_rng(1).integers(0, 256, (23, *SHAPE), np.uint8)
    pictures.flags.writeable = False
    return pictures


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
