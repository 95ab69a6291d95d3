"""One linear layer each way: the autoencoder whose best solution spans the principal components.

Baldi and Hornik, "Neural Networks and Principal Component Analysis", Neural Networks 2 (1989): the squared error has no
local minimum but the global ones, where the decoder's columns span the same subspace as PCA's components; they need
not be orthogonal, nor in any order.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from components.networks.mlp import MLPSettings
from components.settings import Settings
from items.spec import ItemSpec


class LinearSettings(Settings):
    """No hidden layer and no activation. Takes items of any shape."""

    kind: Literal["linear"] = "linear"

    def positions(self, item: ItemSpec) -> int:
        """One vector an item is what this network gives naturally."""
        return 1

    def build(
        self, item: ItemSpec, latent_shape: tuple[int, ...], embedding_shape: tuple[int, ...] | None = None
    ) -> tuple[nn.Module, nn.Module]:
        """Return an encoder to (batch, *latent_shape), and a decoder from (batch, *embedding_shape)."""
        return MLPSettings(hidden=()).build(item, latent_shape, embedding_shape)
