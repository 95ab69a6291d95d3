"""Greedy layer-wise pretraining and the layers that it trains, on digits."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from components.batches import DenseBatches
from components.contract import TrainingRun
from components.corruptions import MaskingNoise, NoCorruption
from components.models.tied import TiedAutoencoder
from components.penalties import ContractiveSettings
from components.pretraining import LayerEpoch, Stack, StackSettings, encoded, pretrain
from components.training import TrainingSettings, measure
from items.spec import ItemSpec

PLAIN: dict[str, Any] = {"layers": [24, 12, 6], "pretraining": {"batch_size": 64, "learning_rate": 5e-3}}


def settings(**changes: Any) -> StackSettings:
    return StackSettings.model_validate(PLAIN | changes)


def run(digits: np.ndarray, epochs: int = 2, seed: int = 0) -> TrainingRun:
    return TrainingRun(digits[:600], digits[600:700], epochs, seed)


def pretrained(stack: Stack, run: TrainingRun) -> list[LayerEpoch]:
    return list(pretrain(stack, run))


def test_a_tied_layer_computes_what_its_docstring_says(digit: ItemSpec, digits: np.ndarray) -> None:
    torch.manual_seed(0)
    layer = TiedAutoencoder(digit, 5, "sigmoid", TrainingSettings(), NoCorruption(), within_unit=True)
    torch.nn.init.normal_(layer.decoder.bias)
    linear = layer.encoder[1]
    x = digits[:7].reshape(7, 64) / 255.0
    weight, b = linear.weight.detach().double().numpy(), linear.bias.detach().double().numpy()
    h = 1 / (1 + np.exp(-(x @ weight.T + b)))
    y = 1 / (1 + np.exp(-(h @ weight + layer.decoder.bias.detach().double().numpy())))
    with torch.no_grad():
        losses = layer.losses(torch.tensor(digits[:7]))
    assert losses.keys() == {"cross_entropy"}
    expected = -(x * np.log(y) + (1 - x) * np.log(1 - y)).sum(1).mean()
    assert float(losses["cross_entropy"]) == pytest.approx(expected, rel=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(layer.decode(layer.encode(torch.tensor(digits[:7]))).flatten(1), y, atol=1e-5)
    assert sum(p.numel() for p in layer.parameters()) == 64 * 5 + 5 + 64  # one matrix for both ways


def test_a_layer_on_values_without_bounds_is_trained_on_the_squared_error() -> None:
    item = ItemSpec(kind="vector", shape=(6,), dtype="float32")
    layer = TiedAutoencoder(item, 4, "relu", TrainingSettings(), NoCorruption(), within_unit=False)
    x = torch.randn(5, 6)
    with torch.no_grad():
        rebuilt = torch.relu(x @ layer.encoder[1].weight.T) @ layer.encoder[1].weight
        assert float(layer.losses(x)["squared_error"]) == pytest.approx(float((x - rebuilt).square().sum(1).mean()))
        torch.testing.assert_close(layer.decode(layer.encode(x)), rebuilt)


def test_a_layer_sees_corrupted_items_in_training_alone_and_rebuilds_clean_ones(digit: ItemSpec) -> None:
    masking = MaskingNoise(share=1.0, fill="zero", clean=0)
    layer = TiedAutoencoder(digit, 5, "relu", TrainingSettings(), masking, within_unit=True)
    items = torch.full((3, 8, 8, 1), 255, dtype=torch.uint8)
    with torch.no_grad():
        blank = float(layer.train().losses(items)["cross_entropy"])
        assert blank == pytest.approx(64 * np.log(2))  # an all-zero item has the code 0 and logits of 0
        assert float(layer.eval().losses(items)["cross_entropy"]) != pytest.approx(blank, rel=1e-3)


def test_the_contractive_penalty_is_exact_for_a_tied_layer(digit: ItemSpec, digits: np.ndarray) -> None:
    layer = settings(contractive=0.5, activation="sigmoid").build(digit).autoencoders[0]
    items = torch.tensor(digits[:4])
    jacobians = torch.func.vmap(torch.func.jacrev(lambda x: layer.encoder(x[None])[0]))(layer.scaling(items))
    expected = 0.5 * jacobians.square().flatten(1).sum(1).mean()
    assert layer.penalties == (ContractiveSettings(weight=0.5),)
    assert float(layer.losses(items)["contractive"].detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


def test_each_layer_learns_to_rebuild_what_the_layers_below_it_give(digit: ItemSpec, digits: np.ndarray) -> None:
    stack = settings().build(digit)
    untrained = copy.deepcopy(stack)
    pretrained(stack, run(digits, epochs=6))
    items = digits[600:700]
    for before, after in zip(untrained.autoencoders, stack.autoencoders, strict=True):
        left = measure(after, DenseBatches(torch.tensor(items)))["loss"]
        assert left < 0.8 * measure(before, DenseBatches(torch.tensor(items)))["loss"]
        items = encoded(after, items)
    with torch.no_grad():
        torch.testing.assert_close(stack(torch.tensor(digits[600:700])), torch.tensor(items))


def test_a_layer_stays_as_it_is_while_the_ones_above_it_learn(digit: ItemSpec, digits: np.ndarray) -> None:
    stack = settings().build(digit)
    kept: list[torch.Tensor] = []
    order = []
    for step in pretrain(stack, run(digits)):
        order.append((step.layer, step.epoch.number))
        done = [p.detach().clone() for layer in stack.layers[: step.layer - 1] for p in layer.parameters()]
        assert len(done) == 2 * (step.layer - 1)
        assert all(torch.equal(now, then) for now, then in zip(done, kept, strict=False))
        kept = [p.detach().clone() for layer in stack.layers[: step.layer] for p in layer.parameters()]
    assert order == [(layer, epoch) for layer in (1, 2, 3) for epoch in (1, 2)]


def test_the_next_layer_sees_codes_as_they_are_in_evaluation_mode(digit: ItemSpec, digits: np.ndarray) -> None:
    layer = settings().build(digit).autoencoders[0]
    with torch.no_grad():
        expected = layer.eval().encode(torch.tensor(digits[:20]))
    layer.encoder.append(torch.nn.Dropout(0.5))
    np.testing.assert_array_equal(encoded(layer.train(), digits[:20]), expected.numpy())


def test_a_stack_is_its_layers_without_what_rebuilds(digit: ItemSpec) -> None:
    stack = settings().build(digit)
    assert sum(p.numel() for p in stack.parameters()) == 64 * 24 + 24 + 24 * 12 + 12 + 12 * 6 + 6
    assert stack.width == 6


def test_the_seed_decides_weights_and_training(digit: ItemSpec, digits: np.ndarray) -> None:
    made = {}
    for name, built, trained in (("one", 0, 0), ("same", 0, 0), ("weights", 1, 0), ("noise", 0, 1)):
        stack = settings(corruption={"kind": "masking", "share": 0.5}).build(digit, built)
        torch.manual_seed(len(made))  # of no use to it
        pretrained(stack, run(digits, epochs=1, seed=trained))
        made[name] = torch.cat([p.detach().flatten() for p in stack.parameters()])
    assert torch.equal(made["one"], made["same"])
    assert not torch.equal(made["one"], made["weights"])
    assert not torch.equal(made["one"], made["noise"])


def test_no_two_layers_and_no_two_seeds_draw_the_same(
    digit: ItemSpec, digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(TiedAutoencoder, "fit", lambda self, run: seeds.append(run.seed) or iter(()))
    stack = settings().build(digit)
    for seed in range(4):
        pretrained(stack, run(digits, seed=seed))
    assert len(set(seeds)) == len(seeds) == 12


def test_a_layer_may_be_wider_than_what_it_sees(digit: ItemSpec, digits: np.ndarray) -> None:
    stack = settings(layers=[100, 200], activation="sigmoid").build(digit)
    steps = pretrained(stack, run(digits, epochs=1))
    assert all("train_cross_entropy" in step.epoch.metrics for step in steps)  # sigmoids lie in 0-1, as bytes do
    assert stack(torch.tensor(digits[:3])).shape == (3, 200)


def test_a_stack_has_layers() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        StackSettings.model_validate({"layers": []})
