"""Settings of the studies: one model a kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, field_validator

from components.corruptions import CorruptionSettings
from components.data.raw import Outline
from components.models import AutoencoderSettings
from components.pretraining import StackSettings
from components.prior import PriorSettings
from components.settings import SettingError, Settings
from components.training import TrainingSettings
from pipelines.studies.contract import ExperimentName, StudySettings
from pipelines.studies.needs import (
    BITS,
    CATEGORICAL,
    DISCRETE,
    ENCODER,
    GAUSSIAN,
    LIKELIHOOD,
    LINEAR,
    REAL,
    TWO,
    TWO_OR_MORE,
)

Count = Annotated[int, Field(ge=1)]


class SubspacesSettings(StudySettings):
    """PCA against a linear autoencoder: do both span the same subspace?"""

    kind: Literal["subspaces"] = "subspaces"
    pca: Annotated[ExperimentName, LINEAR]
    linear: Annotated[ExperimentName, LINEAR]


class PlanesSettings(StudySettings):
    """The first two principal components beside a deep autoencoder's code of two numbers."""

    kind: Literal["planes"] = "planes"
    pca: Annotated[ExperimentName, TWO_OR_MORE]
    deep: Annotated[ExperimentName, TWO]


class DenoisingSettings(StudySettings):
    """A plain autoencoder against one trained to denoise, under each of `noises`; the first is drawn."""

    kind: Literal["denoising"] = "denoising"
    basic: ExperimentName
    denoising: ExperimentName
    noises: tuple[CorruptionSettings, ...] = Field(min_length=1)


class InvarianceSettings(StudySettings):
    """A plain autoencoder against a contractive one of the same size: the Jacobians of their encoders at test items."""

    kind: Literal["invariance"] = "invariance"
    basic: Annotated[ExperimentName, ENCODER]
    contractive: Annotated[ExperimentName, ENCODER]
    items: int = Field(default=300, ge=2)


class SeedsBudget(Settings):
    """How long each of a study's own models is trained, and how many seeds."""

    epochs: int = Field(ge=1)
    seeds: int = Field(ge=1)


class SparseTableSettings(StudySettings):
    """Two autoencoders of one code size that differ in a sparsity penalty."""

    kind: Literal["sparse_table"] = "sparse_table"
    simple: AutoencoderSettings
    sparse: AutoencoderSettings
    quick: SeedsBudget
    paper: SeedsBudget

    def budget(self, name: Literal["quick", "paper"]) -> SeedsBudget:
        """Return one of the budgets."""
        return self.quick if name == "quick" else self.paper

    def errors(self, data: Outline) -> Iterator[SettingError]:
        """See :class:`StudySettings`."""
        for key, model in (("simple", self.simple), ("sparse", self.sparse)):
            try:
                model.build(data.item)
            except SettingError as error:
                yield error.under(key)


class RetrievalSettings(StudySettings):
    """Nearest images by pixels, by real codes and by bits: which finds items of the query's class?

    Attributes:
        real: its codes are real numbers, compared by Euclidean distance. One with the network, noise and training of
            `binary` shows what bits cost; any other mixes that with the effect of the network.
        binary: its codes are bits, compared by Hamming distance.
        neighbours: how many each query is to find in the training split.
        queries: items of the test split that are searched for, evenly spread over it; null takes all.
    """

    kind: Literal["retrieval"] = "retrieval"
    real: Annotated[ExperimentName, REAL]
    binary: Annotated[ExperimentName, BITS]
    neighbours: int = Field(default=10, ge=1)
    queries: int | None = Field(default=None, ge=2)

    def errors(self, data: Outline) -> Iterator[SettingError]:
        """See :class:`StudySettings`."""
        if self.neighbours > data.train:
            yield SettingError("neighbours", self.neighbours, f"must be at most {data.train}, the training items")


class FineTuningBudget(Settings):
    """How often a network is trained with this many labels, and for how long.

    Attributes:
        labels: of the training split, as many of each class; null for all of them.
        epochs: passes over the labelled items, the same whatever the network starts from.
        seeds: each with labels of its own, and random weights of its own.
    """

    labels: Count | None
    epochs: Count
    seeds: Count


class PretrainingBudget(Settings):
    """How long a study of pretraining may take.

    Attributes:
        epochs: of each layer's pretraining.
        stacks: pretrained from random weights of their own; the seeds take turns with them.
        fine_tuning: a line for each number of labels.
    """

    epochs: Count
    stacks: Count = 1
    fine_tuning: tuple[FineTuningBudget, ...] = Field(min_length=1)

    @field_validator("fine_tuning")
    @classmethod
    def _are_told_apart(cls, lines: tuple[FineTuningBudget, ...]) -> tuple[FineTuningBudget, ...]:
        if len({line.labels for line in lines}) < len(lines):
            raise ValueError("must name each number of labels once")
        return lines


class FineTuningSettings(Settings):
    """How labels are learnt; the validation split chooses among the learning rates, for each start apart."""

    batch_size: Count = 50
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1e-3, 3e-3), min_length=1)

    def at(self, learning_rate: float) -> TrainingSettings:
        """Return how one network is trained."""
        return TrainingSettings(batch_size=self.batch_size, learning_rate=learning_rate)


class PretrainingSettings(StudySettings, StackSettings):
    """Greedy layer-wise pretraining against random weights, with few labels and with many."""

    kind: Literal["pretraining"] = "pretraining"
    fine_tuning: FineTuningSettings = FineTuningSettings()
    quick: PretrainingBudget
    paper: PretrainingBudget

    def errors(self, data: Outline) -> Iterator[SettingError]:
        """See :class:`StudySettings`."""
        if data.classes is None:
            yield SettingError("kind", self.kind, "needs a dataset with classes: there are no labels to fine-tune with")
            return
        for name, budget in (("quick", self.quick), ("paper", self.paper)):
            for place, line in enumerate(budget.fine_tuning):
                if line.labels is not None and not data.classes <= line.labels <= data.train:
                    allowed = f"must be {data.classes} (a label a class) to {data.train} (the training split), or null"
                    yield SettingError(f"{name}.fine_tuning.{place}.labels", line.labels, allowed)


class BoundsSettings(StudySettings):
    """Variational autoencoders: how many nats does an item take?"""

    kind: Literal["bounds"] = "bounds"
    gaussian: Annotated[ExperimentName, GAUSSIAN, LIKELIHOOD]
    categorical: Annotated[ExperimentName, CATEGORICAL, LIKELIHOOD]


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

    kind: Literal["generation"] = "generation"
    plane: Annotated[ExperimentName, TWO]
    vae_plane: Annotated[ExperimentName, GAUSSIAN, TWO]
    vae: Annotated[ExperimentName, GAUSSIAN]
    quantizer: Annotated[ExperimentName, DISCRETE]
    prior: PriorSettings = PriorSettings()
    prior_epochs: Passes = Passes()
    samples: int = Field(default=2000, ge=20)

    def errors(self, data: Outline) -> Iterator[SettingError]:
        """See :class:`StudySettings`."""
        if data.item.kind != "image":
            yield SettingError(
                "quantizer", self.quantizer, f"must be of images: items of kind {data.item.kind} are not drawn"
            )
