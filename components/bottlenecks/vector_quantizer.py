"""Vector quantization: each latent vector becomes the index of the nearest vector of a codebook.

van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", arXiv 1711.00937; the codebook by
exponential moving averages (its appendix A.1) or by gradient (its equation 3), started by k-means, with dead codes
revived. A code is a codebook vector and its index.

Shapes: a latent of (batch, 49, 16) is 49 vectors of 16 dimensions an item; a batch of 128 makes 6272 vectors, and
each becomes one of `codebook_size` integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from components.bottlenecks.contract import SMALLEST, Bottleneck, BottleneckOutput
from components.bottlenecks.gradients import rotated_through, straight_through
from components.bottlenecks.rates import check_rate
from components.settings import Settings
from items.code import CodeSpec
from items.spec import ItemSpec

POINTS = 64  # latents for each code at most from which the codebook starts; Faiss asks for 39 at least
BLOCK_BYTES = 2**26  # of the distances between latents and codebook vectors that are held at a time


class CodebookSettings(Settings):
    """A codebook of `codebook_size` vectors of `size` dimensions.

    Attributes:
        positions: vectors an item; null takes what the network gives naturally (a conv network's grid, else 1).
        commitment: weight of the term that keeps latents near their codebook vectors (equation 3's beta).
        decay: of the moving averages, per batch.
        dead_code_threshold: a code whose moving count falls below this share of an even use is moved onto a latent.
    """

    codebook_size: int = Field(ge=2, le=65536)
    size: int = Field(ge=1)
    positions: int | None = Field(default=None, ge=1)
    commitment: float = Field(default=0.25, ge=0)
    decay: float = Field(default=0.99, gt=0, lt=1)
    dead_code_threshold: float = Field(default=0.03, ge=0, lt=1)


class VectorQuantizerSettings(CodebookSettings):
    """A codebook and how it learns.

    Attributes:
        codebook: `ema` moves each vector to the moving average of the latents that are nearest to it; `gradient` makes
            the vectors a parameter with the loss `codebook`, equation 3's second term (`decay` then only counts their
            use).
        cosine: compare directions: latents and codebook vectors are scaled to length 1 (Yu et al., arXiv 2110.04627).
        rotation: instead of the straight-through gradient that of a rotation (Fifty et al., arXiv 2410.06424).
    """

    kind: Literal["vector_quantizer"] = "vector_quantizer"
    codebook: Literal["ema", "gradient"] = "ema"
    cosine: bool = False
    rotation: bool = False

    @field_validator("cosine", "rotation")
    @classmethod
    def _has_directions(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("size") == 1:
            raise ValueError("must be false where size is 1: one dimension has no directions")
        return value

    def build(self, item: ItemSpec, positions: int) -> VectorQuantizer:
        """Build the bottleneck for a network that gives `positions` vectors an item.

        Raises:
            SettingError: the code costs more bits than the raw item.
        """
        quantizer = VectorQuantizer(self, self.positions or positions)
        check_rate(quantizer.code, item, "codebook_size", self.codebook_size)
        return quantizer


class VectorQuantizer(Bottleneck):
    """Nearest-neighbour quantizer.

    `codebook` (codebook_size, size) is a buffer that no optimizer touches, or a parameter where it learns by gradient.
    Two more buffers, `counts` (codebook_size,) and, where it learns by moving averages, `sums` (codebook_size, size),
    are the averages of how many latents are nearest to a code, and of their sum, both as shares of a batch: the many
    items that start the codebook must not outweigh the batches that follow.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, settings: VectorQuantizerSettings, positions: int) -> None:
        super().__init__()
        self.settings = settings
        self.latent_shape = self.embedding_shape = (positions, settings.size)
        self.code = CodeSpec(shape=(positions,), levels=settings.codebook_size)
        count = settings.codebook_size
        codebook = self._directed(torch.randn(count, settings.size))
        self.register_buffer("counts", torch.full((count,), 1 / count))
        if settings.codebook == "gradient":
            self.codebook = nn.Parameter(codebook)
        else:
            self.register_buffer("codebook", codebook)
            self.register_buffer("sums", codebook / count)

    @torch.no_grad()
    def initialize(self, latents: Tensor) -> None:
        """Start the codebook at the k-means centres of the first batches' latents."""
        vectors = self._directed(latents.detach().float().reshape(-1, self.settings.size))
        most = POINTS * self.settings.codebook_size
        if len(vectors) > most:
            vectors = vectors[torch.randperm(len(vectors), device=vectors.device)[:most]]
        centres, drawn = k_means(vectors, self.settings.codebook_size)
        centres = self._directed(centres)
        self.codebook.copy_(centres)
        self.counts.copy_(drawn.clamp(min=1.0) / len(vectors))
        if self.settings.codebook == "ema":
            self.sums.copy_(centres * self.counts[:, None])

    def forward(self, latents: Tensor) -> BottleneckOutput:
        """Quantize with the straight-through gradient, or the rotation's; in training mode also move the codebook."""
        with torch.autocast(latents.device.type, enabled=False):
            latents = self._directed(latents.float())
            vectors = latents.detach().reshape(-1, self.settings.size)
            by_gradient = self.settings.codebook == "gradient"
            if self.training and by_gradient:
                self._revive(vectors)  # before the codebook is used: the gradient needs it as it was then
            codebook = self._compared()
            indices = nearest(vectors, codebook.detach())
            chosen = F.embedding(indices, codebook).reshape(latents.shape)
            quantized = chosen.detach()
            losses = {"commitment": self.settings.commitment * _squared_distance(latents, quantized)}
            if by_gradient:
                losses["codebook"] = _squared_distance(latents.detach(), chosen)
            if self.training:
                self._follow(vectors, indices)
            through = rotated_through if self.settings.rotation else straight_through
            code = through(quantized, latents)
        return BottleneckOutput(code, losses, indices.reshape(latents.shape[:-1]))

    def encode(self, latents: Tensor) -> Tensor:
        """Return indices (batch, positions), int64."""
        return nearest(self._directed(latents.float()), self._compared())

    def embed(self, codes: Tensor) -> Tensor:
        """Return the codebook vectors (batch, positions, size) of indices (batch, positions)."""
        return F.embedding(codes.long(), self._compared())

    def choice_gaps(self, latents: Tensor, codes: Tensor) -> Tensor:
        """See :class:`Bottleneck`; codes are chosen by their squared distances, see :func:`gaps`."""
        gaps, spread = self.margins(latents, codes)
        return gaps / spread

    def margins(self, latents: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return how much farther than the nearest the chosen codes lie, (batch, positions), and what is far.

        Both are of squared distances, in float64. The second is their :func:`spread` over the codebook.
        """
        codebook = self._compared().double()

        def margin(vectors: Tensor, indices: Tensor) -> Tensor:
            distances = _distances(vectors, codebook)
            gaps = distances.gather(-1, indices[..., None])[..., 0] - distances.amin(-1)
            return torch.stack([gaps, distances.std(-1, correction=0)], -1)

        vectors = self._directed(latents.float()).double()
        gaps, deviations = _in_blocks(margin, codebook, vectors, codes.long()).unbind(-1)
        return gaps, deviations.mean().clamp(min=SMALLEST)

    def _directed(self, vectors: Tensor) -> Tensor:
        """Scale vectors (..., size) to length 1 where only their directions count."""
        return F.normalize(vectors, dim=-1) if self.settings.cosine else vectors

    def _compared(self) -> Tensor:
        """Return the codebook as latents are compared with it."""
        return self._directed(self.codebook)

    @torch.no_grad()
    def _follow(self, vectors: Tensor, indices: Tensor) -> None:
        """Count the latents of each code; move it to their moving mean, and revive those that have none."""
        keep = self.settings.decay
        drawn = torch.bincount(indices, minlength=self.settings.codebook_size).to(vectors.dtype)
        self.counts.lerp_(drawn / len(vectors), 1 - keep)
        if self.settings.codebook == "gradient":
            return
        total = torch.zeros_like(self.sums).index_add_(0, indices, vectors)
        self.sums.lerp_(total / len(vectors), 1 - keep)
        self._revive(vectors)
        self.codebook.copy_(self._directed(self.sums / self.counts.clamp(min=1e-20)[:, None]))

    @torch.no_grad()
    def _revive(self, vectors: Tensor) -> None:
        """Move codes that are used next to never onto latents."""
        even = 1 / self.settings.codebook_size
        dead = (self.counts < self.settings.dead_code_threshold * even).nonzero().flatten()
        if not len(dead):
            return
        picked = vectors[torch.randint(len(vectors), (len(dead),), device=vectors.device)]
        self.counts[dead] = even
        if self.settings.codebook == "gradient":
            self.codebook[dead] = picked
        else:  # the sums move too, else the next update would pull the code back to where it died
            self.sums[dead] = picked * even


def _squared_distance(latents: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean over items of the squared distance, summed over positions and dimensions."""
    return (latents - chosen).square().flatten(1).sum(1).mean()


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Return the indices (...) in a codebook (codes, dimensions) that are nearest to vectors (..., dimensions)."""
    return _in_blocks(lambda block: _smallest(_distances(block, codebook)), codebook, vectors)


def _smallest(distances: Tensor) -> Tensor:
    """Return the index of the smallest of the last dimension; on a CPU numpy is some 20 times as fast as torch."""
    if torch.compiler.is_compiling() or distances.device.type != "cpu":
        return distances.argmin(-1)
    return torch.from_numpy(distances.detach().numpy().argmin(-1))


def _distances(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Return squared distances (..., codes) but for the vector's own square, which moves no minimum."""
    norms = codebook.square().sum(-1)
    if torch.compiler.is_compiling():
        return norms - 2.0 * (vectors @ codebook.T)
    flat = torch.addmm(norms, vectors.reshape(-1, vectors.shape[-1]), codebook.T, alpha=-2.0)
    return flat.reshape(*vectors.shape[:-1], len(codebook))


def _in_blocks(work: Callable[..., Tensor], codebook: Tensor, vectors: Tensor, *beside: Tensor) -> Tensor:
    """Return what `work` gives, a row a vector, of vectors (..., dimensions) and what lies beside them, (...) each.

    It is given few enough vectors at a time for their distances to the whole codebook to stay within BLOCK_BYTES. An
    exported graph has no blocks: its batches are the caller's.
    """
    rows = max(1, BLOCK_BYTES // (codebook.element_size() * len(codebook)))
    if torch.compiler.is_compiling() or vectors[..., 0].numel() <= rows:
        return work(vectors, *beside)
    flat = (vectors.flatten(0, -2), *(tensor.flatten() for tensor in beside))
    blocks = zip(*(torch.split(tensor, rows) for tensor in flat), strict=True)
    return torch.unflatten(torch.cat([work(*block) for block in blocks]), 0, vectors.shape[:-1])


def k_means(vectors: Tensor, centres: int, iterations: int = 10) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from randomly drawn vectors.

    Args:
        vectors: (n, dimensions). Where they are fewer than `centres`, the centres that are left over start near vectors
            but not on them, at a tenth of the vectors' deviation: no two are the same, and those that draw no vector
            wait there for the encoder to move, or to be revived.
        centres: how many centres.
        iterations: Lloyd steps.

    Returns:
        The centres (centres, dimensions) and how many vectors each drew (centres,).
    """
    picks = torch.randperm(len(vectors), device=vectors.device)
    picks = picks.repeat(-(-centres // len(picks)))[:centres]
    means = vectors[picks].clone()
    if centres > len(vectors):
        deviation = vectors.std(0, correction=0).clamp(min=1e-3)
        means[len(vectors) :] += 0.1 * deviation * torch.randn_like(means[len(vectors) :])
    drawn = torch.ones(centres, device=vectors.device)
    for _ in range(iterations):
        indices = nearest(vectors, means)
        drawn = torch.bincount(indices, minlength=centres).to(vectors.dtype)
        sums = torch.zeros_like(means).index_add_(0, indices, vectors)
        means = torch.where(drawn[:, None] > 0, sums / drawn.clamp(min=1.0)[:, None], means)
    return means, drawn
