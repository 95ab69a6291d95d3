from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from items.spec import ItemSpec


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tensors as small as the tests' only lose by threads, and a busy machine's threads wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digit() -> ItemSpec:
    return ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """All 1,797 digits, uint8 (n, 8, 8, 1), read-only as prepared arrays are."""
    items = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)[..., None]
    items.setflags(write=False)
    return items
