"""The variational autoencoder's bottleneck: a normal distribution for each item, drawn towards the standard one.

Kingma, Welling, "Auto-Encoding Variational Bayes", arXiv 1312.6114; its weight beta from Higgins et al., ICLR 2017.

Shapes: for a code of 16, the encoder gives (batch, 32), 16 means and 16 log-variances; the decoder takes (batch, 16).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from components.bottlenecks.contract import Bottleneck, BottleneckOutput, Posterior
from components.bottlenecks.rates import check_width
from components.settings import Settings
from items.code import CodeSpec
from items.spec import ItemSpec

LIMIT = 10.0  # log-variances stay between -10 and 10: deviations from 0.007 to 148


class GaussianSettings(Settings):
    """A code of `size` real numbers, the means.

    Attributes:
        beta: weight of the divergence; 1 makes the loss the evidence bound if the reconstruction is `bernoulli`. With
            the squared error, 1 is that of a decoder whose pixels have variance 1/2, for which it is the negative
            log-likelihood but for a constant. Directions of the data that vary less than beta/2 are then not worth
            their bits, so items of small variance want a smaller beta.
    """

    kind: Literal["gaussian"] = "gaussian"
    size: int = Field(ge=1)
    beta: float = Field(default=1.0, ge=0)

    def build(self, item: ItemSpec, positions: int) -> Gaussian:
        """Build the bottleneck; `positions` is of no use to it.

        Raises:
            SettingError: the code is larger than the item.
        """
        check_width(item, "size", self.size)
        return Gaussian(self)


class Gaussian(Bottleneck):
    """A diagonal normal posterior, sampled while training by the reparametrization (equation 10).

    In evaluation mode the decoder gets the mean. So the loss found then is no lower bound on the evidence, whose
    expectation is over samples: its error is that of the mean, which is smaller. :mod:`components.bounds` computes one.
    """

    def __init__(self, settings: GaussianSettings) -> None:
        super().__init__()
        self.settings = settings
        self.latent_shape, self.embedding_shape = (2 * settings.size,), (settings.size,)
        self.code = CodeSpec(shape=(settings.size,), levels=None)

    def forward(self, latents: Tensor) -> BottleneckOutput:
        """Return a sample in training mode, the mean else; the loss `kl` is beta times the divergence."""
        with torch.autocast(latents.device.type, enabled=False):
            mean, log_variance = self.moments(latents)
            code = mean
            if self.training:
                code = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            kl = divergence(mean, log_variance).mean()
        return BottleneckOutput(code, {"kl": self.settings.beta * kl})

    def encode(self, latents: Tensor) -> Tensor:
        """Return the means (batch, size)."""
        return latents[:, : self.settings.size].float()

    def embed(self, codes: Tensor) -> Tensor:
        """See :class:`Bottleneck`."""
        return codes

    def posterior(self, latents: Tensor) -> Posterior:
        """See :class:`Bottleneck`; the prior is N(0, I)."""
        mean, log_variance = self.moments(latents)

        def draw() -> tuple[Tensor, Tensor]:
            noise = torch.randn_like(mean)
            code = mean + (0.5 * log_variance).exp() * noise
            return code, 0.5 * (code.square() - noise.square() - log_variance).sum(1)

        return Posterior(mean, divergence(mean, log_variance), draw)

    def moments(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log-variances, (batch, size) each, of latents (batch, 2 * size)."""
        mean, raw = latents.float().chunk(2, dim=1)
        return mean, soft_clamp(raw)


def soft_clamp(values: Tensor) -> Tensor:
    """Keep values between -10 and 10, smoothly: almost untouched in between, and never without a gradient.

    By two softplus, as Chua et al. (arXiv 1805.12114, appendix A.1) bound theirs.
    """
    below = LIMIT - F.softplus(LIMIT - values)
    return F.softplus(below + LIMIT) - LIMIT


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return each item's KL(q || N(0, I)) in nats, (batch,), of (batch, size): appendix B of 1312.6114."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
