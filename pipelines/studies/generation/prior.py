"""A prior over the codes of a quantizer, trained on those of the training split."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from components.contract import TrainingRun
from components.data import PreparedDataset, open_dataset
from components.data.schema import SplitName
from components.prior import PixelCNN, PriorSettings
from pipelines.project import StageError
from serving.bundle import Bundle

Array = np.ndarray[Any, np.dtype[Any]]

PRIOR = "prior.safetensors"


def train(out: Path, settings: dict[str, Any], epochs: int, seed: int, data: Path, quantizer: Path) -> None:
    """Train a prior and write the weights of its best epoch by validation.

    Raises:
        StageError: the quantizer's codes are not discrete.
    """
    bundle, dataset = Bundle.load(quantizer, threads=1), open_dataset(data)
    levels = levels_of(bundle)
    codes, validation = (flat_codes(bundle, dataset, split) for split in ("train", "validation"))
    prior = PriorSettings.model_validate(settings).build(codes.shape[1], levels, seed)
    lowest, best = math.inf, prior.state_dict()
    for epoch in prior.fit(TrainingRun(codes, validation, epochs, seed)):
        if (bits := epoch.metrics["validation_bits"]) < lowest:
            lowest, best = bits, {name: tensor.cpu().clone() for name, tensor in epoch.state.part("model").items()}
    save_file({name: tensor.contiguous() for name, tensor in best.items()}, out / PRIOR)


def read_prior(folder: Path, settings: PriorSettings, positions: int, levels: int) -> PixelCNN:
    """Return the prior that :func:`train` has written."""
    prior = settings.build(positions, levels)
    prior.load_state_dict(load_file(folder / PRIOR))
    return prior


def levels_of(bundle: Bundle) -> int:
    """Return how many values an element of a discrete code may have.

    Raises:
        StageError: the code is not discrete.
    """
    levels = bundle.manifest.code.levels
    if levels is None:
        raise StageError(f"quantizer: {code_text(bundle)}, a prior is trained on discrete codes")
    return levels


def flat_codes(bundle: Bundle, data: PreparedDataset, split: SplitName) -> Array:
    """Return the discrete codes of a split, (n, positions) int64."""
    codes = bundle.encode(np.asarray(data.array(split)))
    return codes.reshape(len(codes), -1).astype(np.int64)


def code_text(bundle: Bundle) -> str:
    """Return whose code is what: `mnist-vqvae has a code of 49 integers below 512`."""
    code = bundle.manifest.code
    numbers = "real numbers" if code.levels is None else f"integers below {code.levels}"
    return f"{bundle.name} has a code of {math.prod(code.shape)} {numbers}"
