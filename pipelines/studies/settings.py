"""What the studies of params.yaml are about: `studies.<kind>.<name>`, one settings model a kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.prior import PriorSettings
from components.settings import Settings

EXPERIMENT = "the name of an experiment"
ExperimentName = Annotated[str, EXPERIMENT]


class StudySettings(Settings):
    """Base of a study's settings."""

    def experiments(self) -> dict[str, str]:
        """Return the experiments that the study compares, by the key that names each."""
        fields = type(self).model_fields
        return {key: getattr(self, key) for key, field in fields.items() if EXPERIMENT in field.metadata}


class SubspacesSettings(StudySettings):
    """PCA against a linear autoencoder: do both span the same subspace?"""

    pca: ExperimentName
    linear: ExperimentName


class Passes(Settings):
    """Passes over the training codes, for each budget."""

    quick: int = Field(default=1, ge=1)
    paper: int = Field(default=40, ge=1)


class GenerationSettings(StudySettings):
    """Can a decoder alone create something? Codes from a grid, from a known distribution, from a learned prior.

    Attributes:
        plane: an autoencoder with a code of two real numbers.
        vae_plane: a variational one (bottleneck gaussian) with a code of two.
        vae: a variational one of any size.
        quantizer: one with discrete codes of any kind, for which a prior is trained.
        prior, prior_epochs: that prior and how long it is trained.
        samples: how many items are made each way.
    """

    plane: ExperimentName
    vae_plane: ExperimentName
    vae: ExperimentName
    quantizer: ExperimentName
    prior: PriorSettings = PriorSettings()
    prior_epochs: Passes = Passes()
    samples: int = Field(default=2000, ge=20)


class StudiesSettings(Settings):
    """All studies, by kind and name; a kind without any is an empty mapping, for dvc.yaml goes through each."""

    subspaces: dict[str, SubspacesSettings] = Field(default_factory=dict)
    generation: dict[str, GenerationSettings] = Field(default_factory=dict)

    def all(self) -> dict[str, StudySettings]:
        """Return every study by its place, `kind.name`."""
        kinds = {kind: getattr(self, kind) for kind in type(self).model_fields}
        return {f"{kind}.{name}": study for kind, studies in kinds.items() for name, study in studies.items()}
