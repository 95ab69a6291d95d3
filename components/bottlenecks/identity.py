"""No bottleneck but the width: the code is the latent, as in a plain autoencoder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from components.bottlenecks.contract import Bottleneck, BottleneckOutput
from components.settings import SettingError, Settings
from items.code import CodeSpec
from items.spec import ItemSpec


class IdentitySettings(Settings):
    """A code of `size` real numbers."""

    kind: Literal["identity"] = "identity"
    size: int = Field(ge=1)

    def build(self, item: ItemSpec, positions: int) -> Identity:
        """Build the bottleneck; `positions` is of no use to it.

        Raises:
            SettingError: the code is larger than the item.
        """
        if self.size > item.values:
            raise SettingError("size", self.size, f"must be at most {item.values}, the numbers in one item")
        return Identity(self.size)


class Identity(Bottleneck):
    """Passes latents (batch, size) through."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.latent_shape = self.embedding_shape = (size,)
        self.code = CodeSpec(shape=(size,), levels=None)

    def forward(self, latents: Tensor) -> BottleneckOutput:
        """See :class:`Bottleneck`."""
        return BottleneckOutput(latents)

    def encode(self, latents: Tensor) -> Tensor:
        """See :class:`Bottleneck`."""
        return latents

    def embed(self, codes: Tensor) -> Tensor:
        """See :class:`Bottleneck`."""
        return codes
