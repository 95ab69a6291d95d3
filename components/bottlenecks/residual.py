"""Residual vector quantization: each codebook quantizes what the ones before it left over.

Zeghidour et al., "SoundStream", arXiv 2107.03312, algorithm 1; the idea is older (Juang, Gray, ICASSP 1982).

Shapes: a latent of (batch, 49, 16) with depth 4 makes 4 integers for each of 49 vectors, a code of (batch, 196); a
vector's integers lie beside each other, the coarsest first.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from components.bottlenecks.contract import Bottleneck, BottleneckOutput
from components.bottlenecks.gradients import straight_through
from components.bottlenecks.rates import check_rate
from components.bottlenecks.vector_quantizer import CodebookSettings, VectorQuantizer, VectorQuantizerSettings
from items.code import CodeSpec
from items.spec import ItemSpec


class ResidualQuantizerSettings(CodebookSettings):
    """`depth` codebooks, each as in :class:`CodebookSettings` and moved by moving averages."""

    kind: Literal["residual_quantizer"] = "residual_quantizer"
    depth: int = Field(ge=1, le=64)

    def build(self, item: ItemSpec, positions: int) -> ResidualQuantizer:
        """Build the bottleneck for a network that gives `positions` vectors an item.

        Raises:
            SettingError: the code costs more bits than the raw item.
        """
        quantizer = ResidualQuantizer(self, self.positions or positions)
        check_rate(quantizer.code, item, "depth", self.depth)
        return quantizer


class ResidualQuantizer(Bottleneck):
    """A chain of vector quantizers.

    A stage's choice is a constant to the stages after it: so each stage's commitment pulls at the latent itself, and
    the decoder's gradient reaches the latent once, past all stages.
    """

    def __init__(self, settings: ResidualQuantizerSettings, positions: int) -> None:
        super().__init__()
        self.depth = settings.depth
        self.latent_shape = self.embedding_shape = (positions, settings.size)
        self.code = CodeSpec(
            shape=(positions * settings.depth,), levels=settings.codebook_size, alphabets=settings.depth
        )
        stage = VectorQuantizerSettings.model_validate(settings.model_dump(exclude={"kind", "depth"}))
        self.stages = nn.ModuleList(VectorQuantizer(stage, positions) for _ in range(settings.depth))

    def initialize(self, latents: Tensor) -> None:
        """Start each codebook at the k-means centres of what the ones before it leave."""
        residual = latents.detach().float()
        for stage in self._stages():
            stage.initialize(residual)
            residual = residual - stage.embed(stage.encode(residual))

    def forward(self, latents: Tensor) -> BottleneckOutput:
        """Return the stages' sum with the straight-through gradient; `commitment` is that of all stages together."""
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.float()
            total, commitment, indices = torch.zeros_like(latents), latents.new_zeros(()), []
            for stage in self._stages():
                output = stage(latents - total)
                total = total + output.code.detach()
                commitment = commitment + output.losses["commitment"]
                indices.append(output.indices)
            code = straight_through(total, latents)
        return BottleneckOutput(code, {"commitment": commitment}, torch.stack(indices, dim=-1).flatten(1))

    def encode(self, latents: Tensor) -> Tensor:
        """Return indices (batch, positions * depth), int64."""
        latents, indices = latents.float(), []
        total = torch.zeros_like(latents)
        for stage in self._stages():
            indices.append(stage.encode(latents - total))
            total = total + stage.embed(indices[-1])
        return torch.stack(indices, dim=-1).flatten(1)

    def embed(self, codes: Tensor) -> Tensor:
        """Return the sums of codebook vectors (batch, positions, size) of indices (batch, positions * depth)."""
        total = torch.zeros((), device=codes.device)
        for stage, indices in zip(self._stages(), self._by_stage(codes), strict=True):
            total = total + stage.embed(indices)
        return total

    def choice_gaps(self, latents: Tensor, codes: Tensor) -> Tensor:
        """See :class:`Bottleneck`; a stage chooses by squared distances to what the choices before it leave.

        Relative to the geometric mean of the spread at the first stage and of that at the choice's own: a residual is
        a difference of numbers as large as the latent, and is as inexact as they are.
        """
        residual, relative, spreads = latents.float(), [], []
        for stage, indices in zip(self._stages(), self._by_stage(codes), strict=True):
            gaps, spread = stage.margins(residual, indices)
            spreads.append(spread)
            relative.append(gaps / spread * (spread / spreads[0]).sqrt())
            residual = residual - stage.embed(indices)
        return torch.stack(relative, dim=-1).flatten(1)

    def _stages(self) -> list[VectorQuantizer]:
        return [cast(VectorQuantizer, stage) for stage in self.stages]

    def _by_stage(self, codes: Tensor) -> tuple[Tensor, ...]:
        """Return each stage's indices (batch, positions) of codes (batch, positions * depth)."""
        return torch.unflatten(codes, 1, (self.latent_shape[0], self.depth)).unbind(-1)
