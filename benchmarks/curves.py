"""Validation curves of full runs at several learning rates, by which successive halving is tested.

python -m benchmarks.curves [EXPERIMENT …]        writes tests/pipelines/curves.json; MNIST must be prepared
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from components.data import open_dataset
from components.models import TrainingRun
from pipelines.project import Project
from pipelines.settings.params import load_params
from pipelines.settings.spaces import Distribution

EXPERIMENTS = ("linear", "basic", "deep", "fsq", "vqvae")
ITEMS = 15_000  # of the training split
POINTS = (0.0, 0.33, 0.67, 1.0)  # of the range of the learning rate, on its logarithm
RATE = "model.training.learning_rate"
FILE = Path("tests/pipelines/curves.json")
NOTE = "Validation squared error by epoch, by learning rate; python -m benchmarks.curves, 15,000 items of MNIST"


def main() -> None:
    """Train each experiment at each learning rate."""
    torch.set_num_threads(1)
    project = Project.here()
    params = load_params(project)
    data = open_dataset(project.data("mnist"))
    train, validation = (np.asarray(data.array(split)) for split in ("train", "validation"))
    curves = json.loads(FILE.read_text())["curves"] if FILE.exists() else {}
    for name in sys.argv[1:] or EXPERIMENTS:
        experiment = params.experiment("mnist", name)
        run = TrainingRun(train[:ITEMS], validation[:2000], experiment.quick.epochs, params.seed)
        curves[name] = {}
        for point in POINTS:
            chosen = {path: middle(found, point if path == RATE else 0.5) for path, found in experiment.space.items()}
            model = experiment.model_settings(chosen).build(data.schema.item, seed=params.seed)
            errors = [round(epoch.metrics["validation_squared_error"], 4) for epoch in model.fit(run, None)]
            curves[name][f"{chosen[RATE]:.3g}"] = errors
            sys.stdout.write(f"{name} {chosen[RATE]:.3g}: {errors}\n")
            sys.stdout.flush()
    FILE.write_text(json.dumps({"note": NOTE, "curves": curves}, indent=1) + "\n")


def middle(distribution: Distribution, share: float) -> float | int | str | bool:
    """Return the value below which a share of a distribution's logarithm lies."""
    low, high = (float(end) for end in distribution.arguments[:2])
    return float(low * (high / low) ** share)


if __name__ == "__main__":
    main()
