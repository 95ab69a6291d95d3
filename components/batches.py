"""Raw items as tensors, some at a time: what training, measurements and closed-form models draw from."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from items.sparse import SparseRows

BLOCK = 64  # batches gathered at once: large enough to be quick, small enough to stay a fraction of the data

RawItems = np.ndarray[Any, Any] | SparseRows


def as_tensor(items: np.ndarray[Any, Any], device: torch.device | None = None) -> Tensor:
    """Return an array as a tensor over the same memory (a copy on the device where that is not the CPU)."""
    with warnings.catch_warnings():
        # Shared and memory-mapped arrays are read-only, and nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(items).to(device or "cpu")


class Batches(ABC):
    """Raw items (n, *item.shape), as tensors on a device."""

    @staticmethod
    def of(items: RawItems, device: torch.device | None = None) -> Batches:
        """Return the batches of an array, whatever its layout."""
        return SparseBatches(items, device) if isinstance(items, SparseRows) else DenseBatches(as_tensor(items, device))

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of items."""

    @abstractmethod
    def rows(self, places: Tensor | slice) -> Tensor:
        """Return the items at these places, (places, *item.shape)."""

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield all items in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.rows(slice(start, start + size))

    def shuffled(self, order: Tensor, size: int) -> Iterator[Tensor]:
        """Yield the items in an order (n,), `size` at a time."""
        for places in torch.split(order, size):
            yield self.rows(places)


class DenseBatches(Batches):
    """Items in a tensor (n, *item.shape), which stay raw bytes until a batch is drawn."""

    def __init__(self, items: Tensor) -> None:
        self._items = items

    def __len__(self) -> int:
        """See :class:`Batches`."""
        return len(self._items)

    def rows(self, places: Tensor | slice) -> Tensor:
        """See :class:`Batches`."""
        return self._items[places]

    def columns(self, places: slice) -> Tensor:
        """Return these values of all items, each item flattened: (n, places)."""
        return self._items.flatten(1)[:, places]

    def shuffled(self, order: Tensor, size: int) -> Iterator[Tensor]:
        """See :class:`Batches`. One gather is for many batches."""
        for block in torch.split(order, size * BLOCK):
            yield from torch.split(self._items[block], size)


class SparseBatches(Batches):
    """Items in sparse rows, of which one batch at a time is dense."""

    def __init__(self, items: SparseRows, device: torch.device | None = None) -> None:
        self._items, self._device = items, device or torch.device("cpu")

    def __len__(self) -> int:
        """See :class:`Batches`."""
        return len(self._items)

    def rows(self, places: Tensor | slice) -> Tensor:
        """See :class:`Batches`."""
        dense = self._items[places if isinstance(places, slice) else places.cpu().numpy()]
        return torch.from_numpy(dense).to(self._device)
