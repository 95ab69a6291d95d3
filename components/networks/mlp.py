"""Fully connected encoder and mirrored decoder, after Hinton and Salakhutdinov, Science 313 (2006)."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from components.settings import Settings
from items.spec import ItemSpec

Activation = Literal["relu", "silu", "gelu", "tanh", "sigmoid"]

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


class UnitNormLinear(nn.Linear):
    """A linear layer by the directions of its weight's columns: each input adds a vector of length 1 times itself.

    The dictionary of sparse coding (Olshausen, Field, Nature 381 (1996); Lee et al., NIPS 2006, bound its columns so).
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map (batch, inputs) to (batch, outputs)."""
        return F.linear(input, F.normalize(self.weight, dim=0), self.bias)


class MLPSettings(Settings):
    """`hidden` widths of the encoder, from the item to the code; the decoder mirrors them. Takes items of any shape.

    `code_activation` follows the encoder's last layer, which is linear by default. One sigmoid layer (`hidden: []`,
    `code_activation: sigmoid`) is the encoder of the sparse and contractive autoencoders' papers.

    `unit_norm_decoder` holds the columns of the decoder's weights at length 1. A penalty on the code's size needs it:
    without, the code shrinks, the decoder's weights grow, and the code is as dense as before.
    """

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (512,)
    activation: Activation = "silu"
    code_activation: Activation | None = None
    unit_norm_decoder: bool = False

    def positions(self, item: ItemSpec) -> int:
        """One vector an item is what this network gives naturally."""
        return 1

    def build(
        self, item: ItemSpec, latent_shape: tuple[int, ...], embedding_shape: tuple[int, ...] | None = None
    ) -> tuple[nn.Module, nn.Module]:
        """Return an encoder to (batch, *latent_shape), and a decoder from (batch, *embedding_shape)."""
        embedding_shape = embedding_shape or latent_shape
        inward = [item.values, *self.hidden, math.prod(latent_shape)]
        outward = [math.prod(embedding_shape), *reversed(self.hidden), item.values]
        last = [ACTIVATIONS[self.code_activation]()] if self.code_activation else []
        encoder = nn.Sequential(nn.Flatten(), *self._layers(inward), *last, nn.Unflatten(1, latent_shape))
        kind = UnitNormLinear if self.unit_norm_decoder else nn.Linear
        decoder = nn.Sequential(nn.Flatten(), *self._layers(outward, kind), nn.Unflatten(1, item.shape))
        return encoder, decoder

    def _layers(self, widths: list[int], kind: type[nn.Linear] = nn.Linear) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for inward, outward in itertools.pairwise(widths):
            linear = kind(inward, outward)
            # Glorot and Bengio, AISTATS 2010: signals keep their size through the layers, so deep stacks start faster.
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
            layers += [linear, ACTIVATIONS[self.activation]()]
        return layers[:-1]
