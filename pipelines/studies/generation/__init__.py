"""generation: can a decoder alone create something? Grids of 2-D codes, codes from N(0, I), codes from a prior.

The grids after Kingma and Welling, arXiv 1312.6114, figure 4; a prior over the codes of a vector-quantized
autoencoder after van den Oord et al., arXiv 1711.00937, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from components.data.raw import Outline
from components.prior import PriorSettings
from components.settings import SettingError, Settings
from pipelines.studies.contract import ExperimentName, StudySettings
from pipelines.studies.generation.prior import train
from pipelines.studies.needs import DISCRETE, GAUSSIAN, TWO
from pipelines.studies.plan import StudyPlan
from pipelines.units.unit import Unit

SECONDS = 40.0  # of one pass over the codes of MNIST, on one core


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
        if data.item.grid is None:
            yield SettingError(
                "quantizer", self.quantizer, f"must be of images: items of kind {data.item.kind} are not drawn"
            )

    def units(self, plan: StudyPlan) -> Unit:
        """See :class:`StudySettings`. The training of the prior is a part."""
        from pipelines.studies.generation.page import write  # matplotlib and scikit-learn take two seconds

        epochs = self.prior_epochs.quick if plan.budget == "quick" else self.prior_epochs.paper
        settings = self.prior.model_dump(mode="json")
        prior = plan.part(
            "prior",
            train,
            {"data": plan.data, "quantizer": plan.bundle(self.quantizer)},
            seconds=SECONDS * epochs,
            settings=settings,
            epochs=epochs,
            seed=plan.seed,
        )
        bundles = {key: plan.bundle(experiment) for key, experiment in self.experiments().items()}
        return plan.page(
            self.kind,
            write,
            {
                "data": plan.data,
                **bundles,
                "prior": prior,
                "vae_plane_run": plan.run(self.vae_plane),
                "vae_run": plan.run(self.vae),
            },
            seconds=25,
            experiments=self.experiments(),
            prior_settings=settings,
            epochs=epochs,
            samples=self.samples,
            seed=plan.seed,
        )
