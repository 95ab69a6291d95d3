"""The contract of a model, autoencoder or not: what training, sweeps, exports and evaluations ask of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.batches import RawItems
from components.state import State
from items.code import CodeSpec
from items.spec import TINY, ItemSpec


@dataclass(frozen=True)
class Epoch:
    """The result of one pass over the training items.

    Attributes:
        number: 1 for the first.
        metrics: `train_…` and `validation_…`, means over items.
        state: everything needed to go on from here.
        weights: the weights and buffers by which the epoch was validated, those of the model unless they were averaged.

    Both refer to live tensors: save them before asking for the next epoch.
    """

    number: int
    metrics: dict[str, float]
    state: State
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class TrainingRun:
    """The items that a model is fitted on, and for how long.

    Attributes:
        train: raw items (items, *item.shape), read-only and memory-mapped ones too, or sparse rows.
        validation: raw items that no gradient sees.
        epochs: passes over `train`; closed-form models take one.
        seed: of initial weights, order, and noise.
    """

    train: RawItems
    validation: RawItems
    epochs: int
    seed: int


@dataclass(frozen=True)
class Validation:
    """The values of a batch in evaluation mode, from one pass through the model.

    Attributes:
        losses: the loss's terms, as of :meth:`Trainable.losses`.
        metrics: further means over items, which are no part of the loss.
        codes: (batch, *code.shape), integers; None where the model has no discrete codes.
    """

    losses: dict[str, Tensor]
    metrics: dict[str, Tensor] = field(default_factory=dict)
    codes: Tensor | None = None


class Trainable(nn.Module, ABC):
    """A network as the training loop sees it."""

    def initialize(self, items: Tensor) -> None:
        """Set up what starts from raw items (n, *item.shape), such as codebooks; most models need nothing."""

    def anneal(self, progress: float) -> None:
        """Take note of the share of the training that is done, 0 to 1; see :meth:`Bottleneck.anneal`."""

    @abstractmethod
    def losses(self, items: Tensor) -> dict[str, Tensor]:
        """Return the loss's terms for raw items (batch, *item.shape): means over items of sums over dimensions."""

    def validate(self, items: Tensor) -> Validation:
        """Return the values of raw items (batch, *item.shape) in evaluation mode."""
        return Validation(self.losses(items))


class Model(Trainable):
    """A model of raw items, scaling included, so that training and serving cannot come to differ.

    Attributes:
        item: what it takes.
        code: what it gives.
    """

    item: ItemSpec
    code: CodeSpec

    @property
    def rebuilds(self) -> Literal["items", "chances"]:
        """What :meth:`decode` gives, see :class:`components.likelihoods.Likelihood`."""
        return "items"

    @abstractmethod
    def fit(self, run: TrainingRun, resume: State | None = None) -> Iterator[Epoch]:
        """Train, yielding after each epoch; from `resume` on where one is given, bit for bit as if never stopped."""

    def validate(self, items: Tensor) -> Validation:
        """See :class:`Trainable`."""
        return Validation(self.losses(items), codes=self.encode(items) if self.code.levels else None)

    @abstractmethod
    def encode(self, items: Tensor) -> Tensor:
        """Return the codes (batch, *code.shape) of raw items; integers where the code is discrete."""

    def embed(self, codes: Tensor) -> Tensor:
        """Return codes as vectors in which distance means likeness; real codes are their own."""
        return codes

    def decode(self, codes: Tensor) -> Tensor | None:
        """Return what was rebuilt (batch, *item.shape), float32, images in 0-1; None where the model cannot."""
        return None

    def choice_gaps(self, items: Tensor, codes: Tensor) -> Tensor | None:
        """Return how much worse than the best each choice in `codes` is, see :meth:`Bottleneck.choice_gaps`."""
        return None

    def with_choices(self, items: Tensor, codes: Tensor) -> Tensor:
        """Return the items' embedding if the choices are those of `codes`, see :meth:`Bottleneck.with_choices`."""
        return self.embed(codes if self.code.levels else self.encode(items))


class Scaling(nn.Module):
    """Raw items to the numbers that a network takes, see :meth:`ItemSpec.scaled`."""

    weights: Tensor

    def __init__(self, item: ItemSpec) -> None:
        super().__init__()
        self.scale = item.scale
        if self.scale == "tf_idf":  # a part of what an item is, so no trained state
            self.register_buffer("weights", torch.from_numpy(item.word_weights), persistent=False)

    def forward(self, items: Tensor) -> Tensor:
        """Scale (batch, *item.shape) to float32."""
        numbers = items.to(torch.float32)
        match self.scale:
            case "bytes":
                return numbers / 255.0
            case "tf_idf":
                return F.normalize(numbers * self.weights, dim=1, eps=TINY)
            case _:
                return numbers
