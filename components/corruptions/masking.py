"""Masking noise: some values become 0 (Vincent et al., ICML 2008, section 2.3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.corruptions.contract import Corruption, Share


class MaskingNoise(Corruption):
    """Each value, each pixel's each channel on its own, is set to 0 with probability `share`."""

    kind: Literal["masking"] = "masking"
    share: Share = 0.25

    def __call__(self, items: Tensor) -> Tensor:
        """See :class:`Corruption`."""
        return items.masked_fill(torch.rand_like(items) < self.share, 0.0)
