"""Additive Gaussian noise: x + sigma · n (Vincent et al., JMLR 11 (2010), section 3.3)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from components.corruptions.contract import Corruption


class GaussianNoise(Corruption):
    """Noise of standard deviation `sigma` on every value. The sum is not clipped, so pixels leave 0-1."""

    kind: Literal["gaussian"] = "gaussian"
    sigma: float = Field(default=0.3, gt=0)

    def __call__(self, items: Tensor) -> Tensor:
        """See :class:`Corruption`."""
        return items + self.sigma * torch.randn_like(items)
