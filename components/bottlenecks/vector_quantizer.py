"""Vector quantization: each latent vector becomes the index of its nearest codebook entry.

van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", arXiv 1711.00937; the codebook by
exponential moving averages (its appendix A.1), started by k-means, with dead entries revived.

Shapes: a latent of (batch, 49, 16) is 49 vectors of 16 dimensions an item; a batch of 128 makes 6272 vectors, and
each becomes one of `entries` integers.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from components.bottlenecks.contract import Bottleneck, CodeSpec, Squeezed
from components.items import ItemSpec
from components.settings import SettingError, Settings


class VectorQuantizerSettings(Settings):
    """A codebook of `entries` vectors of `size` dimensions.

    Attributes:
        positions: vectors an item; null takes what the network gives naturally (a conv network's grid, else 1).
        commitment: weight of the term that keeps latents near their entries (equation 3's beta).
        decay: of the moving averages, per batch.
        revive_below: an entry whose moving count falls under this share of an even use is moved onto a latent.
    """

    kind: Literal["vector_quantizer"] = "vector_quantizer"
    entries: int = Field(ge=2, le=65536)
    size: int = Field(ge=1)
    positions: int | None = Field(default=None, ge=1)
    commitment: float = Field(default=0.25, ge=0)
    decay: float = Field(default=0.99, gt=0, lt=1)
    revive_below: float = Field(default=0.03, ge=0, lt=1)

    def build(self, item: ItemSpec, positions: int) -> VectorQuantizer:
        """Build the bottleneck for a network that gives `positions` vectors an item.

        Raises:
            SettingError: the code costs more bits than the raw item.
        """
        quantizer = VectorQuantizer(self, self.positions or positions)
        if quantizer.code.bits_per_item > item.bits:
            made, most = quantizer.code.bits_per_item, item.bits
            allowed = f"must make a code of at most {most} bits, one raw item's; it makes {made:g}"
            raise SettingError("entries", self.entries, allowed)
        return quantizer


class VectorQuantizer(Bottleneck):
    """Nearest-entry quantizer with an EMA codebook, which no optimizer touches.

    Buffers: `codebook` (entries, size); `counts` (entries,) and `sums` (entries, size) are the moving averages of how
    many latents an entry drew, and of their sum, both as shares of a batch: the many items that start the codebook
    must not outweigh the batches that follow.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, settings: VectorQuantizerSettings, positions: int) -> None:
        super().__init__()
        self.settings = settings
        self.latent_shape = self.embedding_shape = (positions, settings.size)
        self.code = CodeSpec(shape=(positions,), levels=settings.entries)
        entries = torch.randn(settings.entries, settings.size)
        self.register_buffer("codebook", entries)
        self.register_buffer("counts", torch.full((settings.entries,), 1 / settings.entries))
        self.register_buffer("sums", entries / settings.entries)

    @torch.no_grad()
    def initialize(self, latents: Tensor) -> None:
        """Start the codebook at the k-means centres of the first batches' latents."""
        vectors = latents.detach().float().reshape(-1, self.settings.size)
        centres, drawn = k_means(vectors, self.settings.entries)
        self.codebook.copy_(centres)
        self.counts.copy_(drawn.clamp(min=1.0) / len(vectors))
        self.sums.copy_(centres * self.counts[:, None])

    def forward(self, latents: Tensor) -> Squeezed:
        """Quantize with the straight-through gradient; in training mode also move the codebook."""
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.float()
            vectors = latents.reshape(-1, self.settings.size)
            indices = self._nearest(vectors.detach())
            quantized = F.embedding(indices, self.codebook).reshape(latents.shape)
            commitment = (latents - quantized).square().flatten(1).sum(1).mean()
            if self.training:
                self._follow(vectors.detach(), indices)
            code = latents + (quantized - latents).detach()
        return Squeezed(code, {"commitment": self.settings.commitment * commitment})

    def encode(self, latents: Tensor) -> Tensor:
        """Return indices (batch, positions), int64."""
        return self._distances(latents.float()).argmin(-1)

    def embed(self, codes: Tensor) -> Tensor:
        """Return the entries (batch, positions, size) of indices (batch, positions)."""
        return F.embedding(codes.long(), self.codebook)

    def regrets(self, latents: Tensor, codes: Tensor) -> Tensor:
        """Return how much farther than the nearest the chosen entries lie, relative to the squared lengths."""
        distances = self._distances(latents.float())
        chosen = distances.gather(-1, codes.long()[..., None])[..., 0]
        scale = latents.float().square().sum(-1) + self.codebook.square().sum(-1).max()
        return (chosen - distances.amin(-1)) / scale

    def _distances(self, vectors: Tensor) -> Tensor:
        """Squared distances (..., entries) but for the vector's own square, which moves no minimum."""
        return self.codebook.square().sum(-1) - 2.0 * (vectors @ self.codebook.T)

    def _nearest(self, vectors: Tensor) -> Tensor:
        return self._distances(vectors).argmin(-1)

    @torch.no_grad()
    def _follow(self, vectors: Tensor, indices: Tensor) -> None:
        """Move each entry to the moving mean of the vectors that it drew, and revive those that drew none."""
        entries, keep = self.settings.entries, self.settings.decay
        drawn = torch.bincount(indices, minlength=entries).to(vectors.dtype)
        total = torch.zeros_like(self.sums).index_add_(0, indices, vectors)
        self.counts.lerp_(drawn / len(vectors), 1 - keep)
        self.sums.lerp_(total / len(vectors), 1 - keep)

        even = 1 / entries
        dead = (self.counts < self.settings.revive_below * even).nonzero().flatten()
        if len(dead):
            # The sums move too, else the next update would pull the entry back to where it died.
            picked = vectors[torch.randint(len(vectors), (len(dead),), device=vectors.device)]
            self.counts[dead] = even
            self.sums[dead] = picked * even
        self.codebook.copy_(self.sums / self.counts.clamp(min=1e-20)[:, None])


def k_means(vectors: Tensor, centres: int, iterations: int = 10) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from randomly drawn vectors.

    Args:
        vectors: (n, dimensions); may be fewer than `centres`, which then start on repeated vectors.
        centres: how many centres.
        iterations: Lloyd steps.

    Returns:
        The centres (centres, dimensions) and how many vectors each drew (centres,).
    """
    picks = torch.randperm(len(vectors), device=vectors.device)
    picks = picks.repeat(-(-centres // len(picks)))[:centres]
    means = vectors[picks].clone()
    drawn = torch.ones(centres, device=vectors.device)
    for _ in range(iterations):
        nearest = (means.square().sum(-1) - 2.0 * (vectors @ means.T)).argmin(-1)
        drawn = torch.bincount(nearest, minlength=centres).to(vectors.dtype)
        sums = torch.zeros_like(means).index_add_(0, nearest, vectors)
        means = torch.where(drawn[:, None] > 0, sums / drawn.clamp(min=1.0)[:, None], means)
    return means, drawn
