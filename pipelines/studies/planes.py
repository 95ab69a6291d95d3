"""planes: two numbers an item: the first two principal components beside the 2-D code of a deep autoencoder.

python -m pipelines.studies.planes NAME

After Hinton and Salakhutdinov, Science 313 (2006), figure 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from components import metrics
from components.data import PreparedDataset
from pipelines.plots.pictures import SCATTERED, scatter_classes
from pipelines.project import Project, StageError, stage
from pipelines.settings.params import load_params
from pipelines.studies.contract import Picture, Study, Table, publish
from pipelines.studies.measured import compared, in_words, opened
from pipelines.studies.settings import PlanesSettings
from serving.bundle import Bundle

Array = np.ndarray[Any, np.dtype[Any]]

SHARE = "{:.1%}"


@dataclass(frozen=True)
class Plane:
    """What two numbers an item tell.

    Attributes:
        name: how the plane is called.
        codes: of the test split, (n, 2).
        squared_errors: of what is rebuilt from them, an item each.
        correct: 1 for each test item whose class its nearest neighbours in the plane have; None without classes.
    """

    name: str
    codes: Array
    squared_errors: Array
    correct: Array | None


def main(name: str) -> None:
    """Compare the planes of the two experiments that `studies.planes.<name>` names."""
    project = Project.here()
    settings = load_params(project).study(PlanesSettings, f"planes.{name}")
    pca, data = opened(project, settings.pca)
    deep, _ = opened(project, settings.deep)
    planes = [plane(f"{pca.name}, first two components", pca, data), plane(deep.name, deep, data)]
    made_from = {bundle.name: bundle.manifest.digest for bundle in (pca, deep)}
    publish(project, describe(name, data, planes, made_from), {"planes.png": draw_planes(data, planes)})


def plane(name: str, bundle: Bundle, data: PreparedDataset) -> Plane:
    """Measure the first two numbers of a bundle's codes, the others set to zero.

    Raises:
        StageError: the code is not of real numbers, or of fewer than two, or cannot be decoded.
    """
    if bundle.discrete or len(bundle.manifest.code.shape) != 1 or bundle.manifest.code.shape[0] < 2:
        raise StageError(f"{bundle.name}: its code is {bundle.manifest.code.shape}, must be two real numbers or more")
    if bundle.manifest.decoder is None:
        raise StageError(f"{bundle.name}: cannot rebuild items")
    test = np.asarray(data.array("test"))
    codes = bundle.encode(test)
    kept = np.zeros_like(codes)
    kept[:, :2] = codes[:, :2]
    errors = metrics.squared_errors(data.schema.item.scaled(test), bundle.decode(kept))
    train_labels, test_labels = data.labels("train"), data.labels("test")
    correct = None
    if train_labels is not None and test_labels is not None:
        train = bundle.encode(np.asarray(data.array("train")))[:, :2]
        correct = metrics.knn_correct(train, train_labels, kept[:, :2], test_labels)
    return Plane(name, kept[:, :2], errors, correct)


def describe(name: str, data: PreparedDataset, planes: list[Plane], made_from: dict[str, str]) -> Study:
    """Put the figures into words and tables."""
    pca, deep = planes
    rows, figures, findings = [], {}, []
    for key, one in (("pca", pca), ("deep", deep)):
        figures[f"{key}_squared_error"] = float(one.squared_errors.mean())
        row = [one.name, in_words(one.squared_errors)]
        if one.correct is not None:
            figures[f"{key}_knn_accuracy"] = float(one.correct.mean())
            row.append(in_words(one.correct, SHARE))
        rows.append(tuple(row))
    if pca.correct is not None and deep.correct is not None:
        how = ("no more and no fewer, beyond chance, than", "more than", "fewer than")[
            compared(deep.correct, pca.correct)
        ]
        findings.append(
            f"By the two numbers of {deep.name} the nearest neighbours tell the class of "
            f"{in_words(deep.correct, SHARE)} of test items, {how} by PCA’s two, {in_words(pca.correct, SHARE)}."
        )
    ratio = figures["deep_squared_error"] / figures["pca_squared_error"]
    findings.append(
        f"Rebuilt from two numbers, an item has a squared error of {in_words(deep.squared_errors)} by "
        f"{deep.name}, {ratio:.2f} times that of the first two principal components."
    )
    shown = min(SCATTERED, len(pca.codes))
    columns = ("Plane", "Squared error", "Class told by 5 neighbours")
    return Study(
        kind="planes",
        name=name,
        dataset=data.schema.name,
        title="Two numbers an item",
        question="A code of two numbers can be drawn. Beside each other: the first two principal components, and the "
        "two numbers that a deep autoencoder was trained to keep. Classes are colours only here; no model saw them. "
        "Figures are of the whole test split, with 95 % intervals.",
        findings=tuple(findings),
        tables=(Table(caption="What two numbers keep", columns=columns[: len(rows[0])], rows=tuple(rows)),),
        pictures=(Picture(file="planes.png", caption=f"{shown:,} test items in both planes."),),
        figures=figures,
        made_from=made_from,
    )


def draw_planes(data: PreparedDataset, planes: list[Plane]) -> Figure:
    """Draw both planes side by side, coloured by class."""
    figure = Figure(figsize=(10.4, 4.8), layout="constrained")
    both = figure.subplots(1, 2)
    for axes, one in zip(both, planes, strict=True):
        scatter_classes(axes, one.codes[:SCATTERED], data.labels("test"), data.schema.classes)
        axes.set(xlabel="first number", ylabel="second number", xticks=[], yticks=[])
        axes.set_title(one.name, loc="left", fontsize=10)
    handles, labels = both[0].get_legend_handles_labels()
    if 0 < len(labels) <= 20:
        figure.legend(handles, labels, loc="outside right", frameon=False, markerscale=3)
    return figure


if __name__ == "__main__":
    stage(main)
