"""bounds: how well variational autoencoders model the data: evidence bounds in nats beside the published ones.

Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144, section 4.2 and Table 1; Burda,
Grosse, Salakhutdinov, "Importance Weighted Autoencoders", arXiv 1509.00519, Table 1.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pipelines.studies.bounds.sampling import sample
from pipelines.studies.contract import ExperimentName, StudySettings
from pipelines.studies.needs import CATEGORICAL, GAUSSIAN, LIKELIHOOD
from pipelines.studies.plan import StudyPlan
from pipelines.units.unit import Unit

SAMPLES = {"quick": 10, "paper": 1000}  # codes an item; 1000 as Jang et al. draw for their multi-sample bound
SECONDS = 0.2  # of one sample of MNIST's test split, on one core


class BoundsSettings(StudySettings):
    """Variational autoencoders: how many nats does an item take?"""

    kind: Literal["bounds"] = "bounds"
    gaussian: Annotated[ExperimentName, GAUSSIAN, LIKELIHOOD]
    categorical: Annotated[ExperimentName, CATEGORICAL, LIKELIHOOD]

    def units(self, plan: StudyPlan) -> Unit:
        """See :class:`StudySettings`. The bounds of each experiment are a part."""
        from pipelines.studies.bounds.page import write  # matplotlib takes half a second

        samples = SAMPLES[plan.budget]
        runs = {key: plan.run(experiment) for key, experiment in self.experiments().items()}
        parts = {
            key: plan.part(
                key,
                sample,
                {"data": plan.data, "run": run},
                seconds=SECONDS * samples,
                bottleneck=key,
                samples=samples,
                seed=plan.seed,
            )
            for key, run in runs.items()
        }
        inputs = parts | {f"{key}_run": run for key, run in runs.items()}
        return plan.page(self.kind, write, inputs, seconds=3, experiments=self.experiments())
