from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from components.batches import DenseBatches
from components.likelihoods import Bernoulli
from components.models import AutoencoderSettings, TrainingRun
from components.models.autoencoder import Autoencoder
from components.settings import SettingError
from components.training import measure
from items.spec import ItemSpec

VECTOR = ItemSpec(kind="vector", shape=(9,), dtype="float32")


def built(item: ItemSpec, **settings: Any) -> Autoencoder:
    parts = {"network": {"kind": "mlp", "hidden": [24]}, "bottleneck": {"kind": "identity", "size": 6}}
    return (
        AutoencoderSettings.model_validate(parts | {"likelihood": {"kind": "bernoulli"}} | settings).build(item).eval()
    )


@pytest.fixture
def items(digits: np.ndarray) -> Tensor:
    return torch.tensor(digits[:10])


def test_cross_entropy_is_that_of_the_definition_in_nats_and_summed_over_an_item() -> None:
    items, logits = torch.tensor([[[0.0], [0.25]], [[1.0], [1.0]]]), torch.tensor([[[0.0], [1.0]], [[-2.0], [3.0]]])
    chance = [1 / (1 + math.exp(-value)) for value in (0, 1, -2, 3)]
    expected = [
        -math.log(1 - chance[0]) - 0.25 * math.log(chance[1]) - 0.75 * math.log(1 - chance[1]),
        -math.log(chance[2]) - math.log(chance[3]),
    ]
    assert Bernoulli().errors(items, logits).tolist() == pytest.approx(expected, rel=1e-6)


def test_sure_logits_of_any_size_have_a_finite_loss() -> None:
    assert Bernoulli().errors(torch.tensor([[0.0, 1.0]]), torch.tensor([[1e4, 1e4]])).tolist() == [1e4]


def test_the_loss_is_the_cross_entropy_of_the_probabilities_that_decode_gives(digit: ItemSpec, items: Tensor) -> None:
    model = built(digit)
    x, p = items / 255.0, model.decode(model.encode(items)).double()
    assert p.shape == items.shape
    assert 0 <= p.min() <= p.max() <= 1
    each = -(x * p.log() + (1 - x) * (1 - p).log())
    losses = model.losses(items)
    assert list(losses) == ["cross_entropy"]
    assert losses["cross_entropy"].item() == pytest.approx(each.flatten(1).sum(1).mean().item(), rel=1e-5)


def test_the_squared_error_is_a_metric_and_not_summed_into_the_loss(digit: ItemSpec, items: Tensor) -> None:
    model = built(digit, bottleneck={"kind": "gaussian", "size": 6})
    found = measure(model, DenseBatches(items))
    assert found["loss"] == pytest.approx(found["cross_entropy"] + found["kl"], rel=1e-6)
    expected = (items / 255.0 - model.decode(model.encode(items))).square().flatten(1).sum(1).mean()
    assert found["squared_error"] == pytest.approx(expected.item(), rel=1e-5)


def test_a_squared_error_loss_is_counted_once(digit: ItemSpec, items: Tensor) -> None:
    model = built(digit, likelihood={"kind": "squared_error"})
    assert model.validate(items).metrics == {}
    found = measure(model, DenseBatches(items))
    assert found["loss"] == found["squared_error"]


def test_training_lowers_the_cross_entropy_below_that_of_the_mean_item(digit: ItemSpec, digits: np.ndarray) -> None:
    model = built(digit, training={"batch_size": 32, "learning_rate": 0.01})
    train, validation = digits[:1200], digits[1200:1500]
    epochs = list(model.fit(TrainingRun(train, validation, epochs=5, seed=0)))
    mean = torch.tensor(train / 255.0).mean(0, keepdim=True).clamp(1e-4, 1 - 1e-4)
    blind = Bernoulli().errors(torch.tensor(validation / 255.0), mean.logit().expand(300, 8, 8, 1)).mean().item()
    assert epochs[-1].metrics["validation_cross_entropy"] < 0.85 * blind
    assert epochs[-1].metrics["train_loss"] == epochs[-1].metrics["train_cross_entropy"]
    assert epochs[-1].metrics["validation_squared_error"] < epochs[0].metrics["validation_squared_error"]


def test_binarization_draws_anew_in_training_and_leaves_evaluations_alone(digit: ItemSpec, items: Tensor) -> None:
    model = built(digit, likelihood={"kind": "bernoulli", "binarize": True})
    model.requires_grad_(False)
    seen: list[Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert torch.equal(model.losses(items)["cross_entropy"], model.losses(items)["cross_entropy"])
    assert torch.equal(seen[0], items / 255.0)
    model.train()
    torch.manual_seed(0)
    drawn = [model.losses(items[:1].repeat(4000, 1, 1, 1)) for _ in range(2)]
    first, second = seen[-2:]
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(first, second)
    torch.testing.assert_close(first.mean(0), items[0] / 255.0, atol=0.04, rtol=0)
    # The error is against what was drawn, not against the grey item.
    expected = Bernoulli().errors(first, model.decoder(model.encoder(first))).mean()
    torch.testing.assert_close(drawn[0]["cross_entropy"], expected)


def test_items_that_are_not_sure_to_be_in_0_1_are_refused() -> None:
    with pytest.raises(SettingError, match=r"^likelihood\.kind: bernoulli, must be squared_error: items are float32"):
        built(VECTOR)
    assert built(VECTOR.model_copy(update={"dtype": "uint8"})).likelihood == Bernoulli()


def test_binarization_without_a_likelihood_is_refused(digit: ItemSpec) -> None:
    with pytest.raises(ValidationError, match="binarize"):
        built(digit, likelihood={"kind": "squared_error", "binarize": True})
