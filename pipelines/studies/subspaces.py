"""subspaces: a linear autoencoder against PCA: how close it comes, and whether both span the same subspace.

python -m pipelines.studies.subspaces NAME

Baldi and Hornik, Neural Networks 2 (1989): the squared error of a linear autoencoder has no local minima, and its
global ones project on the span of the first principal components, whatever basis of it the weights are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from components import metrics
from pipelines.plots.style import ACCENT, INK, MUTED
from pipelines.project import Project, StageError, stage
from pipelines.settings.params import load_params
from pipelines.studies.contract import Picture, Study, Table, publish
from pipelines.studies.measured import Measured, in_words, measure
from pipelines.studies.settings import SubspacesSettings
from serving.bundle import Bundle

Array = np.ndarray[Any, np.dtype[Any]]


def main(name: str) -> None:
    """Compare the two experiments that `studies.subspaces.<name>` names."""
    project = Project.here()
    params = load_params(project)
    settings = params.study(SubspacesSettings, f"subspaces.{name}")
    pca, linear = (measure(project, experiment) for experiment in (settings.pca, settings.linear))
    angles = metrics.principal_angles(spanned(linear.bundle), spanned(pca.bundle))
    publish(project, describe(name, pca, linear, angles), {"angles.png": draw_angles(angles)})


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


def describe(name: str, pca: Measured, linear: Measured, angles: Array) -> Study:
    """Put the figures into words and tables."""
    excess = linear.squared_error / pca.squared_error - 1
    largest, close = float(angles.max()), int((angles < 10).sum())
    return Study(
        kind="subspaces",
        name=name,
        dataset=pca.dataset,
        title="PCA is a linear autoencoder",
        question="A network of one linear hidden layer can do no better than PCA, and does as well only if its decoder "
        "spans the same subspace. How close does training by gradient come? Principal angles between both "
        "decoders' spans tell: all 0° where the spans are one, 90° for a direction that the other lacks.",
        findings=(
            f"Trained by gradient, {linear.name} rebuilds test items with a squared error of "
            f"{in_words(linear.errors)}, {abs(excess):.2%} {'above' if excess >= 0 else 'below'} {pca.name}’s "
            f"{in_words(pca.errors)}.",
            f"The largest of {len(angles)} principal angles between what the two decoders span is {largest:.1f}°; "
            f"{close} are below 10°.",
        ),
        tables=(
            Table(
                caption="Squared error per test item with its 95 % interval",
                columns=("Experiment", "Squared error"),
                rows=tuple((m.name, in_words(m.errors, "{:.3f}")) for m in (pca, linear)),
            ),
        ),
        pictures=(Picture(file="angles.png", caption="Principal angles between the two spans, smallest first."),),
        figures={
            "pca_squared_error": pca.squared_error,
            "linear_squared_error": linear.squared_error,
            "excess": excess,
            "largest_angle": largest,
            "mean_angle": float(angles.mean()),
        },
        made_from={m.name: m.bundle.manifest.digest for m in (pca, linear)},
    )


def draw_angles(angles: Array) -> Figure:
    """Draw the principal angles (directions,) in degrees."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(np.arange(1, len(angles) + 1), angles, color=ACCENT)
    axes.axhline(90, color=MUTED, ls="--", lw=1)
    axes.annotate("a direction that the other lacks", (1, 90), va="bottom", color=INK, fontsize=8)
    axes.set(xlabel="direction", ylabel="principal angle, degrees", ylim=(0, 99))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    stage(main)
