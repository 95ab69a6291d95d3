"""The bottleneck's contract: a latent in; a code, its loss terms and its cost in bits out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from items.code import CodeSpec

SMALLEST = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class BottleneckOutput:
    """A latent (batch, *latent_shape) after the bottleneck, for the loss.

    Attributes:
        code: what the decoder rebuilds from, (batch, *embedding_shape), with a gradient towards the encoder.
        losses: terms to add to the loss, weighted; each a mean over items of a sum over dimensions.
        indices: what :meth:`Bottleneck.encode` gives of the latent, where finding it again would cost something.
    """

    code: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)
    indices: Tensor | None = None


@dataclass(frozen=True)
class Posterior:
    """The distribution q(code | item) of a variational bottleneck, as it is: no relaxation, no weight.

    Attributes:
        mean: of what the decoder takes, (batch, variables) or (batch, variables, classes).
        divergence: KL(q || prior) in nats, (batch,).
        draw: draws a code for each item; returns what the decoder takes of it, (batch, *embedding_shape), and
            log q(code | item) - log prior(code), (batch,), whose expectation is the divergence.
    """

    mean: Tensor
    divergence: Tensor
    draw: Callable[[], tuple[Tensor, Tensor]]


class Bottleneck(nn.Module, ABC):
    """The waist of the hourglass.

    Attributes:
        latent_shape: what the encoder gives for one item, (dimensions,) or (positions, dimensions).
        embedding_shape: what the decoder takes for one item; of most bottlenecks the same.
        code: what is stored for one item.
    """

    latent_shape: tuple[int, ...]
    embedding_shape: tuple[int, ...]
    code: CodeSpec

    def anneal(self, progress: float) -> None:
        """Take note of the share of the training that is done, 0 to 1; called before each epoch. Most ignore it."""

    def initialize(self, latents: Tensor) -> None:
        """Set up from the latents (items, *latent_shape) of the first batches; most bottlenecks need nothing."""

    @abstractmethod
    def forward(self, latents: Tensor) -> BottleneckOutput:
        """Return what the loss needs of latents (batch, *latent_shape)."""

    @abstractmethod
    def encode(self, latents: Tensor) -> Tensor:
        """Return the codes (batch, *code.shape) that are stored: deterministic, integers where discrete."""

    @abstractmethod
    def embed(self, codes: Tensor) -> Tensor:
        """Return what the decoder takes, (batch, *embedding_shape), from stored codes."""

    def choice_gaps(self, latents: Tensor, codes: Tensor) -> Tensor | None:
        """Return how much worse each choice in `codes` is than the best, of their shape; None where nothing is chosen.

        0 is the best choice or one that ties with it. Relative to the :func:`spread` of the alternatives, which an
        offset that they have in common does not change.
        """
        return None

    def with_choices(self, latents: Tensor, codes: Tensor) -> Tensor:
        """Return what the decoder takes, (batch, *embedding_shape), if the choices are those of `codes`.

        Discrete codes are nothing but choices; in real ones there are none, unless a bottleneck says otherwise.
        """
        return self.embed(codes if self.code.levels else self.encode(latents))

    def posterior(self, latents: Tensor) -> Posterior | None:
        """Return the distribution of codes given latents (batch, *latent_shape); None where a code is one value."""
        return None


def spread(scores: Tensor) -> Tensor:
    """Return the standard deviation of alternatives' scores (..., alternatives), averaged over choices; never 0.

    Averaged, because that of a choice between two is half their difference, which would leave no choice a tie.
    """
    return scores.std(-1, correction=0).mean().clamp(min=SMALLEST)


def gaps(scores: Tensor, chosen: Tensor) -> Tensor:
    """Return how far the chosen alternatives' scores lie below the best, in spreads.

    Args:
        scores: (..., alternatives), the largest the best.
        chosen: indices (...).
    """
    scores = scores.double()
    below = scores.amax(-1) - scores.gather(-1, chosen.long()[..., None])[..., 0]
    return below / spread(scores)
