"""Digits as prepared items, and a model of them as a bundle that is not certified yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from components.models import Model
from items.spec import ItemSpec
from pipelines.export.certificate import UNPROVEN
from pipelines.export.graphs import export_decoder, export_encoder
from serving.bundle import Bundle
from serving.manifest import Manifest

ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")
DIGITS = (load_digits().images * (255 / 16)).round().astype(np.uint8)[..., None]


def bundled(model: Model, folder: Path) -> Bundle:
    """Export a model into `folder`, which must not be there yet."""
    folder.mkdir()
    draft = Manifest(
        name="test",
        item=model.item,
        code=model.code,
        encoder=export_encoder(model, folder),
        decoder=export_decoder(model, folder),
        certificate=UNPROVEN,
        versions={},
        data_digest="",
        settings_digest="",
        weights_digest="",
        digest="",
    )
    return Bundle(folder, draft, threads=1)
