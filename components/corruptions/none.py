"""No corruption: a plain autoencoder."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from components.corruptions.contract import Corruption


class NoCorruption(Corruption):
    """The encoder sees the item itself."""

    kind: Literal["none"] = "none"

    def __call__(self, items: Tensor) -> Tensor:
        """See :class:`Corruption`."""
        return items

    def some(self, items: Tensor) -> Tensor:
        """See :class:`Corruption`."""
        return items
