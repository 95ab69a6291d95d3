"""invariance: how little a contractive autoencoder's code moves where the item does.

python -m pipelines.studies.invariance NAME

After Rifai, Vincent, Muller, Glorot, Bengio, ICML 2011: the Frobenius norm of the encoder's Jacobian, and (their figure
3) the spectrum of its singular values, which tells in how many directions a code follows its item at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from components import metrics
from components.data import PreparedDataset, open_dataset
from components.models.autoencoder import Autoencoder
from components.penalties import jacobians
from components.training import as_tensor
from pipelines.plots.style import ACCENT, INK
from pipelines.project import Project, StageError, stage
from pipelines.settings.params import load_params
from pipelines.studies.contract import Picture, Study, Table, publish
from pipelines.studies.measured import compared, evenly, in_words
from pipelines.studies.settings import InvarianceSettings
from pipelines.sweep.record import read_model, read_record

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Encoder:
    """One autoencoder's answer to small changes of its items.

    Attributes:
        name: the experiment's.
        weights: digest of what was measured.
        norms: ‖J(x)‖_F of each item, (n,).
        relative: the same over the distance between codes of two items drawn at random; the code's scale drops out.
        spectrum: singular values of J, the largest first, averaged over items.
        errors: squared errors of what is rebuilt, (n,).
    """

    name: str
    weights: str
    norms: Array
    relative: Array
    spectrum: Array
    errors: Array


def main(name: str) -> None:
    """Compare the two experiments that `studies.invariance.<name>` names."""
    project = Project.here()
    params = load_params(project)
    settings = params.study(InvarianceSettings, f"invariance.{name}")
    data = open_dataset(project.data(params.experiment(settings.basic).dataset))
    items = np.asarray(data.array("test"))[evenly(data.count("test"), settings.items)]
    basic, contractive = (measure(project, e, data, items) for e in (settings.basic, settings.contractive))
    publish(project, describe(name, data, basic, contractive), {"spectrum.png": draw_spectra(basic, contractive)})


def measure(project: Project, experiment: str, data: PreparedDataset, items: Array) -> Encoder:
    """Measure an experiment's best model on raw items (n, *item.shape).

    Raises:
        StageError: it is no autoencoder, so it has no encoder to differentiate.
    """
    record = read_record(project.run(experiment))
    model = read_model(project.run(experiment), record, data.schema.item)
    if not isinstance(model, Autoencoder):
        raise StageError(f"{experiment}: is a {record.model.kind}, must be an autoencoder: ‖J‖ is of its encoder")
    raw = as_tensor(items)
    with torch.no_grad():
        latents = model.latents(raw).flatten(1)
        rebuilt = model.decode(model.encode(raw))
    found = jacobians(model, raw)
    norms = found.norm(dim=(1, 2)).numpy()
    apart = float((latents - latents.roll(1, 0)).norm(dim=1).mean())
    spectrum = torch.linalg.svdvals(found).mean(0).numpy()
    errors = metrics.squared_errors(data.schema.item.scaled(items), rebuilt.numpy())
    return Encoder(experiment, record.weights_sha256, norms, norms / apart, spectrum, errors)


def describe(name: str, data: PreparedDataset, basic: Encoder, contractive: Encoder) -> Study:
    """Put the figures into words and tables."""
    ratio = float(contractive.norms.mean() / basic.norms.mean())
    relative = float(contractive.relative.mean() / basic.relative.mean())
    verdicts = ("not significantly different", "higher", "lower")
    relative_norm, norm, error = (
        verdicts[compared(ours, plain)]
        for ours, plain in (
            (contractive.relative, basic.relative),
            (contractive.norms, basic.norms),
            (contractive.errors, basic.errors),
        )
    )
    half = basic.spectrum > 0.1 * basic.spectrum.max(), contractive.spectrum > 0.1 * contractive.spectrum.max()
    return Study(
        kind="invariance",
        name=name,
        dataset=data.schema.name,
        title="Codes that stay where they are",
        question="The contractive penalty asks for a code that hardly moves when the item does. ‖J‖, the Frobenius "
        "norm of the encoder’s Jacobian at test items, tells how far a code moves for a small change of the item in "
        "any direction. A code that is merely small in scale has a small ‖J‖ too, so the fair figure is ‖J‖ over the "
        f"mean distance between two items’ codes. Exact, at {len(basic.norms):,} test items, of one training run each.",
        findings=(
            f"Relative to the distance between codes, ‖J‖ of {contractive.name} is "
            f"{in_words(contractive.relative, '{:.3g}')}, {relative:.2f} times that of {basic.name}, "
            f"{in_words(basic.relative, '{:.3g}')}: {relative_norm}.",
            f"‖J‖ itself, which also falls where a code is merely smaller, is {in_words(contractive.norms, '{:.3g}')}, "
            f"{ratio:.2f} times {in_words(basic.norms, '{:.3g}')}: {norm}.",
            f"Its squared error is {in_words(contractive.errors)} against {in_words(basic.errors)}: {error}.",
            f"Directions in which the code moves at least a tenth as much as in its most sensitive one: "
            f"{int(half[1].sum())}, against {int(half[0].sum())} of {basic.name}.",
        ),
        tables=(
            Table(
                caption="Means over test items with 95 % intervals",
                columns=("Experiment", "‖J‖ over distance", "‖J‖", "Squared error"),
                rows=tuple(
                    (e.name, in_words(e.relative, "{:.3g}"), in_words(e.norms, "{:.3g}"), in_words(e.errors))
                    for e in (basic, contractive)
                ),
            ),
        ),
        pictures=(
            Picture(
                file="spectrum.png",
                caption="Singular values of the encoder’s Jacobian, averaged over test items: how far the code moves "
                "in its most sensitive direction, the next, and so on.",
            ),
        ),
        figures={
            "basic_jacobian_norm": float(basic.norms.mean()),
            "contractive_jacobian_norm": float(contractive.norms.mean()),
            "relative_ratio": relative,
            "ratio": ratio,
            "basic_squared_error": float(basic.errors.mean()),
            "contractive_squared_error": float(contractive.errors.mean()),
        },
        made_from={e.name: e.weights for e in (basic, contractive)},
    )


def draw_spectra(basic: Encoder, contractive: Encoder) -> Figure:
    """Draw the spectra of both Jacobians."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for one, color in ((basic, INK), (contractive, ACCENT)):
        axes.plot(np.arange(1, len(one.spectrum) + 1), one.spectrum, color=color, lw=1.8, label=one.name)
    axes.set(xlabel="direction, most sensitive first", ylabel="singular value of the Jacobian", ylim=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    stage(main)
