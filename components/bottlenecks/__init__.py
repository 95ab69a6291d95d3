"""Bottlenecks: from latents to codes, and to what the decoder takes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.bottlenecks.binary import BinarySettings
from components.bottlenecks.categorical import CategoricalSettings
from components.bottlenecks.contract import Bottleneck, BottleneckOutput
from components.bottlenecks.finite_scalar import FiniteScalarSettings
from components.bottlenecks.gaussian import GaussianSettings
from components.bottlenecks.identity import IdentitySettings
from components.bottlenecks.residual import ResidualQuantizerSettings
from components.bottlenecks.top_k import TopKSettings
from components.bottlenecks.vector_quantizer import VectorQuantizerSettings

BottleneckSettings = Annotated[
    IdentitySettings
    | VectorQuantizerSettings
    | ResidualQuantizerSettings
    | FiniteScalarSettings
    | GaussianSettings
    | CategoricalSettings
    | BinarySettings
    | TopKSettings,
    Field(discriminator="kind"),
]

__all__ = [
    "BinarySettings",
    "Bottleneck",
    "BottleneckOutput",
    "BottleneckSettings",
    "CategoricalSettings",
    "FiniteScalarSettings",
    "GaussianSettings",
    "IdentitySettings",
    "ResidualQuantizerSettings",
    "TopKSettings",
    "VectorQuantizerSettings",
]
