"""The corruption's contract: a scaled item in, a damaged one out, as the encoder of a denoising autoencoder gets it.

Vincent, Larochelle, Bengio, Manzagol, "Extracting and Composing Robust Features with Denoising Autoencoders", ICML
2008, section 2.3: the encoder sees the corrupted item, and the rebuilt one is compared with the clean item.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import Field
from torch import Tensor

from components.settings import Settings

Share = Annotated[float, Field(gt=0, le=1)]


class Corruption(Settings, ABC):
    """Damages scaled items. It has no weights, so its settings are all there is to it.

    The model applies it while training only; whoever measures denoising calls it too. Noise comes from torch's global
    generator, which training seeds each epoch.
    """

    @abstractmethod
    def __call__(self, items: Tensor) -> Tensor:
        """Return damaged copies (batch, ...) of scaled items, images' pixels in 0-1; the items stay as they are."""
