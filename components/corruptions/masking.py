"""Masking noise: some values are taken away (Vincent et al., ICML 2008, section 2.3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.corruptions.contract import Corruption, Share


class MaskingNoise(Corruption):
    """Each value, each pixel's each channel on its own, is replaced with probability `share`.

    Attributes:
        fill: what takes its place. `mean`, the value's mean over the batch, says nothing about the item and keeps the
            mean, on a dark ground and on a light one. `zero` is as published, for data whose ground is 0: elsewhere it
            shifts the mean, which a model then adds to clean items too.
    """

    kind: Literal["masking"] = "masking"
    share: Share = 0.25
    fill: Literal["mean", "zero"] = "mean"

    def __call__(self, items: Tensor) -> Tensor:
        """See :class:`Corruption`."""
        fill = items.mean(0, keepdim=True) if self.fill == "mean" else items.new_zeros(())
        return torch.where(torch.rand_like(items) < self.share, fill, items)
