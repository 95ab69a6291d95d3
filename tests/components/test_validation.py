"""A validation takes each item through the model once, and gives what losses, encode and decode give one by one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from test_bottlenecks_in_training import BOTTLENECKS
from torch import Tensor

from components import training
from components.batches import DenseBatches
from components.bottlenecks import vector_quantizer
from components.codebook_use import code_counts, codebook_metrics
from components.models import AutoencoderSettings, PCASettings, TrainingRun
from components.models.autoencoder import Autoencoder
from components.training import measure
from items.spec import ItemSpec


@pytest.fixture(scope="module")
def items(digits: np.ndarray) -> Tensor:
    return torch.tensor(digits[:50])


def built(digit: ItemSpec, items: Tensor, bottleneck: str, **settings: Any) -> Autoencoder:
    parts = {"network": {"kind": "mlp", "hidden": [16]}, "bottleneck": BOTTLENECKS[bottleneck]} | settings
    model = AutoencoderSettings.model_validate(parts).build(digit)
    with torch.no_grad():
        model.initialize(items)
    return model.eval()


@pytest.mark.parametrize("likelihood", ["squared_error", "bernoulli"])
@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
@torch.no_grad()
def test_one_pass_gives_the_values_of_the_separate_ones(
    digit: ItemSpec, items: Tensor, bottleneck: str, likelihood: str
) -> None:
    model = built(digit, items, bottleneck, likelihood={"kind": likelihood})
    found, losses, codes = model.validate(items), model.losses(items), model.encode(items)
    assert found.losses == losses
    error = (items / 255.0 - model.decode(codes)).square().flatten(1).sum(1).mean()
    if likelihood == "bernoulli":
        assert found.metrics.keys() == {"squared_error"}
        torch.testing.assert_close(found.metrics["squared_error"], error)
    else:
        assert found.metrics == {}
        torch.testing.assert_close(found.losses["squared_error"], error)
    if model.code.levels is None:
        assert found.codes is None
    else:
        assert found.codes.dtype == codes.dtype
        assert torch.equal(found.codes, codes)


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_a_validation_encodes_and_decodes_each_batch_once(
    digit: ItemSpec, items: Tensor, bottleneck: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "MEASURE_BATCH", 20)
    model, calls = built(digit, items, bottleneck, likelihood={"kind": "bernoulli"}), Counter()
    for name, module in model.named_children():
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    found = measure(model, DenseBatches(items))
    assert calls == {"scaling": 3, "encoder": 3, "bottleneck": 3, "decoder": 3}
    if model.code.levels:
        counts = code_counts(model.encode(items).numpy(), model.code.levels, model.code.alphabets)
        assert {name: found[name] for name in found if name.startswith("codebook_")} == codebook_metrics(counts)


@pytest.mark.parametrize("bottleneck", ["vector_quantizer", "residual_quantizer"])
def test_codebooks_are_searched_once(
    digit: ItemSpec, items: Tensor, bottleneck: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(digit, items, bottleneck)
    searched = []
    smallest = vector_quantizer._smallest
    monkeypatch.setattr(vector_quantizer, "_smallest", lambda distances: searched.append(1) or smallest(distances))
    measure(model, DenseBatches(items))
    assert len(searched) == {"vector_quantizer": 1, "residual_quantizer": 3}[bottleneck]


def test_a_model_without_a_pass_of_its_own_is_validated_by_losses_and_encode(digit: ItemSpec, items: Tensor) -> None:
    model = PCASettings(size=3).build(digit)
    (epoch,) = model.fit(TrainingRun(items.numpy(), items.numpy(), epochs=1, seed=0))
    assert model.validate(items).codes is None
    assert model.validate(items).losses == model.losses(items)
    assert epoch.metrics["validation_loss"] == pytest.approx(model.losses(items)["squared_error"].item())
