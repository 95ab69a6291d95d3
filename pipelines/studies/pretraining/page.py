"""The page of a study of pretraining: test errors of both starts, and what the first layer has learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from safetensors.torch import load_file

from components.data import open_dataset
from components.pretraining import Stack, StackSettings
from items.spec import ItemSpec
from pipelines.plots.style import ACCENT, INK, PALETTE
from pipelines.studies.contract import Picture, Study, Table, write_page
from pipelines.studies.pretraining.training import STARTS, WEIGHTS, Start, Training, best, read_trainings
from pipelines.studies.text import corruption_text, spread, spread_text

Array = np.ndarray[Any, np.dtype[Any]]

NAMES: dict[Start, str] = {"pretrained": "pretrained layers", "random": "random weights"}
LOOKS: dict[Start, tuple[str, str, float]] = {"pretrained": (ACCENT, "o", 0.97), "random": (PALETTE[1], "s", 1.03)}
CAPTIONS = {
    "errors.png": "Test error by the number of labels: means with 95 % intervals over seeds, single seeds as dots.",
    "filters.png": "Weights of some units of the first layer as images, before pretraining and after it; blue pulls a "
    "unit down, red pushes it up, each on its own scale.",
}
FILTERS = 24  # units whose weights are drawn


@dataclass(frozen=True)
class Outcome:
    """The trainings of one start with one number of labels.

    Attributes:
        learning_rate: chosen by the validation split, on the first seed.
        errors: on the test split, % of its items, one for each seed.
        cross_entropies: of the labelled items at the end, in nats, one for each seed.
    """

    learning_rate: float
    errors: tuple[float, ...]
    cross_entropies: tuple[float, ...]

    @classmethod
    def of(cls, trainings: list[Training]) -> Outcome:
        """Return the outcome of trainings: of the lowest seed with several learning rates, of the others with one."""
        first = min(training.seed for training in trainings)
        chosen = best([training for training in trainings if training.seed == first])
        others = sorted((t for t in trainings if t.seed != first), key=lambda training: training.seed)
        kept = (chosen, *others)
        return cls(chosen.learning_rate, tuple(100 * t.test for t in kept), tuple(t.cross_entropy for t in kept))


@dataclass(frozen=True)
class Row:
    """Both starts with one number of labels, seed for seed with the same labels."""

    labels: int
    outcomes: dict[Start, Outcome]

    @property
    def gains(self) -> list[float]:
        """How many points fewer of error the pretrained start has, one for each seed."""
        pairs = zip(self.outcomes["random"].errors, self.outcomes["pretrained"].errors, strict=True)
        return [random - pretrained for random, pretrained in pairs]


def write(
    out: Path,
    study: dict[str, str],
    settings: dict[str, Any],
    epochs: int,
    stacks: int,
    seed: int,
    data: Path,
    trainings: tuple[Path, ...],
    stack: Path,
) -> None:
    """Write the page: `settings` are those of the stack, `stack` is the folder of the first pretrained one."""
    dataset, network = open_dataset(data), StackSettings.model_validate(settings)
    rows = rows_of(read_trainings(trainings), dataset.count("train"))
    drawn = {"errors.png": draw_errors(rows)}
    if dataset.schema.item.grid:
        before, after = (network.build(dataset.schema.item, seed) for _ in range(2))
        after.load_state_dict(load_file(stack / WEIGHTS))
        drawn["filters.png"] = draw_filters(dataset.schema.item, before, after)
    write_page(out, describe(study, network, epochs, stacks, rows, tuple(drawn)), drawn)


def rows_of(trainings: list[Training], all_labels: int) -> list[Row]:
    """Return a row for each number of labels, in the order of the trainings; `all_labels` is what None stands for."""
    rows = []
    for labels in dict.fromkeys(training.labels for training in trainings):
        outcomes = {
            start: Outcome.of([t for t in trainings if (t.labels, t.start) == (labels, start)]) for start in STARTS
        }
        rows.append(Row(labels or all_labels, outcomes))
    return rows


def describe(
    study: dict[str, str],
    network: StackSettings,
    epochs: int,
    stacks: int,
    rows: list[Row],
    pictures: tuple[str, ...],
) -> Study:
    """Return the page of both starts with each number of labels."""
    found: dict[str, float] = {}
    for row in rows:
        found |= {f"{start}_error_{row.labels}": spread(row.outcomes[start].errors)[0] for start in STARTS}
        found[f"gain_{row.labels}"] = spread(row.gains)[0]
    gains = "; ".join(f"{spread_text(row.gains, dash=' to ')} with {row.labels:,} labels" for row in rows)
    return Study(
        **study,
        title="Pretraining deep networks",
        question=question(network, epochs, stacks),
        summary=f"Points of test error that pretraining saves: {gains}.",
        tables=(errors_table(rows), training_table(rows)),
        pictures=tuple(Picture(file=file, caption=CAPTIONS[file]) for file in pictures),
        metrics=found,
    )


def question(network: StackSettings, epochs: int, stacks: int) -> str:
    """Return the question, and how it was put to both starts."""
    widths = "-".join(map(str, network.layers))
    return (
        f"Do layers that were learned without labels, one by one, make a better start for learning with labels? Layers "
        f"of {widths} units ({network.activation}) are pretrained as autoencoders on the whole training split. "
        f"Corruption: {corruption_text(network.corruption)}; contractive weight: {network.contractive or 0:g}; epochs "
        f"of each layer: {epochs}. Then they and a softmax layer are trained with labels. The same network starts from "
        "random weights too, with the same labels and epochs, and for either start the validation split chooses among "
        "the same learning rates, on the first seed. Seeds differ in their labels, as many of each class, and in their "
        f"random weights. They take turns with the pretrained stacks: {stacks}. Intervals leave out what another "
        "pretraining would change for seeds that share a stack. Error is that of the whole test split, with its 95 % "
        "interval over seeds (Student’s t)."
    )


def errors_table(rows: list[Row]) -> Table:
    """Return the table of test errors."""
    lines = []
    for row in rows:
        errors = [spread_text(row.outcomes[start].errors) for start in STARTS]
        lines.append((f"{row.labels:,}", *errors, spread_text(row.gains, dash=" to "), str(len(row.gains))))
    return Table(
        caption="Test error in %, and the points that pretraining saves, seed for seed; 95 % intervals",
        columns=("Labels", *(NAMES[start].capitalize() for start in STARTS), "Saved", "Seeds"),
        rows=tuple(lines),
    )


def training_table(rows: list[Row]) -> Table:
    """Return the table of how far each start learned its labels, and with which learning rate."""
    lines = []
    for row in rows:
        for start in STARTS:
            outcome = row.outcomes[start]
            left = f"{np.mean(outcome.cross_entropies):.2g}"
            lines.append((f"{row.labels:,}", NAMES[start].capitalize(), f"{outcome.learning_rate:g}", left))
    return Table(
        caption="Chosen learning rate, and the cross-entropy of the labelled items at the end, in nats: above 0.1 the "
        "labels were not learned",
        columns=("Labels", "Start", "Learning rate", "Cross-entropy"),
        rows=tuple(lines),
    )


def draw_errors(rows: list[Row]) -> Figure:
    """Draw test error against the number of labels: means with intervals, and each seed as a dot."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    counts = np.array([row.labels for row in rows], np.float64)
    for start, (color, marker, aside) in LOOKS.items():
        at = counts * aside
        means = np.array([spread(row.outcomes[start].errors) for row in rows])
        reach = np.nan_to_num(np.abs(means[:, 1:] - means[:, :1]).T)
        axes.errorbar(
            at, means[:, 0], reach, color=color, marker=marker, ms=6, lw=1.5, capsize=4, label=NAMES[start], zorder=3
        )
        for place, row in zip(at * aside**2, rows, strict=True):  # beside the interval, which would cover them
            errors = row.outcomes[start].errors
            axes.scatter([place] * len(errors), errors, s=12, color=color, alpha=0.5, lw=0, zorder=2)
    axes.set(xscale="log", xlabel="labels", ylabel="test error, %", ylim=0)
    axes.set_xticks(counts, [f"{row.labels:,}" for row in rows])
    axes.minorticks_off()
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_filters(item: ItemSpec, before: Stack, after: Stack) -> Figure:
    """Draw the weights of the first layer's units as images, before pretraining and after it."""
    shown = [weights(item, stack) for stack in (before, after)]
    count = min(FILTERS, len(shown[0]))
    # Units evenly spread over the layer, the same ones before and after.
    units = np.linspace(0, len(shown[0]) - 1, count).round().astype(int)
    figure = Figure(figsize=(7.2, 2.2), layout="constrained")
    axes = figure.subplots(4, -(-count // 2), squeeze=False)
    for cell in axes.flat:
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set_visible(False)
    for half, (filters, word) in enumerate(zip(shown, ("before", "after"), strict=True)):
        for cell, unit in zip(axes[2 * half : 2 * half + 2].flat, units, strict=False):
            reach = np.abs(filters[unit]).max()
            cell.imshow(filters[unit], cmap="RdBu_r", vmin=-reach, vmax=reach)
        axes[2 * half, 0].set_ylabel(word, color=INK)
    return figure


def weights(item: ItemSpec, stack: Stack) -> Array:
    """Return the first layer's weights as (units, height, width), over all channels."""
    matrix = next(stack.layers[0].parameters()).detach().numpy()
    images: Array = matrix.reshape(-1, *item.shape).mean(-1)
    return images
