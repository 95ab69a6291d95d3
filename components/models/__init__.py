"""Models: whatever can be fitted, encode, and maybe decode."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.contract import Epoch, Model, TrainingRun
from components.models.autoencoder import AutoencoderSettings
from components.models.pca import PCASettings

ModelSettings = Annotated[PCASettings | AutoencoderSettings, Field(discriminator="kind")]

__all__ = ["AutoencoderSettings", "Epoch", "Model", "ModelSettings", "PCASettings", "TrainingRun"]
