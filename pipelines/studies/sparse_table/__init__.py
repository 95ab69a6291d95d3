"""sparse_table: the lecture's table of a simple and a sparse autoencoder, rerun: is sparse really better?

The lecture's protocol: MNIST, 100 epochs, batches of 128, Adam, the best mean squared error a pixel. It says nothing of
the layers, so the settings do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field

from components.batches import as_tensor
from components.data import open_dataset
from components.data.raw import Outline
from components.models import AutoencoderSettings
from components.models.autoencoder import Autoencoder
from components.settings import SettingError, Settings
from pipelines.metrics import item_metrics
from pipelines.studies.contract import Picture, Study, StudySettings, Table, write_page
from pipelines.studies.plan import Inputs, StudyPlan
from pipelines.studies.sparse_table.training import read_trained, train
from pipelines.studies.text import differing_keys, spread, spread_text
from pipelines.units.unit import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = ("simple", "sparse")
PUBLISHED = {"simple": 0.0318, "sparse": 0.0301}
SECONDS = 1.4  # of one epoch over MNIST on one core

Array = np.ndarray[Any, np.dtype[Any]]
Runs = dict[str, list[dict[str, float]]]  # metrics by row, one for each seed


class SeedsBudget(Settings):
    """How long each of a study's own models is trained, and with how many seeds."""

    epochs: int = Field(ge=1)
    seeds: int = Field(ge=1)


class SparseTableSettings(StudySettings):
    """Two autoencoders of one code size that differ in a sparsity penalty."""

    kind: Literal["sparse_table"] = "sparse_table"
    simple: AutoencoderSettings
    sparse: AutoencoderSettings
    quick: SeedsBudget
    paper: SeedsBudget

    def errors(self, data: Outline) -> Iterator[SettingError]:
        """See :class:`StudySettings`."""
        for row in ROWS:
            try:
                getattr(self, row).build(data.item)
            except SettingError as error:
                yield error.under(row)

    def units(self, plan: StudyPlan) -> Unit:
        """See :class:`StudySettings`. Each training is a part."""
        budget = self.quick if plan.budget == "quick" else self.paper
        models = {row: getattr(self, row).model_dump(mode="json") for row in ROWS}
        trainings = {
            row: tuple(
                plan.part(
                    f"{row}, seed {seed}",
                    train,
                    {"data": plan.data},
                    seconds=SECONDS * budget.epochs,
                    model=model,
                    epochs=budget.epochs,
                    seed=seed,
                )
                for seed in range(plan.seed, plan.seed + budget.seeds)
            )
            for row, model in models.items()
        }
        inputs: Inputs = {"data": plan.data, **trainings}
        return plan.page(self.kind, write, inputs, seconds=4, models=models, epochs=budget.epochs)


def write(
    out: Path,
    study: dict[str, str],
    models: dict[str, dict[str, Any]],
    epochs: int,
    data: Path,
    simple: tuple[Path, ...],
    sparse: tuple[Path, ...],
) -> None:
    """Write the page."""
    dataset, folders = open_dataset(data), {"simple": simple, "sparse": sparse}
    item, test = dataset.schema.item, np.asarray(dataset.array("test"))
    runs = {row: [evaluate(read_trained(one, models[row], item), test) for one in folders[row]] for row in ROWS}
    page = describe(study, epochs, differing_keys(models["simple"], models["sparse"]), runs)
    write_page(out, page, {"table.png": draw_table(runs)})


@torch.no_grad()
def evaluate(model: Autoencoder, items: Array) -> dict[str, float]:
    """Return the metrics of a trained autoencoder on raw test items (n, *item.shape).

    `mse` is the mean squared error a value, `active` the share of units that an item activates, `silent` the share of
    units that are 0 for every item.
    """
    codes = torch.cat([model.encode(batch) for batch in torch.split(as_tensor(items), 1000)])
    rebuilt = np.concatenate([model.decode(part).numpy() for part in torch.split(codes, 1000)])
    errors = item_metrics.squared_errors(model.item.scaled(items), rebuilt)
    return {
        "mse": float(errors.mean()) / model.item.values,
        "active": float(item_metrics.active_fractions(codes.numpy()).mean()),
        "silent": float((codes == 0).all(0).float().mean()),
    }


def describe(study: dict[str, str], epochs: int, differing: str, runs: Runs) -> Study:
    """Return the page of trainings of both rows, seed for seed."""
    mse, active, silent = (
        {row: [run[key] for run in runs[row]] for row in ROWS} for key in ("mse", "active", "silent")
    )
    seeds = len(mse["simple"])
    gaps = [sparse - simple for simple, sparse in zip(mse["simple"], mse["sparse"], strict=True)]
    gap = spread_text(gaps, "{:+.5f}", " to ")
    rows = [
        (
            row,
            spread_text(mse[row], "{:.5f}"),
            str(PUBLISHED[row]),
            f"{spread(active[row])[0]:.1%}",
            f"{spread(silent[row])[0]:.1%}",
        )
        for row in ROWS
    ]
    found = {
        f"{row}_{name}": spread(values[row])[0]
        for name, values in (("mse", mse), ("active_fraction", active), ("silent_fraction", silent))
        for row in ROWS
    }
    if seeds > 1:
        found |= {f"{row}_mse_high": spread(mse[row])[2] for row in ROWS}
    return Study(
        **study,
        title="The table of simple against sparse",
        question="The lecture’s table gives the best mean squared error a pixel after 100 epochs on MNIST with batches "
        "of 128 and Adam: simple 0.0318, sparse 0.0301; it does not give the layers. Here the two rows differ in: "
        f"{differing}. Epochs: {epochs}; seeds: {seeds}; weights of the best epoch by validation; values of the test "
        "split. Intervals are Student’s t over seeds.",
        summary=f"Mean squared error a pixel: simple {spread_text(mse['simple'], '{:.5f}')}, sparse "
        f"{spread_text(mse['sparse'], '{:.5f}')}. The difference, seed for seed, is {gap}.",
        tables=(
            Table(
                caption=f"Mean squared error a pixel on the test split. Epochs: {epochs}; seeds: {seeds}. Active: the "
                "share of a code’s units that an item activates",
                columns=("Row", "Ours", "Lecture", "Active units", "Always 0"),
                rows=(
                    *rows,
                    ("Difference, seed for seed", gap, f"{PUBLISHED['sparse'] - PUBLISHED['simple']:+.4f}", "", ""),
                ),
            ),
        ),
        pictures=(Picture(file="table.png", caption="A dot a seed; dashed, the lecture’s value."),),
        metrics=found | {"epochs": epochs, "seeds": seeds},
    )


def draw_table(runs: Runs) -> Figure:
    """Draw every seed's error beside the published one."""
    from matplotlib.figure import Figure

    from pipelines.plots.style import ACCENT, INK

    figure = Figure(figsize=(5.2, 2.6), layout="constrained")
    axes = figure.add_subplot()
    for line, (row, color) in enumerate((("sparse", ACCENT), ("simple", INK))):
        values = [run["mse"] for run in runs[row]]
        axes.plot(values, [line] * len(values), "o", color=color, alpha=0.7, ms=7, mec="white")
        axes.plot([PUBLISHED[row]] * 2, [line - 0.3, line + 0.3], color=color, ls="--", lw=1.4)
    axes.set(xlabel="mean squared error a pixel, test split", yticks=[0, 1], yticklabels=["sparse", "simple"])
    axes.set(ylim=(-0.6, 1.6), xlim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    return figure
