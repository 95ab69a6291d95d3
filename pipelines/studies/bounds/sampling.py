"""Evidence bounds of one variational autoencoder on the test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from components.batches import as_tensor
from components.bounds import Bounds, compute_bounds
from components.data import open_dataset
from components.models import AutoencoderSettings
from components.models.autoencoder import Autoencoder
from components.settings import SettingError
from pipelines.project import StageError
from pipelines.sweep.record import read_record
from pipelines.sweep.trained import model_settings, read_model

BOUNDS = "bounds.safetensors"


def sample(out: Path, bottleneck: str, samples: int, seed: int, data: Path, run: Path) -> None:
    """Write the bounds of the best model of a run.

    Raises:
        StageError: it has another bottleneck, or the run record is missing or damaged.
        SettingError: its model has no evidence bound.
    """
    record, dataset = read_record(run), open_dataset(data)
    settings, model = model_settings(record), read_model(run, record, dataset.schema.item)
    found = settings.bottleneck.kind if isinstance(settings, AutoencoderSettings) else settings.kind
    if not isinstance(model, Autoencoder) or found != bottleneck:
        raise StageError(f"{record.experiment}: must have the bottleneck {bottleneck}, it has {found}")
    try:
        bounds = compute_bounds(model, as_tensor(np.asarray(dataset.array("test"))), samples, seed)
    except SettingError as error:
        raise error.under(f"experiments.{record.dataset}.{record.experiment}.model") from None
    arrays = {
        "reconstruction": bounds.reconstruction,
        "divergence": bounds.divergence,
        "multi_sample": bounds.multi_sample,
        "samples": np.array(bounds.samples),
        "active": bounds.active,
    }
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, out / BOUNDS)


def read_bounds(folder: Path) -> Bounds:
    """Return what :func:`sample` has written."""
    arrays = load_file(folder / BOUNDS)
    return Bounds(
        reconstruction=arrays["reconstruction"],
        divergence=arrays["divergence"],
        multi_sample=arrays["multi_sample"],
        samples=int(arrays["samples"].item()),
        active=arrays["active"],
    )
