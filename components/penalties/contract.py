"""The penalty's contract: what a batch did inside the model in, one term of the loss out.

The lecture's regularised autoencoder: loss = reconstruction + Ω(h), where Ω depends on the code and not on the item
that is rebuilt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from components.settings import Settings

Weight = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Activity:
    """A batch inside the model.

    Attributes:
        items: scaled and clean, (batch, *item.shape).
        code: what the decoder rebuilds from, (batch, *embedding_shape), with a gradient towards the encoder.
        encoder: scaled items to latents.
        training: whether this is a step of training and not an evaluation.
    """

    items: Tensor
    code: Tensor
    encoder: nn.Module
    training: bool


class Penalty(Settings, ABC):
    """A term of the loss, named as its `kind`. It has no weights, so its settings are all there is to it."""

    kind: str
    weight: Weight

    def __call__(self, activity: Activity) -> Tensor:
        """Return the weighted term: a scalar, float32."""
        return self.weight * self.term(activity)

    @abstractmethod
    def term(self, activity: Activity) -> Tensor:
        """Return the term as published, unweighted: a scalar, float32."""
