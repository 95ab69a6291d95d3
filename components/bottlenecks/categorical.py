"""Categorical variables, relaxed while training: the Gumbel-softmax.

Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144.

Shapes: 20 variables of 10 classes take latents (batch, 20, 10), the logits; the code is (batch, 20) integers below 10,
and the decoder takes (batch, 20, 10), one-hot.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from components.bottlenecks.contract import Bottleneck, BottleneckOutput, Posterior, gaps
from components.bottlenecks.rates import check_rate
from components.settings import Settings
from items.code import CodeSpec
from items.spec import ItemSpec


class CategoricalSettings(Settings):
    """`variables` variables of `classes` classes each.

    Attributes:
        temperature: of the softmax in the first epoch.
        final_temperature: in the last; in between it falls exponentially.
        straight_through: give the decoder one-hot samples, and the encoder the relaxed samples' gradient.
        beta: weight of the divergence from the uniform prior.
    """

    kind: Literal["categorical"] = "categorical"
    variables: int = Field(ge=1)
    classes: int = Field(ge=2, le=65536)
    temperature: float = Field(default=1.0, gt=0)
    final_temperature: float = Field(default=0.5, gt=0)
    straight_through: bool = False
    beta: float = Field(default=1.0, ge=0)

    @field_validator("final_temperature")
    @classmethod
    def _falls(cls, value: float, info: ValidationInfo) -> float:
        if value > info.data.get("temperature", math.inf):
            raise ValueError(f"must be at most temperature, {info.data['temperature']}")
        return value

    def build(self, item: ItemSpec, positions: int) -> Categorical:
        """Build the bottleneck; `positions` is of no use to it.

        Raises:
            SettingError: the code costs more bits than the raw item.
        """
        bottleneck = Categorical(self)
        check_rate(bottleneck.code, item, "variables", self.variables)
        return bottleneck


class Categorical(Bottleneck):
    """Samples relaxed one-hot vectors while training; in evaluation mode takes each variable's likeliest class.

    `temperature` is no part of the state: it follows from how much of the training is done.
    """

    def __init__(self, settings: CategoricalSettings) -> None:
        super().__init__()
        self.settings = settings
        self.latent_shape = self.embedding_shape = (settings.variables, settings.classes)
        variables = settings.variables
        self.code = CodeSpec(shape=(variables,), levels=settings.classes, alphabets=variables)
        self.temperature = settings.temperature

    def anneal(self, progress: float) -> None:
        """Set the temperature."""
        first, last = self.settings.temperature, self.settings.final_temperature
        self.temperature = first * (last / first) ** progress

    def forward(self, latents: Tensor) -> BottleneckOutput:
        """Return samples (equation 2) in training mode, the likeliest else; `kl` is beta times the divergence."""
        with torch.autocast(latents.device.type, enabled=False):
            logits = latents.float()
            if self.training:
                code = F.gumbel_softmax(logits, self.temperature, hard=self.settings.straight_through)
            else:
                code = self.embed(self.encode(logits))
            kl = divergence(logits).mean()
        return BottleneckOutput(code, {"kl": self.settings.beta * kl})

    def encode(self, latents: Tensor) -> Tensor:
        """Return classes (batch, variables), int64."""
        return latents.float().argmax(-1)

    def embed(self, codes: Tensor) -> Tensor:
        """Return one-hot vectors (batch, variables, classes) of classes (batch, variables)."""
        return F.one_hot(codes.long(), self.settings.classes).float()

    def choice_gaps(self, latents: Tensor, codes: Tensor) -> Tensor:
        """See :class:`Bottleneck`; classes are chosen by their logits."""
        return gaps(latents.float(), codes)

    def posterior(self, latents: Tensor) -> Posterior:
        """See :class:`Bottleneck`; the prior is uniform, and codes are one-hot as when served, not relaxed."""
        log_shares = latents.float().log_softmax(-1)
        shares = log_shares.exp()

        def draw() -> tuple[Tensor, Tensor]:
            classes = shares.flatten(0, 1).multinomial(1).reshape(shares.shape[:2])
            chosen = log_shares.gather(-1, classes[..., None])[..., 0]
            return self.embed(classes), (chosen + math.log(self.settings.classes)).sum(1)

        return Posterior(shares, divergence(latents.float()), draw)


def divergence(logits: Tensor) -> Tensor:
    """Return each item's KL(q || uniform) in nats, (batch,), of logits (batch, variables, classes)."""
    log_shares = logits.log_softmax(-1)
    return (log_shares.exp() * (log_shares + math.log(logits.shape[-1]))).flatten(1).sum(1)
