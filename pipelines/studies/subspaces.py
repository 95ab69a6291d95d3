"""subspaces: a linear autoencoder against PCA: how close it comes, and whether both span the same subspace.

Baldi and Hornik, Neural Networks 2 (1989): the squared error of a linear autoencoder has no local minima, and its
global ones project on the span of the first principal components, whatever basis of it the weights are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from pipelines.metrics import item_metrics
from pipelines.project import StageError
from pipelines.studies.bundles import open_bundle, squared_errors
from pipelines.studies.contract import ExperimentName, Picture, Study, StudySettings, Table, write_page
from pipelines.studies.needs import LINEAR
from pipelines.studies.plan import StudyPlan
from pipelines.studies.text import difference_text, mean_text
from pipelines.units.unit import Unit
from serving.bundle import Bundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[Any]]

QUESTION = (
    "A network of one linear hidden layer can do no better than PCA, and does as well only if its decoder spans the "
    "same subspace. How close does training by gradient come? The principal angles between the subspaces that both "
    "decoders span are all 0° where the subspaces are one, and 90° for a direction that the other lacks."
)


class SubspacesSettings(StudySettings):
    """PCA against a linear autoencoder: do both span the same subspace?"""

    kind: Literal["subspaces"] = "subspaces"
    pca: Annotated[ExperimentName, LINEAR]
    linear: Annotated[ExperimentName, LINEAR]

    def units(self, plan: StudyPlan) -> Unit:
        """See :class:`StudySettings`."""
        inputs = {
            "pca": plan.bundle(self.pca),
            "linear": plan.bundle(self.linear),
            "pca_evaluation": plan.evaluation(self.pca),
            "linear_evaluation": plan.evaluation(self.linear),
        }
        return plan.page(self.kind, write, inputs, experiments=self.experiments())


def write(
    out: Path,
    study: dict[str, str],
    experiments: dict[str, str],
    pca: Path,
    linear: Path,
    pca_evaluation: Path,
    linear_evaluation: Path,
) -> None:
    """Write the page."""
    bundles = {key: open_bundle(folder) for key, folder in (("pca", pca), ("linear", linear))}
    errors = {"pca": squared_errors(pca_evaluation), "linear": squared_errors(linear_evaluation)}
    angles = item_metrics.principal_angles(spanned(bundles["linear"]), spanned(bundles["pca"]))
    made_from = {experiments[key]: bundle.manifest.digest for key, bundle in bundles.items()}
    page = describe(study, experiments, errors, angles, made_from)
    write_page(out, page, {"angles.png": draw_angles(angles)})


def spanned(bundle: Bundle) -> Array:
    """Return vectors that span what a linear decoder can rebuild, (code values, item values), its offset left out.

    Raises:
        StageError: the decoder is not linear.
    """
    if bundle.discrete or bundle.manifest.decoder is None:
        raise StageError(f"{bundle.name}: has no linear decoder, which spans a subspace")
    shape = bundle.manifest.code.shape
    units = np.eye(int(np.prod(shape)), dtype=np.float32).reshape(-1, *shape)
    offset = bundle.decode(np.zeros((1, *shape), np.float32))
    vectors, doubled = bundle.decode(units) - offset, bundle.decode(2 * units) - offset
    if not np.allclose(2 * vectors, doubled, rtol=1e-3, atol=1e-4 * float(np.abs(vectors).max())):
        raise StageError(f"{bundle.name}: its decoder is not linear, so it spans no subspace")
    spanned: Array = vectors.reshape(len(vectors), -1)
    return spanned


def describe(
    study: dict[str, str],
    experiments: dict[str, str],
    errors: dict[str, Array],
    angles: Array,
    made_from: dict[str, str],
) -> Study:
    """Return the page of squared errors of test items (n,) and of principal angles in degrees (directions,)."""
    excess = float(errors["linear"].mean() / errors["pca"].mean()) - 1
    largest = float(angles.max())
    rows = [(experiments[key], mean_text(errors[key], "{:.3f}")) for key in ("pca", "linear")]
    rows.append(("Difference", difference_text(errors["linear"], errors["pca"], "{:+.3f}")))
    return Study(
        **study,
        title="PCA is a linear autoencoder",
        question=QUESTION,
        summary=f"The squared error of {experiments['linear']} differs from that of {experiments['pca']} by "
        f"{excess:+.2%}. The largest of the {len(angles)} principal angles between their decoders is {largest:.1f}°.",
        tables=(
            Table(
                caption="Squared error per test item with its 95 % interval; the difference is of the same items",
                columns=("Experiment", "Squared error"),
                rows=tuple(rows),
            ),
        ),
        pictures=(Picture(file="angles.png", caption="Principal angles between the two subspaces, smallest first."),),
        metrics={
            "pca_squared_error": float(errors["pca"].mean()),
            "linear_squared_error": float(errors["linear"].mean()),
            "excess": excess,
            "largest_angle": largest,
            "mean_angle": float(angles.mean()),
        },
        made_from=made_from,
    )


def draw_angles(angles: Array) -> Figure:
    """Draw the principal angles (directions,) in degrees."""
    from matplotlib.figure import Figure

    from pipelines.plots.style import ACCENT, INK, MUTED

    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(np.arange(1, len(angles) + 1), angles, color=ACCENT)
    axes.axhline(90, color=MUTED, ls="--", lw=1)
    axes.annotate("a direction that the other lacks", (1, 90), va="bottom", color=INK, fontsize=8)
    axes.set(xlabel="direction", ylabel="principal angle, degrees", ylim=(0, 99))
    axes.spines[["top", "right"]].set_visible(False)
    return figure
