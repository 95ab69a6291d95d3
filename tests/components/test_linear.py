from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import subspace_angles
from torch import nn

from components.batches import DenseBatches
from components.models import AutoencoderSettings, PCASettings, TrainingRun
from components.networks import LinearSettings
from components.training import measure
from items.spec import ItemSpec


def test_one_linear_layer_each_way_for_items_of_any_shape() -> None:
    for item in (
        ItemSpec(kind="image", shape=(4, 5, 3), dtype="uint8"),
        ItemSpec(kind="vector", shape=(7,), dtype="float32"),
    ):
        assert LinearSettings().positions(item) == 1
        encoder, decoder = LinearSettings().build(item, (2, 3), (5,))
        for network in (encoder, decoder):
            assert [type(layer) for layer in network] == [nn.Flatten, nn.Linear, nn.Unflatten]
        assert encoder(torch.zeros(2, *item.shape)).shape == (2, 2, 3)
        assert decoder(torch.zeros(2, 5)).shape == (2, *item.shape)


def test_trained_on_digits_it_approaches_pcas_error_and_subspace(digit: ItemSpec, digits: np.ndarray) -> None:
    run = TrainingRun(digits[:1500], digits[1500:], epochs=160, seed=0)
    pca = PCASettings(size=4).build(digit)
    list(pca.fit(run))
    settings = {
        "network": {"kind": "linear"},
        "bottleneck": {"kind": "identity", "size": 4},
        "training": {"learning_rate": 2e-2, "batch_size": 128},
    }
    model = AutoencoderSettings.model_validate(settings).build(digit)
    list(model.fit(run))
    train = torch.tensor(digits[:1500])
    linear, best = (measure(each, DenseBatches(train))["squared_error"] for each in (model, pca))
    assert best * (1 - 1e-5) <= linear < best * 1.0005
    weight = next(part.weight for part in model.decoder if isinstance(part, nn.Linear))
    angles = np.degrees(subspace_angles(weight.detach().numpy(), pca.components.numpy().T))
    assert angles.max() < 1  # degree
