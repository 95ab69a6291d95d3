"""Salt-and-pepper noise: some values become the least or the greatest there is (Vincent et al., JMLR 11 (2010))."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.corruptions.contract import Corruption, Share


class SaltAndPepperNoise(Corruption):
    """Each value is set with probability `share`, to 0 or 1 by a fair coin."""

    kind: Literal["salt_and_pepper"] = "salt_and_pepper"
    share: Share = 0.25

    def __call__(self, items: Tensor) -> Tensor:
        """See :class:`Corruption`."""
        drawn = torch.rand_like(items)
        return items.masked_fill(drawn < self.share, 1.0).masked_fill(drawn < self.share / 2, 0.0)
