"""sparse_table: the lecture's table of a simple and a sparse autoencoder, rerun: is sparse really better?

python -m pipelines.studies.sparse_table NAME

The lecture's protocol: MNIST, 100 epochs, batches of 128, Adam, the best mean squared error a pixel. It says nothing of
the layers, so the settings do.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from components import metrics
from components.data import open_dataset
from components.models import AutoencoderSettings, TrainingRun
from components.training import as_tensor
from pipelines.plots.style import ACCENT, INK
from pipelines.project import Project, stage
from pipelines.settings.params import load_params
from pipelines.studies import remembered
from pipelines.studies.contract import Picture, Study, Table, differences, publish, spread
from pipelines.studies.settings import SeedsBudget, SparseTableSettings

PUBLISHED = {"simple": 0.0318, "sparse": 0.0301}
EVERY = 20.0  # seconds between two lines of progress

Found = dict[str, list[dict[str, float]]]  # a row's figures, a seed each


def main(name: str) -> None:
    """Rerun the table that `studies.sparse_table.<name>` describes."""
    project = Project.here()
    params = load_params(project)
    settings = params.study(SparseTableSettings, f"sparse_table.{name}")
    budget = settings.budget(params.budget)
    data = open_dataset(project.data(settings.dataset))
    rows = {"simple": settings.simple, "sparse": settings.sparse}
    parts = [
        {
            "data": str(data.folder),
            "digest": data.schema.digest,
            "row": row,
            "model": model.model_dump(mode="json"),
            "epochs": budget.epochs,
            "seed": params.seed + seed,
        }
        for seed in range(budget.seeds)
        for row, model in rows.items()
    ]
    results = remembered(project, parts, train_one)
    found = {row: [r for part, r in zip(parts, results, strict=True) if part["row"] == row] for row in rows}
    publish(project, describe(name, settings, budget, found), {"table.png": draw_table(found)})


def train_one(*, data: str, digest: str, row: str, model: dict[str, Any], epochs: int, seed: int) -> dict[str, float]:
    """Train a row with one seed; return the test split's figures with the weights of its best epoch by validation."""
    dataset = open_dataset(Path(data))
    built = AutoencoderSettings.model_validate(model).build(dataset.schema.item, seed)
    train, validation, test = (np.asarray(dataset.array(split)) for split in ("train", "validation", "test"))
    lowest, said = float("inf"), time.monotonic()
    for epoch in built.fit(TrainingRun(train, validation, epochs, seed)):
        error = epoch.metrics["validation_squared_error"]
        if error < lowest:
            lowest, best = error, {name: tensor.clone() for name, tensor in built.state_dict().items()}
        if time.monotonic() - said > EVERY or epoch.number == epochs:
            said = time.monotonic()
            sys.stdout.write(f"{row}, seed {seed}: epoch {epoch.number}/{epochs}, mse {error / test[0].size:.5f}\n")
            sys.stdout.flush()
    built.load_state_dict(best)
    built.eval().cpu()
    with torch.no_grad():
        codes = torch.cat([built.encode(batch) for batch in torch.split(as_tensor(test), 1000)])
        rebuilt = np.concatenate([built.decode(part).numpy() for part in torch.split(codes, 1000)])
    errors = metrics.squared_errors(dataset.schema.item.scaled(test), rebuilt)
    return {
        "mse": float(errors.mean()) / test[0].size,
        "active": float(metrics.active_fractions(codes.numpy()).mean()),
        "silent": float((codes == 0).all(0).float().mean()),
    }


def describe(name: str, settings: SparseTableSettings, budget: SeedsBudget, found: Found) -> Study:
    """Put the figures into words and tables."""
    mse = {row: spread([run["mse"] for run in runs]) for row, runs in found.items()}
    active, silent = (
        {row: spread([run[key] for run in runs]) for row, runs in found.items()} for key in ("active", "silent")
    )
    pairs = zip(found["simple"], found["sparse"], strict=True)
    gap, low, high = spread([simple["mse"] - sparse["mse"] for simple, sparse in pairs])
    seeds = f"{budget.seeds} seed{'s' * (budget.seeds > 1)}"
    differing = differences(settings.simple.model_dump(), settings.sparse.model_dump())
    if low > 0:
        verdict = f"Sparse is better by {gap:.5f} ({low:.5f} to {high:.5f})."
    elif high < 0:
        verdict = f"Sparse is not better: its error is higher by {-gap:.5f} ({-high:.5f} to {-low:.5f})."
    else:
        verdict = f"With {seeds} the two do not differ significantly."
    beaten = [f"{row} {against(mse[row], figure)} {figure}" for row, figure in PUBLISHED.items()]
    return Study(
        kind="sparse_table",
        name=name,
        dataset=settings.dataset,
        title="The table of simple against sparse",
        question="The lecture’s table gives the best mean squared error a pixel after 100 epochs on MNIST with batches "
        "of 128 and Adam: simple 0.0318, sparse 0.0301; it does not give the layers. Here the two rows differ in: "
        f"{differing}; {budget.epochs} epochs, {seeds}, the weights of the best epoch by validation, measured on the "
        "test split. Intervals are Student’s t over seeds.",
        findings=(
            f"Sparse {in_words(mse['sparse'])}, simple {in_words(mse['simple'])}. {verdict}",
            f"Against the lecture’s figures: {', '.join(beaten)}.",
            f"Of a code’s units, an item activates {active['sparse'][0]:.0%} in the sparse and "
            f"{active['simple'][0]:.0%} in the simple autoencoder; {silent['sparse'][0]:.0%} and "
            f"{silent['simple'][0]:.0%} are 0 for every item.",
        ),
        tables=(
            Table(
                caption=f"Mean squared error a pixel on the test split, {budget.epochs} epochs, {seeds}",
                columns=("Row", "Ours", "Lecture", "Active units", "Always 0"),
                rows=tuple(
                    (row, in_words(mse[row]), str(PUBLISHED[row]), f"{active[row][0]:.1%}", f"{silent[row][0]:.1%}")
                    for row in ("simple", "sparse")
                ),
            ),
        ),
        pictures=(Picture(file="table.png", caption="A dot a seed; dashed, the lecture’s figure."),),
        figures={f"{row}_mse": mse[row][0] for row in found}
        | {f"{row}_active_fraction": active[row][0] for row in found}
        | {f"{row}_silent_fraction": silent[row][0] for row in found}
        | {"epochs": budget.epochs, "seeds": budget.seeds}
        | ({f"{row}_mse_high": mse[row][2] for row in found} if budget.seeds > 1 else {}),
    )


def against(figures: tuple[float, float, float], published: float) -> str:
    """Say on which side of a published figure a mean lies, where its interval does not hold that figure."""
    mean, low, high = figures
    if low <= published <= high:
        return "not significantly different from"
    return "below" if mean < published else "above"


def in_words(figures: tuple[float, float, float]) -> str:
    """Return a mean with its interval over seeds, where there are several: `0.01745 (0.01739–0.01751)`."""
    mean, low, high = figures
    return f"{mean:.5f}" + (f" ({low:.5f}–{high:.5f})" if low == low else "")


def draw_table(found: Found) -> Figure:
    """Draw every seed's error beside the published one."""
    figure = Figure(figsize=(5.2, 2.6), layout="constrained")
    axes = figure.add_subplot()
    for line, (row, color) in enumerate((("sparse", ACCENT), ("simple", INK))):
        values = [run["mse"] for run in found[row]]
        axes.plot(values, [line] * len(values), "o", color=color, alpha=0.7, ms=7, mec="white")
        axes.plot([PUBLISHED[row]] * 2, [line - 0.3, line + 0.3], color=color, ls="--", lw=1.4)
    axes.set(xlabel="mean squared error a pixel, test split", yticks=[0, 1], yticklabels=["sparse", "simple"])
    axes.set(ylim=(-0.6, 1.6), xlim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    stage(main)
