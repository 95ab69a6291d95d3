"""Pictures of a sweep: how its trials went, and what its search space held."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from pipelines.plots.style import ACCENT, INK, MUTED, save
from pipelines.settings.spaces import Distribution
from pipelines.sweep.record import RunRecord


def draw_history(record: RunRecord, objective: str, folder: Path) -> None:
    """Write history.png, the objective of every trial by epoch, and history.csv, the best trial's for `dvc plots`."""
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for trial in record.trials:
        best = trial.number == record.best_trial
        epochs = [epoch.epoch for epoch in trial.history]
        values = [epoch.metrics[record.objective] for epoch in trial.history]
        label = f"trial {trial.number}, the best" if best else None
        axes.plot(epochs, values, "o-", ms=4, color=ACCENT if best else MUTED, zorder=3 if best else 2, label=label)
    axes.set(xlabel="epoch", ylabel=objective, yscale="log" if record.epochs > 1 else "linear")
    axes.yaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, folder / "history.png")

    names = list(record.best.history[0].metrics)
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *names])
        writer.writerows([epoch.epoch, *(epoch.metrics[name] for name in names)] for epoch in record.best.history)


def draw_space(record: RunRecord, objective: str, space: dict[str, Distribution], folder: Path) -> None:
    """Write space.png: for each searched value, where the trials fell in its range and what came out.

    Nothing is written where nothing was searched.
    """
    if not record.searched:
        return
    figure = Figure(figsize=(3.4 * len(space), 3.2), layout="constrained")
    for axes, (path, distribution) in zip(figure.subplots(1, len(space), squeeze=False)[0], space.items(), strict=True):
        for trial in record.trials:
            best = trial.best(record.objective)
            if best is None:
                continue
            stopped = trial.status != "finished"
            color = ACCENT if trial.number == record.best_trial else INK
            value = trial.parameters[path]
            x = str(value) if distribution.kind == "choice" else value
            axes.scatter([x], [best.metrics[record.objective]], s=36, zorder=3, facecolors="none" if stopped else color,
                         edgecolors=color)  # fmt: skip
        if distribution.kind == "log_uniform":
            axes.set_xscale("log")
            low, high = (float(end) for end in distribution.arguments)
            axes.set_xticks([low, math.sqrt(low * high), high], minor=False)
            axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:.2g}"))
            axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        if distribution.kind != "choice":
            axes.axvspan(*(float(end) for end in distribution.arguments), color=MUTED, alpha=0.25, lw=0)
        axes.set(xlabel=path.rpartition(".")[2].replace("_", " "), ylabel=objective)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, folder / "space.png")
