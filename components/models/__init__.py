"""Models: whatever can be fitted, encode, and maybe decode."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.contract import Epoch, Model, TrainingRun
from components.models.autoencoder import AutoencoderSettings
from components.models.lsa import LSASettings
from components.models.pca import PCASettings

ModelSettings = Annotated[PCASettings | LSASettings | AutoencoderSettings, Field(discriminator="kind")]

__all__ = ["AutoencoderSettings", "Epoch", "LSASettings", "Model", "ModelSettings", "PCASettings", "TrainingRun"]
