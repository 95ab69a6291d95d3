"""invariance: how little a contractive autoencoder's code moves where the item does.

After Rifai, Vincent, Muller, Glorot, Bengio, ICML 2011: the Frobenius norm of the encoder's Jacobian, and (their figure
3) the spectrum of its singular values: the number of directions in which a code follows its item at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from components.batches import as_tensor
from components.data import open_dataset
from components.models.autoencoder import Autoencoder
from components.penalties import jacobians
from items.spec import ItemSpec
from pipelines.project import StageError
from pipelines.studies.bundles import evenly_spread, squared_errors
from pipelines.studies.contract import ExperimentName, Picture, Study, StudySettings, Table, write_page
from pipelines.studies.needs import ENCODER
from pipelines.studies.plan import StudyPlan
from pipelines.studies.text import difference_text, mean_text
from pipelines.sweep.record import read_record
from pipelines.sweep.trained import model_settings, read_model
from pipelines.units.unit import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[Any]]

THREE = "{:.3g}"


class InvarianceSettings(StudySettings):
    """A plain autoencoder against a contractive one of the same size: the Jacobians of their encoders at test items."""

    kind: Literal["invariance"] = "invariance"
    basic: Annotated[ExperimentName, ENCODER]
    contractive: Annotated[ExperimentName, ENCODER]
    items: int = Field(default=300, ge=2)

    def units(self, plan: StudyPlan) -> Unit:
        """See :class:`StudySettings`."""
        inputs = {
            "data": plan.data,
            "basic": plan.run(self.basic),
            "contractive": plan.run(self.contractive),
            "basic_evaluation": plan.evaluation(self.basic),
            "contractive_evaluation": plan.evaluation(self.contractive),
        }
        return plan.page(self.kind, write, inputs, seconds=8, experiments=self.experiments(), count=self.items)


@dataclass(frozen=True)
class Response:
    """The response of one autoencoder's code to small changes of its items.

    Attributes:
        name: the experiment's.
        weights: digest of the model's weights.
        norms: ‖J(x)‖_F of each item, (n,).
        relative: the same over the distance between codes of two items drawn at random; the code's scale drops out.
        spectrum: singular values of J, the largest first, averaged over items.
        errors: squared errors of the rebuilt items, (n,).
    """

    name: str
    weights: str
    norms: Array
    relative: Array
    spectrum: Array
    errors: Array

    @property
    def directions(self) -> int:
        """In how many directions the code moves at least a tenth as much as in its most sensitive one."""
        return int((self.spectrum > 0.1 * self.spectrum.max()).sum())


def write(
    out: Path,
    study: dict[str, str],
    experiments: dict[str, str],
    count: int,
    data: Path,
    basic: Path,
    contractive: Path,
    basic_evaluation: Path,
    contractive_evaluation: Path,
) -> None:
    """Write the page."""
    dataset = open_dataset(data)
    places = evenly_spread(dataset.count("test"), count)
    items = np.asarray(dataset.array("test"))[places]
    plain, ours = (
        respond(experiments[key], run, dataset.schema.item, items, squared_errors(evaluation)[places])
        for key, run, evaluation in (
            ("basic", basic, basic_evaluation),
            ("contractive", contractive, contractive_evaluation),
        )
    )
    write_page(out, describe(study, plain, ours), {"spectrum.png": draw_spectra(plain, ours)})


def respond(name: str, run: Path, item: ItemSpec, items: Array, errors: Array) -> Response:
    """Differentiate an experiment's encoder at raw items (n, *item.shape).

    Raises:
        StageError: it is no autoencoder, so it has no encoder to differentiate.
    """
    record = read_record(run)
    model = read_model(run, record, item)
    if not isinstance(model, Autoencoder):
        kind = model_settings(record).kind
        raise StageError(f"{name}: is a {kind}, must be an autoencoder: the Jacobian is of its encoder")
    raw = as_tensor(items)
    with torch.no_grad():
        latents = model.latents(raw).flatten(1)
    found = jacobians(model.encoder, model.scaling(raw))
    norms = found.norm(dim=(1, 2)).numpy()
    distance = float((latents - latents.roll(1, 0)).norm(dim=1).mean())
    spectrum = torch.linalg.svdvals(found).mean(0).numpy()
    return Response(name, record.weights_sha256, norms, norms / distance, spectrum, errors)


def describe(study: dict[str, str], basic: Response, contractive: Response) -> Study:
    """Return the page of two autoencoders' responses."""
    ratio = float(contractive.norms.mean() / basic.norms.mean())
    relative = float(contractive.relative.mean() / basic.relative.mean())
    rows = [
        (
            one.name,
            mean_text(one.relative, THREE),
            mean_text(one.norms, THREE),
            mean_text(one.errors),
            f"{one.directions:,}",
        )
        for one in (basic, contractive)
    ]
    difference = (
        "Difference",
        difference_text(contractive.relative, basic.relative, "{:+.3g}"),
        difference_text(contractive.norms, basic.norms, "{:+.3g}"),
        difference_text(contractive.errors, basic.errors),
        f"{contractive.directions - basic.directions:+,}",
    )
    return Study(
        **study,
        title="Codes that stay where they are",
        question="The contractive penalty asks for a code that hardly moves when the item does. ‖J‖, the Frobenius "
        "norm of the encoder’s Jacobian at test items, is how far a code moves for a small change of the item in any "
        "direction. A code that is merely small in scale has a small ‖J‖ too, so the fair metric is ‖J‖ over the mean "
        f"distance between two items’ codes. Exact, at {len(basic.norms):,} test items, of one training run each.",
        summary=f"Relative to the distance between codes, ‖J‖ of {contractive.name} is {relative:.2f} times that of "
        f"{basic.name}.",
        tables=(
            Table(
                caption="Means over test items with 95 % intervals; the difference is of the same items. Sensitive "
                "directions: the code moves at least a tenth as much as in the most sensitive one",
                columns=("Experiment", "‖J‖ over distance", "‖J‖", "Squared error", "Sensitive directions"),
                rows=(*rows, difference),
            ),
        ),
        pictures=(
            Picture(
                file="spectrum.png",
                caption="Singular values of the encoder’s Jacobian, averaged over test items: how far the code moves "
                "in its most sensitive direction, the next, and so on.",
            ),
        ),
        metrics={
            "basic_jacobian_norm": float(basic.norms.mean()),
            "contractive_jacobian_norm": float(contractive.norms.mean()),
            "relative_ratio": relative,
            "ratio": ratio,
            "basic_squared_error": float(basic.errors.mean()),
            "contractive_squared_error": float(contractive.errors.mean()),
        },
        made_from={one.name: one.weights for one in (basic, contractive)},
    )


def draw_spectra(basic: Response, contractive: Response) -> Figure:
    """Draw the spectra of both Jacobians."""
    from matplotlib.figure import Figure

    from pipelines.plots.style import ACCENT, INK

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for one, color in ((basic, INK), (contractive, ACCENT)):
        axes.plot(np.arange(1, len(one.spectrum) + 1), one.spectrum, color=color, lw=1.8, label=one.name)
    axes.set(xlabel="direction, most sensitive first", ylabel="singular value of the Jacobian", ylim=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
