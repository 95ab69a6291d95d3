"""A row of the table, trained with one seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from components.data import open_dataset
from components.models import AutoencoderSettings, TrainingRun
from components.models.autoencoder import Autoencoder
from items.spec import ItemSpec

WEIGHTS = "weights.safetensors"


def train(out: Path, model: dict[str, Any], epochs: int, seed: int, data: Path) -> None:
    """Train an autoencoder and write the weights of its best epoch by validation."""
    dataset = open_dataset(data)
    built = AutoencoderSettings.model_validate(model).build(dataset.schema.item, seed)
    items, validation = (np.asarray(dataset.array(split)) for split in ("train", "validation"))
    lowest = float("inf")
    for epoch in built.fit(TrainingRun(items, validation, epochs, seed)):
        error = epoch.metrics["validation_squared_error"]
        if error < lowest:
            lowest, best = error, {name: tensor.cpu().clone() for name, tensor in built.state_dict().items()}
    save_file({name: tensor.contiguous() for name, tensor in best.items()}, out / WEIGHTS)


def read_trained(folder: Path, model: dict[str, Any], item: ItemSpec) -> Autoencoder:
    """Return the autoencoder that :func:`train` has written, ready to encode."""
    built = AutoencoderSettings.model_validate(model).build(item)
    built.load_state_dict(load_file(folder / WEIGHTS))
    return built.eval()
