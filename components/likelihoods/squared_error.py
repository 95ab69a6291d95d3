"""The squared error: up to a constant, the likelihood of a normal distribution of one variance around the output."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from components.likelihoods.contract import PER_ITEM, SQUARED_ERROR, Likelihood


class SquaredError(Likelihood):
    """The squared difference, summed over an item's values."""

    kind: Literal["squared_error"] = "squared_error"
    term: ClassVar[str] = SQUARED_ERROR
    unit: ClassVar[str] = PER_ITEM

    def errors(self, target: Tensor, decoded: Tensor) -> Tensor:
        """See :class:`Likelihood`."""
        return (target - decoded).square().flatten(1).sum(1)

    def mean(self, decoded: Tensor) -> Tensor:
        """See :class:`Likelihood`."""
        return decoded
