"""Texts: training on sparse rows beside the same rows in memory, and LSA beside the deep autoencoder over seeds.

python -m benchmarks.texts steps     seconds of an epoch on sparse rows, over those on the same dense array
python -m benchmarks.texts seeds     macro precision at 10 of `reuters-deep` less that of `reuters-lsa`, three seeds

Reuters must be prepared, and of params.yaml nothing but the models is read. Each prints lines of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch

from components.batches import Batches, RawItems
from components.data import PreparedDataset, open_dataset
from components.models import Model, TrainingRun
from pipelines.metrics.topics import macro, macro_interval, rank
from pipelines.project import Project
from pipelines.settings.params import Params, load_params
from pipelines.settings.spaces import corners

SEEDS, ROUNDS = 3, 5
RATE = 1e-3  # in the middle of the range that the sweep searches

Array = np.ndarray[Any, np.dtype[Any]]


def built(params: Params, name: str, data: PreparedDataset, seed: int) -> Model:
    """Build the model of an experiment."""
    experiment = params.experiments_of("reuters")[name]
    parameters = next(corners(experiment.space)) | dict.fromkeys(experiment.space, RATE)
    return experiment.model_settings(parameters).build(data.schema.item, seed)


def epoch_seconds(model: Model, items: RawItems) -> float:
    """Return the seconds of the second epoch, when all is warm."""
    began = 0.0
    for epoch in model.fit(TrainingRun(items, items[:1], epochs=2, seed=0)):
        if epoch.number == 1:
            began = time.perf_counter()
    return time.perf_counter() - began


def steps(params: Params, data: PreparedDataset) -> None:
    """Print the ratio of sparse to dense, the median of rounds that take turns."""
    rows = data.items("train")
    dense = rows[:]
    ratios = [
        epoch_seconds(built(params, "deep", data, 0), rows) / epoch_seconds(built(params, "deep", data, 0), dense)
        for _ in range(ROUNDS)
    ]
    found = {"benchmark": "texts steps", "ratio": statistics.median(ratios), "ratios": ratios}
    sys.stdout.write(json.dumps(found) + "\n")


@torch.no_grad()
def embedded(model: Model, items: RawItems) -> Array:
    """Return the codes of raw items, (n, size)."""
    model.eval()
    return torch.cat([model.encode(batch) for batch in Batches.of(items).split(1024)]).numpy()


def seeds(params: Params, data: PreparedDataset) -> None:
    """Print each seed's difference with its paired interval over queries."""
    train, test = data.topics("train"), data.topics("test")
    assert train is not None and test is not None  # noqa: S101, PT018  Reuters has topics
    precisions = {}
    for name, seed in [("lsa", 0), *(("deep", seed) for seed in range(SEEDS))]:
        model = built(params, name, data, seed)
        epochs = params.experiments_of("reuters")[name].quick.epochs
        lowest, weights = float("inf"), model.state_dict()
        for epoch in model.fit(TrainingRun(data.items("train"), data.items("validation"), epochs, seed)):
            loss = epoch.metrics.get("validation_loss", 0.0)
            if loss < lowest:
                lowest, weights = loss, {key: tensor.clone() for key, tensor in epoch.weights.items()}
        model.load_state_dict(weights)
        known, asked = (embedded(model, data.items(split)) for split in ("train", "test"))
        precisions[name, seed] = rank(known, train, asked, test).precisions[10]
    for seed in range(SEEDS):
        difference = precisions["deep", seed] - precisions["lsa", 0]
        found = {
            "benchmark": "texts seeds",
            "seed": seed,
            "deep": macro(precisions["deep", seed], test),
            "lsa": macro(precisions["lsa", 0], test),
            "difference": macro(difference, test),
            "interval": macro_interval(difference, test),
        }
        sys.stdout.write(json.dumps(found) + "\n")


def main() -> None:
    """Run one of the two."""
    parts = {"steps": steps, "seeds": seeds}
    if len(sys.argv) != 2 or sys.argv[1] not in parts:
        raise SystemExit(f"usage: python -m benchmarks.texts {'|'.join(parts)}")
    project = Project.here()
    parts[sys.argv[1]](load_params(project), open_dataset(project.data("reuters")))


if __name__ == "__main__":
    main()
