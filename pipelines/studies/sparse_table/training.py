"""A row of the table, trained with one seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.data import open_dataset
from components.models import AutoencoderSettings, TrainingRun
from components.training import as_tensor
from pipelines.metrics import item_metrics

RESULT = "result.json"


def train(out: Path, model: dict[str, Any], epochs: int, seed: int, data: Path) -> None:
    """Train an autoencoder and write the metrics of its best epoch by validation on the test split.

    `mse` is the mean squared error a value, `active` the share of units that an item activates, `silent` the share of
    units that are 0 for every item.
    """
    dataset = open_dataset(data)
    built = AutoencoderSettings.model_validate(model).build(dataset.schema.item, seed)
    items, validation, test = (np.asarray(dataset.array(split)) for split in ("train", "validation", "test"))
    lowest = float("inf")
    for epoch in built.fit(TrainingRun(items, validation, epochs, seed)):
        error = epoch.metrics["validation_squared_error"]
        if error < lowest:
            lowest, best = error, {name: tensor.clone() for name, tensor in built.state_dict().items()}
    built.load_state_dict(best)
    built.eval().cpu()
    with torch.no_grad():
        codes = torch.cat([built.encode(batch) for batch in torch.split(as_tensor(test), 1000)])
        rebuilt = np.concatenate([built.decode(part).numpy() for part in torch.split(codes, 1000)])
    errors = item_metrics.squared_errors(dataset.schema.item.scaled(test), rebuilt)
    result = {
        "mse": float(errors.mean()) / test[0].size,
        "active": float(item_metrics.active_fractions(codes.numpy()).mean()),
        "silent": float((codes == 0).all(0).float().mean()),
    }
    (out / RESULT).write_text(json.dumps(result))
