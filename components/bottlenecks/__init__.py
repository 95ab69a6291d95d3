"""Bottlenecks: what a latent is squeezed into."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.bottlenecks.contract import Bottleneck, CodeSpec, Squeezed
from components.bottlenecks.identity import IdentitySettings
from components.bottlenecks.vector_quantizer import VectorQuantizerSettings

BottleneckSettings = Annotated[IdentitySettings | VectorQuantizerSettings, Field(discriminator="kind")]

__all__ = ["Bottleneck", "BottleneckSettings", "CodeSpec", "IdentitySettings", "Squeezed", "VectorQuantizerSettings"]
