"""bounds: how well variational autoencoders model the data: evidence bounds in nats beside the published ones.

python -m pipelines.studies.bounds NAME

Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144, section 4.2 and Table 1; Burda,
Grosse, Salakhutdinov, "Importance Weighted Autoencoders", arXiv 1509.00519, Table 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from components.bounds import Bounds, measure_bounds
from components.data import open_dataset
from components.metrics import bootstrap_interval
from components.models import AutoencoderSettings
from components.models.autoencoder import Autoencoder
from components.settings import SettingError
from components.training import as_tensor
from pipelines.plots.style import ACCENT, INK, PALETTE
from pipelines.project import Project, StageError, stage
from pipelines.settings.params import Params, load_params
from pipelines.studies.contract import Picture, Study, Table, publish
from pipelines.studies.settings import BoundsSettings
from pipelines.sweep.record import RunRecord, read_model, read_record

SAMPLES = {"quick": 10, "paper": 1000}  # codes an item; 1000 as Jang et al. draw for their multi-sample bound

FIXED = "MNIST, binarized once for all; bound of 1000 samples; prior learned"


@dataclass(frozen=True)
class Published:
    """A figure from a paper: of which bottleneck, a short and a full name, in nats, and how it was come by."""

    bottleneck: str
    label: str
    model: str
    nats: float
    source: str
    how: str


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
class Measured:
    """An experiment's bounds on the test split."""

    kind: str
    record: RunRecord
    bounds: Bounds

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.record.experiment

    @property
    def bound(self) -> float:
        """The one-sample negative bound, nats an item."""
        return float(self.bounds.negative_bound.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % bootstrap interval over items."""
        return bootstrap_interval(self.bounds.negative_bound)

    @property
    def reconstruction(self) -> float:
        """Its first part, nats an item."""
        return float(self.bounds.reconstruction.mean())

    @property
    def divergence(self) -> float:
        """Its second part, nats an item."""
        return float(self.bounds.divergence.mean())

    @property
    def multi_sample(self) -> float:
        """The bound of several samples, nats an item."""
        return float(self.bounds.multi_sample.mean())

    @property
    def multi_sample_interval(self) -> tuple[float, float]:
        """Its 95 % bootstrap interval over items."""
        return bootstrap_interval(self.bounds.multi_sample)

    @property
    def active(self) -> float:
        """The share of latent variables that are active."""
        return float(self.bounds.active.mean())

    @property
    def training(self) -> str:
        """How the model was trained, in words."""
        model = self.record.model
        assert isinstance(model, AutoencoderSettings)  # noqa: S101  measure() refuses others
        layers = "–".join(map(str, getattr(model.network, "hidden", ()))) or "no hidden layer"
        items = "binarized anew each step" if model.binarize else "grey items"
        return f"{model.network.kind} {layers}, {self.record.best_epoch} of {self.record.epochs} epochs, {items}"


def main(name: str) -> None:
    """Measure the experiments that `studies.bounds.<name>` names."""
    project = Project.here()
    params = load_params(project)
    settings = params.study(BoundsSettings, f"bounds.{name}")
    measured = [measure(project, params, name, kind, one) for kind, one in settings.experiments().items()]
    publish(project, describe(name, measured), {"bounds.png": draw_bounds(measured)})


def measure(project: Project, params: Params, study: str, kind: str, experiment: str) -> Measured:
    """Measure an experiment's best model on the test split.

    Raises:
        StageError: the run record is missing or damaged, or of a model of another kind.
        SettingError: its model has no evidence bound.
    """
    record = read_record(project.run(experiment))
    data = open_dataset(project.data(record.dataset))
    model = read_model(project.run(experiment), record, data.schema.item)
    found = record.model.bottleneck.kind if isinstance(record.model, AutoencoderSettings) else record.model.kind
    if not isinstance(model, Autoencoder) or found != kind:
        raise StageError(
            f"studies.bounds.{study}.{kind}: {experiment}, must have the bottleneck {kind}; it has {found}"
        )
    items = as_tensor(np.asarray(data.array("test")))
    try:
        bounds = measure_bounds(model, items, SAMPLES[params.budget], params.seed)
    except SettingError as error:
        raise error.under(f"experiments.{experiment}.model") from None
    return Measured(kind, record, bounds)


def describe(name: str, measured: Sequence[Measured]) -> Study:
    """Put the figures into words and tables."""
    samples = measured[0].bounds.samples
    return Study(
        kind="bounds",
        name=name,
        dataset=measured[0].record.dataset,
        title="Evidence bounds of variational autoencoders",
        question="How many nats does a variational autoencoder need for an item? Its negative evidence bound is no "
        "less than -log p(item): what the decoder has to correct (reconstruction) plus what the code says beyond the "
        "prior (divergence, without beta). Measured on the test split, each value drawn once as 0 or 1 with its grey "
        "value as chance; codes are drawn from the posterior, classes as one-hot vectors and not relaxed. The bound of "
        f"{samples} samples weighs codes by importance and is tighter; published bounds are of 1000.",
        findings=tuple(findings(measured)),
        tables=(
            Table(
                caption="Negative bounds on the test split, nats an item, with 95 % intervals over items",
                columns=("Experiment", "Bound", "Interval", "Reconstruction", "Divergence", f"{samples} samples",
                         "Interval", "Active variables", "Trained"),
                rows=tuple(
                    (
                        m.name, f"{m.bound:.2f}", in_words(m.interval), f"{m.reconstruction:.2f}",
                        f"{m.divergence:.2f}", f"{m.multi_sample:.2f}", in_words(m.multi_sample_interval),
                        f"{m.bounds.active.sum()} of {len(m.bounds.active)}", m.training,
                    )
                    for m in measured
                ),
            ),
            Table(
                caption="Published figures, nats an item",
                columns=("Model", "Nats", "Source", "Measured on, and how"),
                rows=tuple((p.model, f"{p.nats:g}", p.source, p.how) for p in PUBLISHED),
            ),
        ),
        pictures=(
            Picture(
                file="bounds.png",
                caption="The two parts of each bound, and published figures of the same kind of code. The published "
                "ones are tighter by their many samples, and of other training: see the table.",
            ),
        ),
        figures={
            f"{m.kind}_{key}": value
            for m in measured
            for key, value in {
                "negative_bound": m.bound,
                "reconstruction": m.reconstruction,
                "divergence": m.divergence,
                "multi_sample_bound": m.multi_sample,
                "active_share": m.active,
            }.items()
        },
        made_from={m.name: m.record.weights_sha256 for m in measured},
    )  # fmt: skip


def findings(measured: Sequence[Measured]) -> list[str]:
    """Return what may be said of the measured experiments, alone, together, and beside what is published."""
    said = [
        f"{m.name}: at most {m.bound:.1f} nats a test item ({in_words(m.interval)}), {m.reconstruction:.1f} of "
        f"reconstruction and {m.divergence:.1f} of divergence; {m.bounds.active.sum()} of {len(m.bounds.active)} "
        f"latent variables are active. {m.bounds.samples} samples tighten the bound to {m.multi_sample:.1f}."
        for m in measured
    ]
    if len(measured) == 2:
        said.append(compared(*measured))
    said += [beside(m, comparable(m)[0]) for m in measured if comparable(m)]
    return said


def comparable(m: Measured) -> list[Published]:
    """Return the published figures of an experiment's kind and dataset, the lowest first."""
    return [p for p in PUBLISHED if p.bottleneck == m.kind and m.record.dataset == "mnist"]


def compared(first: Measured, second: Measured) -> str:
    """Return which of two bounds on the same items is lower, as far as the interval of their difference tells."""
    difference = first.bounds.negative_bound - second.bounds.negative_bound
    low, high = bootstrap_interval(difference)
    pair = f"{first.name} and {second.name}"
    if low <= 0 <= high:
        return f"The bounds of {pair} do not differ significantly: by {in_words((low, high))} nats."
    lower, higher = (first, second) if high < 0 else (second, first)
    span = in_words((min(abs(low), abs(high)), max(abs(low), abs(high))))
    return f"{lower.name}’s bound is {abs(difference.mean()):.1f} nats below that of {higher.name} ({span})."


def beside(m: Measured, published: Published) -> str:
    """Return how an experiment's multi-sample bound stands to a published figure; what differs is in the tables."""
    low, high = m.multi_sample_interval
    where = "about" if low <= published.nats <= high else f"{abs(m.multi_sample - published.nats):.1f} nats " + (
        "above" if low > published.nats else "below"
    )  # fmt: skip
    return (
        f"{m.name}’s bound of {m.bounds.samples} samples is {where} the published {published.nats:g} "
        f"({published.model}; {published.source}), which was measured otherwise: {published.how}."
    )


def in_words(interval: tuple[float, float]) -> str:
    """Return an interval as `101.2–102.3`."""
    return "{:.1f}–{:.1f}".format(*interval)


def draw_bounds(measured: Sequence[Measured]) -> Figure:
    """Draw each bound as a bar of its two parts, published figures of its kind as marks above it."""
    figure = Figure(figsize=(7.6, 1.5 + 0.85 * len(measured)), layout="constrained")
    axes = figure.add_subplot()
    names = iter(["reconstruction", "divergence from the prior", f"bound of {measured[0].bounds.samples} samples"])
    for row, m in enumerate(measured):
        labels = [next(names, "") for _ in range(3)]
        axes.barh(row, m.reconstruction, height=0.45, color=PALETTE[1], label=labels[0])
        axes.barh(row, m.divergence, left=m.reconstruction, height=0.45, color=ACCENT, label=labels[1])
        axes.errorbar(m.bound, row, xerr=np.abs(np.array(m.interval) - m.bound)[:, None], color=INK, capsize=3)
        axes.vlines(m.multi_sample, row - 0.225, row + 0.225, color="white", lw=2)
        axes.vlines(m.multi_sample, row - 0.225, row + 0.225, color=INK, lw=2, ls=":", label=labels[2])
        axes.annotate(f"{m.bound:.1f}", (m.interval[1], row), xytext=(6, 0), textcoords="offset points", va="center",
                      color=INK)  # fmt: skip
    for row, m in enumerate(measured):
        for place, p in enumerate(marks := comparable(m)):
            axes.plot(p.nats, row - 0.31, "v", color=INK, ms=6, label="published" if row + place == 0 else None)
            last = place == len(marks) - 1
            axes.annotate(f"{p.nats:g} {p.label}", (p.nats, row - 0.31), xytext=(7 if last else -7, 4), fontsize=8,
                          textcoords="offset points", ha="left" if last else "right", color=INK)  # fmt: skip
    axes.set_yticks(range(len(measured)), [m.name for m in measured])
    widest = max([m.interval[1] for m in measured] + [p.nats for m in measured for p in comparable(m)])
    axes.set(xlabel="nats per test item", ylim=(len(measured) - 0.6, -0.65), xlim=(0, 1.3 * widest))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    stage(main)
