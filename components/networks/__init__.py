"""Networks: the encoder and the decoder for an item's shape and a latent's shape."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.networks.conv import ConvSettings
from components.networks.linear import LinearSettings
from components.networks.mlp import MLPSettings

NetworkSettings = Annotated[LinearSettings | MLPSettings | ConvSettings, Field(discriminator="kind")]

__all__ = ["ConvSettings", "LinearSettings", "MLPSettings", "NetworkSettings"]
