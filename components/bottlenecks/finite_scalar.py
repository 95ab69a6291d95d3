"""Finite scalar quantization: each dimension is rounded to one of a few levels, and there is no codebook to learn.

Mentzer, Minnen, Agustsson, Tschannen, "Finite Scalar Quantization", arXiv 2309.15505; names and formulas of its
listing in appendix A.1.

Shapes: levels (8, 5, 5, 5) and 49 positions take latents (batch, 49, 4); each vector of 4 becomes one of 1000 integers,
and the decoder takes the levels scaled to -1..1, (batch, 49, 4).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from components.bottlenecks.contract import Bottleneck, BottleneckOutput
from components.bottlenecks.gradients import straight_through
from components.bottlenecks.rates import check_rate
from components.settings import Settings
from items.code import CodeSpec
from items.spec import ItemSpec

EPSILON = 1e-3  # keeps tanh's ends from rounding to one level too many
MOST = 65536


class FiniteScalarSettings(Settings):
    """Vectors of as many dimensions as there are `levels`, each rounded to so many values.

    Attributes:
        levels: (8, 5, 5, 5) makes 1000 codes; the paper advises 5 or more a dimension (its table 1).
        positions: vectors an item; null takes what the network gives naturally (a conv network's grid, else 1).
    """

    kind: Literal["finite_scalar"] = "finite_scalar"
    levels: tuple[Annotated[int, Field(ge=2)], ...] = Field(default=(8, 5, 5, 5), min_length=1)
    positions: int | None = Field(default=None, ge=1)

    @field_validator("levels")
    @classmethod
    def _few(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if math.prod(value) > MOST:
            raise ValueError(f"must have a product of at most {MOST}; it is {math.prod(value)}")
        return value

    def build(self, item: ItemSpec, positions: int) -> FiniteScalar:
        """Build the bottleneck for a network that gives `positions` vectors an item.

        Raises:
            SettingError: the code costs more bits than the raw item.
        """
        bottleneck = FiniteScalar(self, self.positions or positions)
        check_rate(bottleneck.code, item, "levels", self.levels)
        return bottleneck


class FiniteScalar(Bottleneck):
    """Bounds each dimension by tanh, rounds it with the straight-through gradient, and counts in mixed radix.

    Buffers, none of them learned or saved, (dimensions,): `levels`; `basis`, what a step in each dimension adds to the
    index; `half_width`, the index of level 0.
    """

    levels: Tensor
    basis: Tensor
    half_width: Tensor
    half_length: Tensor
    offset: Tensor
    shift: Tensor

    def __init__(self, settings: FiniteScalarSettings, positions: int) -> None:
        super().__init__()
        self.settings = settings
        self.latent_shape = self.embedding_shape = (positions, len(settings.levels))
        self.code = CodeSpec(shape=(positions,), levels=math.prod(settings.levels))
        levels = torch.tensor(settings.levels)
        basis = torch.tensor([math.prod(settings.levels[:place]) for place in range(len(settings.levels))])
        half_length = (levels.double() - 1) * (1 - EPSILON) / 2
        offset = torch.where(levels % 2 == 1, 0.0, 0.5)
        buffers = {"levels": levels, "basis": basis, "half_width": levels // 2, "offset": offset}
        buffers |= {"half_length": half_length.float(), "shift": (offset / half_length).tan().float()}
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, latents: Tensor) -> BottleneckOutput:
        """Return the rounded levels, scaled to -1..1, with the gradient of the bounded latents."""
        with torch.autocast(latents.device.type, enabled=False):
            bounded = self.bounded(latents.float())
            code = straight_through(bounded.detach().round() / self.half_width, bounded / self.half_width)
        return BottleneckOutput(code)

    def encode(self, latents: Tensor) -> Tensor:
        """Return indices (batch, positions), int64."""
        rounded = self.bounded(latents.float()).round().long()
        return ((rounded + self.half_width) * self.basis).sum(-1)

    def embed(self, codes: Tensor) -> Tensor:
        """Return levels scaled to -1..1, (batch, positions, dimensions), of indices (batch, positions)."""
        return self._unpacked(codes).float() / self.half_width

    def choice_gaps(self, latents: Tensor, codes: Tensor) -> Tensor:
        """See :class:`Bottleneck`; that of a vector's worst level. The spread is taken to be the number of levels."""
        bounded = self.bounded(latents.float())
        excess = (bounded - self._unpacked(codes)).abs() - (bounded - bounded.round()).abs()
        return (excess / self.levels).amax(-1)

    def bounded(self, latents: Tensor) -> Tensor:
        """Return latents (..., dimensions) between the ends of their levels, not yet rounded."""
        return (latents + self.shift).tanh() * self.half_length - self.offset

    def _unpacked(self, codes: Tensor) -> Tensor:
        """Return the levels (..., dimensions), 0 in the middle, of indices (...)."""
        return codes.long()[..., None] // self.basis % self.levels - self.half_width
