"""Bits, with a straight-through gradient: codes that are hashes, compared by Hamming distance.

Bengio, Léonard, Courville, "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
Computation", arXiv 1308.3432, section 4.

Shapes: 256 bits take latents (batch, 256), the logits; the code is (batch, 256) integers, 0 or 1, and the decoder takes
(batch, 256), -1 or 1, so that a squared distance is four times the Hamming distance.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from components.bottlenecks.contract import Bottleneck, BottleneckOutput, Posterior, gaps
from components.bottlenecks.gradients import straight_through
from components.bottlenecks.rates import check_rate
from components.settings import Settings
from items.code import CodeSpec
from items.spec import ItemSpec


class BinarySettings(Settings):
    """A code of `size` bits.

    Attributes:
        noise: draw bits by their probabilities, the logits' sigmoids, while training; else the likelier value is taken.
    """

    kind: Literal["binary"] = "binary"
    size: int = Field(ge=1)
    noise: bool = False

    def build(self, item: ItemSpec, positions: int) -> Binary:
        """Build the bottleneck; `positions` is of no use to it.

        Raises:
            SettingError: the code costs more bits than the raw item.
        """
        bottleneck = Binary(self)
        check_rate(bottleneck.code, item, "size", self.size)
        return bottleneck


class Binary(Bottleneck):
    """Thresholds at 0; the gradient is that of the expected sign, 2 sigmoid(logit) - 1."""

    def __init__(self, settings: BinarySettings) -> None:
        super().__init__()
        self.settings = settings
        self.latent_shape = self.embedding_shape = (settings.size,)
        self.code = CodeSpec(shape=(settings.size,), levels=2, alphabets=settings.size)

    def forward(self, latents: Tensor) -> BottleneckOutput:
        """Return signs; drawn where there is noise and the mode is training."""
        with torch.autocast(latents.device.type, enabled=False):
            logits = latents.float()
            bits = self.encode(logits)
            if self.training and self.settings.noise:
                bits = logits.detach().sigmoid().bernoulli()
            code = straight_through(self.embed(bits), 2 * logits.sigmoid() - 1)
        return BottleneckOutput(code)

    def encode(self, latents: Tensor) -> Tensor:
        """Return bits (batch, size), int64."""
        return (latents > 0).long()

    def embed(self, codes: Tensor) -> Tensor:
        """Return signs (batch, size) of bits (batch, size)."""
        return 2.0 * codes.float() - 1.0

    def choice_gaps(self, latents: Tensor, codes: Tensor) -> Tensor:
        """See :class:`Bottleneck`; a bit is chosen between its logit and 0, the other bit's."""
        logits = latents.float()
        return gaps(torch.stack([torch.zeros_like(logits), logits], -1), codes)

    def posterior(self, latents: Tensor) -> Posterior | None:
        """See :class:`Bottleneck`; the prior is a fair coin for each bit. None where bits are not drawn but taken."""
        if not self.settings.noise:
            return None
        logits = latents.float()
        shares = logits.sigmoid()
        entropy = F.binary_cross_entropy_with_logits(logits, shares, reduction="none")

        def draw() -> tuple[Tensor, Tensor]:
            bits = shares.bernoulli()
            surprise = F.binary_cross_entropy_with_logits(logits, bits, reduction="none")
            return self.embed(bits), (math.log(2) - surprise).sum(1)

        return Posterior(self.embed(shares), (math.log(2) - entropy).sum(1), draw)
