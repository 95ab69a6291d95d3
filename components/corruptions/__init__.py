"""Corruptions: how items are damaged before the encoder sees them, while training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.corruptions.contract import Corruption
from components.corruptions.gaussian import GaussianNoise
from components.corruptions.masking import MaskingNoise
from components.corruptions.none import NoCorruption
from components.corruptions.salt_and_pepper import SaltAndPepperNoise

CorruptionSettings = Annotated[
    NoCorruption | GaussianNoise | MaskingNoise | SaltAndPepperNoise, Field(discriminator="kind")
]

__all__ = ["Corruption", "CorruptionSettings", "GaussianNoise", "MaskingNoise", "NoCorruption", "SaltAndPepperNoise"]
