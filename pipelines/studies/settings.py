"""What the studies of params.yaml are about: `studies.<kind>.<name>`, one settings model a kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

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


class BoundsSettings(StudySettings):
    """Variational autoencoders: how many nats does an item take?"""

    gaussian: ExperimentName
    categorical: ExperimentName


class StudiesSettings(Settings):
    """All studies, by kind and name; a kind without any is an empty mapping, for dvc.yaml goes through each."""

    subspaces: dict[str, SubspacesSettings] = Field(default_factory=dict)
    bounds: dict[str, BoundsSettings] = Field(default_factory=dict)

    def all(self) -> dict[str, StudySettings]:
        """Return every study by its place, `kind.name`."""
        kinds = {kind: getattr(self, kind) for kind in type(self).model_fields}
        return {f"{kind}.{name}": study for kind, studies in kinds.items() for name, study in studies.items()}
