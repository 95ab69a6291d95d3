"""Greedy layer-wise pretraining: a deep encoder learnt one layer at a time, without labels.

Bengio, Lamblin, Popovici, Larochelle, "Greedy Layer-Wise Training of Deep Networks", NIPS 2006: each layer is the
encoder of an autoencoder that rebuilds what the layers below it give, and those stay as they are. With corruption it
is the stacked denoising autoencoder of Vincent et al., JMLR 11 (2010), section 3.5, where only the layer that is
learning sees corrupted values; with the contractive penalty, that of Rifai et al., ICML 2011.

For layers (500, 250) and images of 784 pixels: 784-500-784 learns from images, then 500-250-500 from their 500 codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from components.batches import Batches, RawItems
from components.contract import Epoch, Scaling, TrainingRun
from components.corruptions import CorruptionSettings, NoCorruption
from components.models.tied import TiedAutoencoder
from components.networks.mlp import Activation
from components.penalties import ContractiveSettings
from components.settings import Settings
from components.training import TrainingSettings
from items.spec import ItemSpec

Array = np.ndarray[Any, np.dtype[Any]]

CHUNK = 4096


class StackSettings(Settings):
    """Layers from the item up, and how each is pretrained.

    Attributes:
        layers: their widths; a layer may be wider than what it sees.
        activation: follows every layer.
        corruption: of what a layer sees while it is pretrained.
        contractive: the weight of the contractive penalty, null for none.
        pretraining: how each layer's autoencoder is trained.
    """

    layers: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    activation: Activation = "relu"
    corruption: CorruptionSettings = NoCorruption()
    contractive: Annotated[float, Field(gt=0)] | None = None
    pretraining: TrainingSettings = Field(default_factory=TrainingSettings)

    def build(self, item: ItemSpec, seed: int = 0) -> Stack:
        """Build the stack with weights drawn from `seed`."""
        penalties = () if self.contractive is None else (ContractiveSettings(weight=self.contractive),)
        parts = (self.activation, self.pretraining, self.corruption, penalties)
        autoencoders = []
        sees, within_unit = item, item.scale == "bytes"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for width in self.layers:
                autoencoders.append(TiedAutoencoder(sees, width, *parts, within_unit=within_unit))
                sees = ItemSpec(kind="vector", shape=(width,), dtype="float32")
                within_unit = self.activation == "sigmoid"
        return Stack(autoencoders)


class Stack(nn.Module):
    """Layers, each the encoder of an autoencoder; what rebuilds is of no use after pretraining and no part of it."""

    def __init__(self, autoencoders: list[TiedAutoencoder]) -> None:
        super().__init__()
        self.item = autoencoders[0].item
        self.scaling = Scaling(self.item)
        self.layers = nn.ModuleList(autoencoder.encoder for autoencoder in autoencoders)
        self.autoencoders = tuple(autoencoders)  # a tuple, so that torch does not take their parameters for the stack's

    @property
    def width(self) -> int:
        """Units of the last layer."""
        return self.autoencoders[-1].code.shape[0]

    def forward(self, items: Tensor) -> Tensor:
        """Return the last layer's values (batch, width) of raw items (batch, *item.shape)."""
        values: Tensor = self.scaling(items)
        for layer in self.layers:
            values = layer(values)
        return values


@dataclass(frozen=True)
class LayerEpoch:
    """An epoch of a layer's autoencoder; `layer` is 1 for the first."""

    layer: int
    epoch: Epoch


def pretrain(stack: Stack, run: TrainingRun) -> Iterator[LayerEpoch]:
    """Train a stack's layers in place, from the first to the last, each for `run.epochs` over raw items.

    Yields:
        Each epoch of each layer.
    """
    train, validation = run.train, run.validation
    last = len(stack.autoencoders)
    for layer, autoencoder in enumerate(stack.autoencoders, start=1):
        for epoch in autoencoder.fit(TrainingRun(train, validation, run.epochs, run.seed * last + layer)):
            yield LayerEpoch(layer, epoch)
        if layer < last:
            train, validation = encoded(autoencoder, train), encoded(autoencoder, validation)


@torch.no_grad()
def encoded(autoencoder: TiedAutoencoder, items: RawItems) -> Array:
    """Return the codes (n, width) of raw items (n, *item.shape)."""
    autoencoder.eval()
    device = next(autoencoder.parameters()).device
    chunks = Batches.of(items, device).split(CHUNK)
    return torch.cat([autoencoder.encode(chunk).cpu() for chunk in chunks]).numpy()
