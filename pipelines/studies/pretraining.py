"""pretraining: layers learnt without labels against random weights, fine-tuned with few labels and with many.

python -m pipelines.studies.pretraining NAME

Bengio et al., NIPS 2006; Vincent et al., JMLR 11 (2010); Rifai et al., ICML 2011: see components/pretraining.py.
Both starts are the same network with the same labels, epochs and choice of learning rates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from components.corruptions import GaussianNoise, MaskingNoise, NoCorruption
from components.data import PreparedDataset, open_dataset
from components.pretraining import Stack
from components.settings import SettingError
from items.spec import ItemSpec
from pipelines.plots.style import ACCENT, INK, PALETTE
from pipelines.project import Project, StageError, stage
from pipelines.settings.params import load_params
from pipelines.studies.contest import STARTS, WORDS, Contest, Row, Start, pretrained_stacks
from pipelines.studies.contract import Picture, Study, Table, publish, spread
from pipelines.studies.settings import PretrainingBudget, PretrainingSettings

Array = np.ndarray[Any, np.dtype[Any]]

BLUE = PALETTE[1]
LOOKS: dict[Start, tuple[str, str, float]] = {"pretrained": (ACCENT, "o", 0.97), "random": (BLUE, "s", 1.03)}
CAPTIONS = {
    "errors.png": "Test error by the number of labels: means with 95 % intervals over seeds, single seeds as dots.",
    "filters.png": "Weights of some units of the first layer as images, before pretraining and after it; blue pulls a "
    "unit down, red pushes it up, each on its own scale.",
}
FILTERS = 24  # units whose weights are drawn
UNLEARNT = 0.1  # nats of cross-entropy: with more left, a network has not learnt its labels


def main(name: str) -> None:
    """Run the comparison that `studies.pretraining.<name>` describes."""
    project = Project.here()
    params = load_params(project)
    settings = params.study(PretrainingSettings, f"pretraining.{name}")
    budget = settings.quick if params.budget == "quick" else settings.paper
    data = open_dataset(project.data(settings.dataset))
    try:
        check(data, budget)
    except SettingError as error:
        raise error.under(f"studies.pretraining.{name}.{params.budget}") from None
    stacks = list(pretrained_stacks(settings, budget, data, params.seed))
    contest = Contest(settings, data, stacks, params.seed)
    rows = [contest.row(line) for line in budget.fine_tuning]
    before = settings.build(data.schema.item, params.seed)
    drawn = {"errors.png": draw_errors(rows)}
    if data.schema.item.kind == "image":
        drawn["filters.png"] = draw_filters(data.schema.item, before, stacks[0])
    publish(project, describe(name, settings, budget, rows, tuple(drawn)), drawn)


def check(data: PreparedDataset, budget: PretrainingBudget) -> None:
    """Refuse what cannot be learnt.

    Raises:
        StageError: the dataset has no classes.
        SettingError: fewer labels than classes, or more than items; the key is the path below the budget.
    """
    if data.schema.classes is None:
        raise StageError(f"{data.schema.name}: has no classes, so there are no labels to fine-tune with")
    fewest, most = len(data.schema.classes), data.count("train")
    for place, line in enumerate(budget.fine_tuning):
        if line.labels is not None and not fewest <= line.labels <= most:
            allowed = f"must be {fewest} (a label a class) to {most} (the training split), or null for all"
            raise SettingError(f"fine_tuning.{place}.labels", line.labels, allowed)


def describe(
    name: str, settings: PretrainingSettings, budget: PretrainingBudget, rows: list[Row], pictures: tuple[str, ...]
) -> Study:
    """Put the figures into words and tables."""
    figures: dict[str, float] = {}
    for row in rows:
        figures |= {f"{start}_error_{row.labels}": spread(list(row.outcomes[start].errors))[0] for start in STARTS}
        figures[f"gain_{row.labels}"] = spread(row.gains)[0]
    return Study(
        kind="pretraining",
        name=name,
        dataset=settings.dataset,
        title="Pretraining deep networks",
        question=question(settings, budget),
        findings=tuple(finding(row, budget.stacks) for row in rows),
        tables=(errors_table(rows), training_table(rows)),
        pictures=tuple(Picture(file=file, caption=CAPTIONS[file]) for file in pictures),
        figures=figures,
    )


def question(settings: PretrainingSettings, budget: PretrainingBudget) -> str:
    """Say what was asked and how it was measured."""
    widths = "-".join(map(str, settings.layers))
    seeds = max(line.seeds for line in budget.fine_tuning)
    if budget.stacks == 1 < seeds:
        shared = (
            "All seeds share one pretraining, so the pretrained intervals leave out what another one would change. "
        )
    elif budget.stacks < seeds:
        shared = f"Seeds take turns with {budget.stacks} pretrainings. "
    else:
        shared = "Each seed has a pretraining of its own. "
    return (
        f"Do layers that were learnt without labels, one by one, make a better start for learning with labels? Layers "
        f"of {widths} units ({settings.activation}) are pretrained as {settings_in_words(settings)}, each for "
        f"{budget.epochs} epoch{'s' * (budget.epochs > 1)} of the whole training split; then they and a softmax layer "
        f"are trained with labels. The same network starts from random weights too, with the same labels and epochs, "
        f"and for either start the validation split chooses among the same learning rates, on the first seed. Seeds "
        f"differ in their labels, as many of each class, and in their random weights. {shared}Error is that of the "
        f"whole test split, with its 95 % interval over seeds (Student’s t)."
    )


def settings_in_words(settings: PretrainingSettings) -> str:
    """Say what kind of autoencoder each layer is."""
    match settings.corruption:
        case NoCorruption():
            words = "autoencoders"
        case MaskingNoise(share=share):
            words = f"denoising autoencoders ({share:.0%} of the values masked)"
        case GaussianNoise(sigma=sigma):
            words = f"denoising autoencoders (Gaussian noise of {sigma:g})"
        case corruption:
            words = f"denoising autoencoders ({corruption.kind.replace('_', ' ')})"
    return words if settings.contractive is None else f"contractive {words} (weight {settings.contractive:g})"


def finding(row: Row, stacks: int) -> str:
    """Say whether pretraining helped with one number of labels, no surer than the intervals are."""
    means = {start: spread(list(row.outcomes[start].errors)) for start in STARTS}
    pretrained, random = means["pretrained"], means["random"]
    gain, low, high = spread(row.gains)
    seeds = len(row.gains)
    runs = f"{seeds} seeds of fine-tuning, {stacks} pretrained stack{'s' * (stacks > 1)}"
    told = (
        f"With {row.labels:,} labels the pretrained network’s test error is {in_words(pretrained)} %, and from random "
        f"weights {in_words(random)} %"
    )
    difference = f"seed for seed, pretraining takes off {gain:.2f} points ({low:.2f} to {high:.2f}; {runs})"
    if seeds == 1:
        verdict = ". That is one seed each, so it says nothing about chance."
    elif pretrained[2] < random[1]:
        verdict = f": pretraining helps, and the intervals do not overlap; {difference}."
    elif random[2] < pretrained[1]:
        verdict = f": pretraining hurts, and the intervals do not overlap; {difference}."
    elif low > 0 or high < 0:
        verdict = f". The intervals overlap, but {difference}: it {'helps' if low > 0 else 'hurts'}."
    else:
        verdict = f". That is no significant difference: {difference}."
    return told + verdict + unlearnt(row)


def unlearnt(row: Row) -> str:
    """Name a start that has not learnt its labels: training was too short then to tell what it is capable of."""
    left = {start: float(np.mean(row.outcomes[start].cross_entropies)) for start in STARTS}
    short = [f"the one from {WORDS[start]} ({left[start]:.2f} nats left)" for start in STARTS if left[start] > UNLEARNT]
    return f" Not trained to the end: {' and '.join(short)}." if short else ""


def in_words(mean: tuple[float, float, float]) -> str:
    """Return `6.65 (6.21–7.09)`, or `6.65` where there is no interval."""
    return f"{mean[0]:.2f}" if np.isnan(mean[1]) else "{:.2f} ({:.2f}–{:.2f})".format(*mean)


def errors_table(rows: list[Row]) -> Table:
    """Return the figures behind the findings."""
    lines = []
    for row in rows:
        errors = [in_words(spread(list(row.outcomes[start].errors))) for start in STARTS]
        lines.append((f"{row.labels:,}", *errors, in_words(spread(row.gains)), str(len(row.gains))))
    return Table(
        caption="Test error in %, and how many points pretraining takes off, seed for seed; 95 % intervals",
        columns=("Labels", "Pretrained layers", "Random weights", "Difference", "Seeds"),
        rows=tuple(lines),
    )


def training_table(rows: list[Row]) -> Table:
    """Return how far each start learnt its labels, and with which learning rate."""
    lines = []
    for row in rows:
        for start in STARTS:
            outcome = row.outcomes[start]
            left = f"{np.mean(outcome.cross_entropies):.2g}"
            lines.append((f"{row.labels:,}", WORDS[start].capitalize(), f"{outcome.learning_rate:g}", left))
    return Table(
        caption="Chosen learning rate, and the cross-entropy of labelled items that was left at the end, in nats",
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
        means = np.array([spread(list(row.outcomes[start].errors)) for row in rows])
        reach = np.nan_to_num(np.abs(means[:, 1:] - means[:, :1]).T)
        axes.errorbar(
            at, means[:, 0], reach, color=color, marker=marker, ms=6, lw=1.5, capsize=4, label=WORDS[start], zorder=3
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


if __name__ == "__main__":
    stage(main)
