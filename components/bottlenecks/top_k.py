"""A sparse code: only the largest activations of an item stay.

Makhzani, Frey, "k-Sparse Autoencoders", arXiv 1312.5663, section 2.1; with ReLU, so that what stays is positive.

Shapes: latents (batch, 256) with 16 active become (batch, 256) of which at most 16 are not 0.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from components.bottlenecks.contract import Bottleneck, BottleneckOutput, spread
from components.bottlenecks.rates import check_width
from components.settings import SettingError, Settings
from items.code import CodeSpec
from items.spec import ItemSpec


class TopKSettings(Settings):
    """`size` units, of which the `active` largest stay; `size` may be more than the numbers in an item."""

    kind: Literal["top_k"] = "top_k"
    size: int = Field(ge=1)
    active: int = Field(ge=1)

    def build(self, item: ItemSpec, positions: int) -> TopK:
        """Build the bottleneck; `positions` is of no use to it.

        Raises:
            SettingError: more units are active than there are, or than the item has numbers.
        """
        if self.active > self.size:
            raise SettingError("active", self.active, f"must be at most size, {self.size}")
        check_width(item, "active", self.active)
        return TopK(self.size, self.active)


class TopK(Bottleneck):
    """Keeps the largest activations, ties included only as far as there is room, and gives only them a gradient.

    The code is stored dense, but costs what it would cost as a list: for each active unit its value and its index; or
    all values where that is less.
    """

    def __init__(self, size: int, active: int) -> None:
        super().__init__()
        self.active = active
        self.latent_shape = self.embedding_shape = (size,)
        bits = min(active * (32 + math.ceil(math.log2(size))), 32 * size)
        self.code = CodeSpec(shape=(size,), levels=None, bits_per_item=float(bits))

    def forward(self, latents: Tensor) -> BottleneckOutput:
        """See :class:`Bottleneck`."""
        with torch.autocast(latents.device.type, enabled=False):
            return BottleneckOutput(self.encode(latents))

    def encode(self, latents: Tensor) -> Tensor:
        """Return (batch, size), at most `active` of them positive and the others 0."""
        activations = latents.float().relu()
        largest, places = activations.topk(self.active, dim=1)
        return torch.zeros_like(activations).scatter(1, places, largest)

    def embed(self, codes: Tensor) -> Tensor:
        """See :class:`Bottleneck`."""
        return codes

    def choice_gaps(self, latents: Tensor, codes: Tensor) -> Tensor:
        """See :class:`Bottleneck`; what is chosen is which units stay, by the sum of their activations.

        All units of an item have the same: what the sum falls short of the largest that `active` units can have.
        """
        activations, kept = latents.double().relu(), codes != 0
        short = activations.topk(self.active, dim=1).values.sum(1) - (activations * kept).sum(1)
        short = short.masked_fill(kept.sum(1) > self.active, math.inf)
        return (short / spread(latents.double()))[:, None].expand_as(codes)

    def with_choices(self, latents: Tensor, codes: Tensor) -> Tensor:
        """Return the activations (batch, size) of the units that stay in `codes`, the others 0."""
        return latents.float().relu() * (codes != 0)
