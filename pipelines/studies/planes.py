"""planes: two numbers an item: the first two principal components beside the 2-D code of a deep autoencoder.

After Hinton and Salakhutdinov, Science 313 (2006), figure 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from components.data import PreparedDataset, open_dataset
from pipelines.metrics import item_metrics
from pipelines.project import StageError
from pipelines.studies.bundles import open_bundle
from pipelines.studies.contract import ExperimentName, Picture, Study, StudySettings, Table, write_page
from pipelines.studies.needs import TWO, TWO_OR_MORE
from pipelines.studies.plan import StudyPlan
from pipelines.studies.text import difference_text, mean_text
from pipelines.units.unit import Unit
from serving.bundle import Bundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[Any]]

QUESTION = (
    "A code of two numbers can be drawn. Beside each other: the first two principal components, and the two numbers "
    "that a deep autoencoder was trained to keep. Classes are colours only here; no model saw them. Values are means "
    "over the whole test split."
)


class PlanesSettings(StudySettings):
    """The first two principal components beside a deep autoencoder's code of two numbers."""

    kind: Literal["planes"] = "planes"
    pca: Annotated[ExperimentName, TWO_OR_MORE]
    deep: Annotated[ExperimentName, TWO]

    def units(self, plan: StudyPlan) -> Unit:
        """See :class:`StudySettings`."""
        inputs = {"data": plan.data, "pca": plan.bundle(self.pca), "deep": plan.bundle(self.deep)}
        return plan.page(self.kind, write, inputs, seconds=8, experiments=self.experiments())


@dataclass(frozen=True)
class Plane:
    """Two numbers an item.

    Attributes:
        name: the plane's, for readers.
        codes: of the test split, (n, 2).
        squared_errors: of the items rebuilt from them, (n,).
        correct: 1 for each test item whose class its nearest neighbours in the plane have, (n,); None without classes.
    """

    name: str
    codes: Array
    squared_errors: Array
    correct: Array | None


def write(out: Path, study: dict[str, str], experiments: dict[str, str], data: Path, pca: Path, deep: Path) -> None:
    """Write the page."""
    dataset, bundles = open_dataset(data), {"pca": open_bundle(pca), "deep": open_bundle(deep)}
    names = {"pca": f"{experiments['pca']}, first two components", "deep": experiments["deep"]}
    planes = {key: plane(names[key], bundle, dataset) for key, bundle in bundles.items()}
    made_from = {experiments[key]: bundle.manifest.digest for key, bundle in bundles.items()}
    page = describe(study, planes, made_from)
    write_page(out, page, {"planes.png": draw_planes(dataset, list(planes.values()))})


def plane(name: str, bundle: Bundle, data: PreparedDataset) -> Plane:
    """Evaluate the first two numbers of a bundle's codes, the others set to zero.

    Raises:
        StageError: the code is not of real numbers, or of fewer than two, or cannot be decoded.
    """
    from pipelines.metrics.classes import knn_correct

    if bundle.discrete or len(bundle.manifest.code.shape) != 1 or bundle.manifest.code.shape[0] < 2:
        raise StageError(f"{bundle.name}: its code is {bundle.manifest.code.shape}, must be two real numbers or more")
    if bundle.manifest.decoder is None:
        raise StageError(f"{bundle.name}: has no decoder, so it cannot rebuild items")
    test = np.asarray(data.array("test"))
    codes = bundle.encode(test)
    kept = np.zeros_like(codes)
    kept[:, :2] = codes[:, :2]
    errors = item_metrics.squared_errors(data.schema.item.scaled(test), bundle.decode(kept))
    train_labels, test_labels = data.labels("train"), data.labels("test")
    correct = None
    if train_labels is not None and test_labels is not None:
        train = bundle.encode(np.asarray(data.array("train")))[:, :2]
        correct = knn_correct(train, train_labels, kept[:, :2], test_labels)
    return Plane(name, kept[:, :2], errors, correct)


def describe(study: dict[str, str], planes: dict[str, Plane], made_from: dict[str, str]) -> Study:
    """Return the page of the planes `pca` and `deep`."""
    from pipelines.plots.pictures import SCATTERED

    pca, deep = planes["pca"], planes["deep"]
    found = {f"{key}_squared_error": float(one.squared_errors.mean()) for key, one in planes.items()}
    columns = ["Plane", "Squared error"]
    rows = [[one.name, mean_text(one.squared_errors)] for one in (pca, deep)]
    rows.append(["Difference", difference_text(deep.squared_errors, pca.squared_errors)])
    if pca.correct is not None and deep.correct is not None:
        found |= {"pca_knn_accuracy": float(pca.correct.mean()), "deep_knn_accuracy": float(deep.correct.mean())}
        columns.append("Class of the 5 nearest neighbours is right")
        for row, one in zip(rows, (pca.correct, deep.correct), strict=False):
            row.append(mean_text(one, "{:.1%}"))
        rows[-1].append(difference_text(deep.correct, pca.correct, "{:+.1%}"))
    return Study(
        **study,
        title="Two numbers an item",
        question=QUESTION,
        summary=f"Rebuilt from two numbers, an item has a squared error of {found['deep_squared_error']:.2f} by "
        f"{deep.name} and of {found['pca_squared_error']:.2f} by {pca.name}.",
        tables=(
            Table(
                caption="Means over test items with 95 % intervals; the difference is of the same items",
                columns=tuple(columns),
                rows=tuple(map(tuple, rows)),
            ),
        ),
        pictures=(
            Picture(file="planes.png", caption=f"{min(SCATTERED, len(pca.codes)):,} test items in both planes."),
        ),
        metrics=found,
        made_from=made_from,
    )


def draw_planes(data: PreparedDataset, planes: list[Plane]) -> Figure:
    """Draw both planes side by side, coloured by class."""
    from matplotlib.figure import Figure

    from pipelines.plots.pictures import SCATTERED, scatter_classes

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
