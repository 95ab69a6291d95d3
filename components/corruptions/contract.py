"""The corruption's contract: a scaled item in, a damaged one out, as the encoder of a denoising autoencoder gets it.

Vincent, Larochelle, Bengio, Manzagol, "Extracting and Composing Robust Features with Denoising Autoencoders", ICML
2008, section 2.3: the encoder sees the corrupted item, and the rebuilt one is compared with the clean item.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from components.settings import Settings

Share = Annotated[float, Field(gt=0, le=1)]


class Corruption(Settings, ABC):
    """Damages scaled items. It has no weights, so its settings are all there is to it.

    Models train on :meth:`some`; :meth:`__call__` is for evaluating what they learnt. Noise comes from torch's global
    generator, which training seeds each epoch.

    Attributes:
        clean: the chance of an item to be left as it is while training, 0 as published. Codes are those of clean items,
            and a model that has never seen one rebuilds them badly.
    """

    clean: float = Field(default=0.5, ge=0, lt=1)

    @abstractmethod
    def __call__(self, items: Tensor) -> Tensor:
        """Return damaged copies (batch, ...) of scaled items, images' pixels in 0-1; the items stay as they are."""

    def some(self, items: Tensor) -> Tensor:
        """Return scaled items (batch, ...), all damaged but a random share `clean`."""
        left = torch.rand(len(items), *[1] * (items.ndim - 1), device=items.device) < self.clean
        return torch.where(left, items, self(items))
