"""Texts: training on sparse rows beside the same rows in memory; codes of several kinds and sizes over seeds.

python -m benchmarks.texts steps     seconds of an epoch on sparse rows, over those on the same dense array
python -m benchmarks.texts codes     what codes of several sizes and kinds find, three seeds each, beside LSA

Reuters must be prepared; the deep autoencoder is `reuters-deep` of params.yaml, with its quick epochs. Each prints
lines of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from components.batches import Batches, RawItems
from components.data import PreparedDataset, open_dataset
from components.data.schema import SplitName
from components.models import LSASettings, Model, ModelSettings, TrainingRun
from items.sparse import SparseRows
from pipelines.metrics.topics import Ranked, macro, macro_interval, rank
from pipelines.project import Project
from pipelines.settings.params import Params, load_params
from pipelines.settings.spaces import corners

SEEDS, ROUNDS = 3, 5
SIZES = (2, 10, 32, 128)
RATE = 1e-3  # in the middle of the range that the sweep searches

MODEL: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)

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
    """Return what codes of raw items are compared by, (n, dimensions): of discrete ones, the vectors they stand for."""
    model.eval()
    codes = [model.encode(batch) for batch in Batches.of(items).split(1024)]
    return torch.cat([(some if model.code.levels is None else model.embed(some)).flatten(1) for some in codes]).numpy()


def precisions(model: Model, data: PreparedDataset, epochs: int, seed: int) -> Ranked:
    """Train a model, keep the weights with the lowest validation loss, and judge what its codes find for test texts."""
    lowest, weights = float("inf"), model.state_dict()
    for epoch in model.fit(TrainingRun(data.items("train"), data.items("validation"), epochs, seed)):
        loss = epoch.metrics.get("validation_loss", 0.0)
        if loss < lowest:
            lowest, weights = loss, {key: tensor.clone() for key, tensor in epoch.weights.items()}
    model.load_state_dict(weights)
    known, asked = (embedded(model, data.items(split)) for split in ("train", "test"))
    return rank(known, topics(data, "train"), asked, topics(data, "test"))


def topics(data: PreparedDataset, split: SplitName) -> SparseRows:
    """Return the topics of a split; Reuters has them."""
    found = data.topics(split)
    assert found is not None  # noqa: S101
    return found


def variants() -> dict[str, tuple[int, dict[str, Any]]]:
    """Return, by name, the size of the LSA that it is compared with, and the settings that replace `reuters-deep`'s."""
    found: dict[str, tuple[int, dict[str, Any]]] = {
        f"deep, {size} numbers": (size, {"bottleneck": {"kind": "identity", "size": size}}) for size in SIZES
    }
    for bits in (32, 128):
        parts = {"bottleneck": {"kind": "binary", "size": bits}, "network": {"hidden": [500, 250]}}
        found[f"hash, {bits} bits"] = (10, parts)
    masking = {"kind": "masking", "share": 0.25, "fill": "zero", "clean": 0}
    quantizer = {"kind": "residual_quantizer", "depth": 4, "codebook_size": 256, "size": 10}
    return found | {
        "denoising, 10 numbers": (10, {"corruption": masking}),
        "sparse (L1), 10 numbers": (10, {"penalties": [{"kind": "l1", "weight": 0.1}]}),
        "VAE, 10 numbers": (10, {"bottleneck": {"kind": "gaussian", "size": 10}}),
        "residual VQ, 32 bits": (10, {"bottleneck": quantizer}),
    }


def codes(params: Params, data: PreparedDataset) -> None:
    """Print for each kind of code what it finds, over seeds, less what LSA finds for the same queries."""
    asked = topics(data, "test")
    lsa = {size: precisions(LSASettings(size=size).build(data.schema.item), data, 1, 0) for size in SIZES}
    for size, ranked in lsa.items():
        line(f"LSA, {size} numbers", [ranked], asked)
    deep = params.experiments_of("reuters")["deep"]
    settings = deep.model_settings(dict.fromkeys(deep.space, RATE)).model_dump(mode="json")
    for name, (size, parts) in variants().items():
        chosen = settings | parts
        chosen["network"] = settings["network"] | parts.get("network", {})
        models = [MODEL.validate_python(chosen).build(data.schema.item, seed) for seed in range(SEEDS)]
        seeds = [precisions(model, data, deep.quick.epochs, seed) for seed, model in enumerate(models)]
        line(name, seeds, asked, lsa[size], f"LSA, {size} numbers")


def line(name: str, seeds: list[Ranked], asked: SparseRows, peer: Ranked | None = None, of: str = "") -> None:
    """Print means over queries by seed, and the difference of the seeds' mean from a peer with its interval."""
    found: dict[str, Any] = {
        "benchmark": "texts codes",
        "code": name,
        "macro_precision_at_10": [round(macro(one.precisions[10], asked), 4) for one in seeds],
        "precision_at_100": [round(float(one.precisions[100].mean()), 4) for one in seeds],
        "mean_average_precision": [round(float(one.average_precisions.mean()), 4) for one in seeds],
    }
    if peer is not None:
        gain = np.mean([one.precisions[10] for one in seeds], axis=0) - peer.precisions[10]
        found |= {"from": of, "difference": macro(gain, asked), "interval": macro_interval(gain, asked)}
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run one of the two."""
    parts = {"steps": steps, "codes": codes}
    if len(sys.argv) != 2 or sys.argv[1] not in parts:
        raise SystemExit(f"usage: python -m benchmarks.texts {'|'.join(parts)}")
    project = Project.here()
    parts[sys.argv[1]](load_params(project), open_dataset(project.data("reuters")))


if __name__ == "__main__":
    main()
