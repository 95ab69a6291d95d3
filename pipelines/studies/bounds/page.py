"""The page of a study of evidence bounds, beside the published ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from components.bounds import Bounds
from components.models import AutoencoderSettings
from pipelines.metrics.significance import interval
from pipelines.plots.style import ACCENT, INK, PALETTE
from pipelines.studies.bounds.sampling import read_bounds
from pipelines.studies.contract import Picture, Study, Table, write_page
from pipelines.studies.text import difference_text, mean_text
from pipelines.sweep.record import RunRecord, read_record
from pipelines.sweep.trained import model_settings

FIXED = "MNIST, binarized once for all; bound of 1000 samples; prior learned"


@dataclass(frozen=True)
class Published:
    """A value from a paper: of which bottleneck, a short and a full name, in nats, its source and its conditions."""

    bottleneck: str
    label: str
    model: str
    nats: float
    source: str
    conditions: str


PUBLISHED = (
    Published("categorical", "Gumbel", "Gumbel-softmax, 20×10, decoder of 200", 101.5, "Jang et al., Table 1", FIXED),
    Published("categorical", "straight-through", "the same, straight-through", 107.8, "Jang et al., Table 1", FIXED),
    Published("binary", "Gumbel", "Gumbel-softmax, 200 Bernoulli variables", 105.0, "Jang et al., Table 1", FIXED),
    Published(
        "gaussian",
        "Burda et al.",
        "VAE of 50 variables, two layers of 200",
        86.76,
        "Burda et al., Table 1",
        "MNIST, binarized anew each epoch; likelihood estimated with 5000 samples; 3280 epochs",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Evaluated:
    """An experiment's bounds on the test split.

    Attributes:
        bottleneck: its kind.
        name, dataset: the experiment's.
        training: how the model was trained, as text.
        weights: digest of its weights.
        bounds: in nats, of each test item.
    """

    bottleneck: str
    name: str
    dataset: str
    training: str
    weights: str
    bounds: Bounds

    @property
    def bound(self) -> float:
        """The one-sample negative bound, nats an item."""
        return float(self.bounds.negative_bound.mean())

    @property
    def reconstruction(self) -> float:
        """Its first part, nats an item."""
        return float(self.bounds.reconstruction.mean())

    @property
    def divergence(self) -> float:
        """Its second part, nats an item."""
        return float(self.bounds.divergence.mean())

    @property
    def published(self) -> list[Published]:
        """The published values of its bottleneck and dataset, the lowest first."""
        return [p for p in PUBLISHED if p.bottleneck == self.bottleneck and self.dataset == "mnist"]


def write(
    out: Path,
    study: dict[str, str],
    experiments: dict[str, str],
    gaussian: Path,
    categorical: Path,
    gaussian_run: Path,
    categorical_run: Path,
) -> None:
    """Write the page."""
    folders = {"gaussian": (gaussian, gaussian_run), "categorical": (categorical, categorical_run)}
    evaluated = []
    for key, (folder, run) in folders.items():
        record = read_record(run)
        evaluated.append(
            Evaluated(
                key,
                experiments[key],
                study["dataset"],
                training_text(record),
                record.weights_sha256,
                read_bounds(folder),
            )
        )
    write_page(out, describe(study, evaluated), {"bounds.png": draw_bounds(evaluated)})


def training_text(record: RunRecord) -> str:
    """Return how a run's model was trained: `mlp 512, 5 of 5 epochs, grey items`."""
    model = model_settings(record)
    assert isinstance(model, AutoencoderSettings)  # noqa: S101  no other has bounds
    layers = "–".join(map(str, getattr(model.network, "hidden", ()))) or "no hidden layer"
    items = "binarized anew each step" if getattr(model.likelihood, "binarize", False) else "grey items"
    return f"{model.network.kind} {layers}, {record.best_epoch} of {record.epochs} epochs, {items}"


def describe(study: dict[str, str], evaluated: Sequence[Evaluated]) -> Study:
    """Return the page of two experiments' bounds."""
    samples = evaluated[0].bounds.samples
    rows = [
        (
            one.name,
            mean_text(one.bounds.negative_bound, "{:.1f}"),
            f"{one.reconstruction:.2f}",
            f"{one.divergence:.2f}",
            mean_text(one.bounds.multi_sample, "{:.1f}"),
            f"{one.bounds.active.sum()} of {len(one.bounds.active)}",
            one.training,
        )
        for one in evaluated
    ]
    first, second = evaluated
    difference = (
        "Difference",
        difference_text(second.bounds.negative_bound, first.bounds.negative_bound, "{:+.1f}"),
        f"{second.reconstruction - first.reconstruction:+.2f}",
        f"{second.divergence - first.divergence:+.2f}",
        difference_text(second.bounds.multi_sample, first.bounds.multi_sample, "{:+.1f}"),
        "",
        "",
    )
    bounds = ", ".join(f"{one.name} {mean_text(one.bounds.negative_bound, '{:.1f}')}" for one in evaluated)
    return Study(
        **study,
        title="Evidence bounds of variational autoencoders",
        question="How many nats does a variational autoencoder need for an item? Its negative evidence bound is no "
        "less than -log p(item): what the decoder has to correct (reconstruction) plus what the code says beyond the "
        "prior (divergence, without beta). Computed on the test split, each value drawn once as 0 or 1 with its grey "
        "value as chance; codes are drawn from the posterior, classes as one-hot vectors and not relaxed. The bound of "
        f"{samples} samples weighs codes by importance and is tighter; published bounds are of 1000.",
        summary=f"Negative evidence bounds in nats a test item: {bounds}.",
        tables=(
            Table(
                caption="Negative bounds on the test split, nats an item, with 95 % intervals over items; the "
                "difference is of the same items",
                columns=(
                    "Experiment",
                    "Bound",
                    "Reconstruction",
                    "Divergence",
                    f"{samples} samples",
                    "Active variables",
                    "Trained",
                ),
                rows=(*rows, difference),
            ),
            Table(
                caption="Published values, nats an item",
                columns=("Model", "Nats", "Source", "Conditions"),
                rows=tuple((p.model, f"{p.nats:g}", p.source, p.conditions) for p in PUBLISHED),
            ),
        ),
        pictures=(
            Picture(
                file="bounds.png",
                caption="The two parts of each bound, and published values of the same kind of code. The published "
                "ones are tighter by their many samples, and of other training: see the table.",
            ),
        ),
        metrics={
            f"{one.bottleneck}_{key}": value
            for one in evaluated
            for key, value in {
                "negative_bound": one.bound,
                "reconstruction": one.reconstruction,
                "divergence": one.divergence,
                "multi_sample_bound": float(one.bounds.multi_sample.mean()),
                "active_share": float(one.bounds.active.mean()),
            }.items()
        },
        made_from={one.name: one.weights for one in evaluated},
    )


def draw_bounds(evaluated: Sequence[Evaluated]) -> Figure:
    """Draw each bound as a bar of its two parts, published values of its kind as marks above it."""
    figure = Figure(figsize=(7.6, 1.5 + 0.85 * len(evaluated)), layout="constrained")
    axes = figure.add_subplot()
    names = iter(["reconstruction", "divergence from the prior", f"bound of {evaluated[0].bounds.samples} samples"])
    ends = [interval(one.bounds.negative_bound) for one in evaluated]
    for row, one in enumerate(evaluated):
        labels = [next(names, "") for _ in range(3)]
        multi_sample = one.bounds.multi_sample.mean()
        axes.barh(row, one.reconstruction, height=0.45, color=PALETTE[1], label=labels[0])
        axes.barh(row, one.divergence, left=one.reconstruction, height=0.45, color=ACCENT, label=labels[1])
        axes.errorbar(one.bound, row, xerr=np.abs(np.array(ends[row]) - one.bound)[:, None], color=INK, capsize=3)
        axes.vlines(multi_sample, row - 0.225, row + 0.225, color="white", lw=2)
        axes.vlines(multi_sample, row - 0.225, row + 0.225, color=INK, lw=2, ls=":", label=labels[2])
        axes.annotate(f"{one.bound:.1f}", (ends[row][1], row), xytext=(6, 0), textcoords="offset points", va="center",
                      color=INK)  # fmt: skip
    for row, one in enumerate(evaluated):
        for place, p in enumerate(marks := one.published):
            axes.plot(p.nats, row - 0.31, "v", color=INK, ms=6, label="published" if row + place == 0 else None)
            last = place == len(marks) - 1
            axes.annotate(f"{p.nats:g} {p.label}", (p.nats, row - 0.31), xytext=(7 if last else -7, 4), fontsize=8,
                          textcoords="offset points", ha="left" if last else "right", color=INK)  # fmt: skip
    axes.set_yticks(range(len(evaluated)), [one.name for one in evaluated])
    widest = max([high for _, high in ends] + [p.nats for one in evaluated for p in one.published])
    axes.set(xlabel="nats per test item", ylim=(len(evaluated) - 0.6, -0.65), xlim=(0, 1.3 * widest))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure
