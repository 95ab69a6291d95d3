from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from components.batches import DenseBatches
from components.corruptions import GaussianNoise, MaskingNoise, NoCorruption, SaltAndPepperNoise
from components.models import AutoencoderSettings, TrainingRun
from components.models.autoencoder import Autoencoder
from components.state import State
from components.training import measure
from items.spec import ItemSpec

NOISES: list[dict[str, Any]] = [
    {"kind": "gaussian", "sigma": 0.5},
    {"kind": "masking", "share": 0.5},
    {"kind": "salt_and_pepper", "share": 0.5},
]
noises = pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise["kind"])


def built(
    item: ItemSpec, noise: dict[str, Any], seed: int = 0, hidden: int = 16, size: int = 4, learning_rate: float = 1e-3
) -> Autoencoder:
    settings = {
        "network": {"kind": "mlp", "hidden": [hidden]},
        "bottleneck": {"kind": "identity", "size": size},
        "training": {"learning_rate": learning_rate},
    }
    return AutoencoderSettings.model_validate(settings | {"corruption": noise}).build(item, seed)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_no_corruption_is_the_default_and_gives_the_items_themselves() -> None:
    items = torch.rand(2, 3)
    assert NoCorruption()(items) is items
    settings = {"network": {"kind": "linear"}, "bottleneck": {"kind": "identity", "size": 4}}
    assert AutoencoderSettings.model_validate(settings).corruption == NoCorruption()


def test_gaussian_noise_has_its_deviation_no_bias_and_no_clip() -> None:
    noise = GaussianNoise(sigma=0.4)(torch.ones(200, 500)) - 1
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    assert noise.std().item() == pytest.approx(0.4, abs=0.005)
    assert (noise > 0).double().mean().item() == pytest.approx(0.5, abs=0.01)


@settings(deadline=None, max_examples=20)
@given(share=st.floats(0.01, 1))
def test_masking_fills_its_share_as_asked_and_leaves_the_rest(share: float) -> None:
    items = torch.rand(100, 10, 10, 1) + 0.01
    zeros, means = (MaskingNoise(share=share, fill=fill)(items) for fill in ("zero", "mean"))
    for masked, fill in ((zeros, torch.zeros(())), (means, items.mean(0))):
        assert ((masked == fill) | (masked == items)).all()
        assert (masked == fill).double().mean().item() == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("light", [False, True])
def test_masking_keeps_the_mean_by_default(digits: np.ndarray, light: bool) -> None:
    items = torch.tensor(255 - digits if light else digits) / 255
    assert MaskingNoise(share=0.5)(items).mean().item() == pytest.approx(items.mean().item(), rel=0.01)


@noises
def test_a_share_of_items_is_left_clean_while_training_and_none_while_evaluating(noise: dict[str, Any]) -> None:
    items = torch.rand(2000, 5, 5, 1)
    corruption = built(ItemSpec(kind="image", shape=(5, 5, 1), dtype="uint8"), noise | {"clean": 0.3}).corruption
    unchanged = (corruption.some(items) == items).flatten(1).all(1)
    assert unchanged.double().mean().item() == pytest.approx(0.3, abs=0.04)
    assert not (corruption(items) == items).flatten(1).all(1).any()


@pytest.mark.parametrize("light", [False, True])
def test_a_denoiser_rebuilds_clean_items_nearly_as_a_plain_autoencoder_does(
    digit: ItemSpec, digits: np.ndarray, light: bool
) -> None:
    items = 255 - digits if light else digits
    errors = {}
    for kind, share in (("none", {}), ("masking", {"share": 0.5})):
        model = built(digit, {"kind": kind, **share}, hidden=64, size=16, learning_rate=5e-3)
        *_, last = model.fit(TrainingRun(items[:1500], items[1500:], epochs=15, seed=0))
        errors[kind] = last.metrics["validation_squared_error"]
    assert errors["masking"] < 1.3 * errors["none"]


@settings(deadline=None, max_examples=20)
@given(share=st.floats(0.01, 1))
def test_salt_and_pepper_sets_half_its_share_to_zero_and_half_to_one(share: float) -> None:
    items = torch.rand(100, 10, 10, 1) * 0.8 + 0.1
    noisy = SaltAndPepperNoise(share=share)(items)
    assert ((noisy == 0) | (noisy == 1) | (noisy == items)).all()
    for extreme in (0, 1):
        assert (noisy == extreme).double().mean().item() == pytest.approx(share / 2, abs=0.03)


@noises
def test_the_clean_items_stay_as_they_are_and_each_call_draws_anew(noise: dict[str, Any], digit: ItemSpec) -> None:
    items = torch.rand(5, 8, 8, 1)
    before = items.clone()
    corruption = built(digit, noise).corruption
    first, second = corruption(items), corruption(items)
    assert torch.equal(items, before)
    assert not torch.equal(first, second)


@noises
def test_the_encoder_sees_the_corrupted_item_and_the_loss_the_clean_one(
    noise: dict[str, Any], digit: ItemSpec, digits: np.ndarray
) -> None:
    model, items = built(digit, noise).train(), torch.tensor(digits[:20])
    seen: list[Tensor] = []
    model.encoder.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    torch.manual_seed(3)
    loss = model.losses(items)["squared_error"]
    torch.manual_seed(3)
    assert torch.equal(seen[0], model.corruption.some(items / 255.0))
    rebuilt = model.decoder(model.encoder(seen[0]))
    assert loss.item() == pytest.approx((items / 255 - rebuilt).square().sum((1, 2, 3)).mean().item(), rel=1e-5)


@noises
def test_evaluating_and_encoding_are_of_clean_items_and_draw_nothing(
    noise: dict[str, Any], digit: ItemSpec, digits: np.ndarray
) -> None:
    items = torch.tensor(digits[:20])
    noisy, plain = built(digit, noise).train(), built(digit, {"kind": "none"}).train()
    before = torch.get_rng_state()
    assert torch.equal(noisy.encode(items), plain.encode(items))
    assert measure(noisy, DenseBatches(items)) == measure(plain, DenseBatches(items))
    assert torch.equal(torch.get_rng_state(), before)


@noises
def test_a_resumed_denoising_run_is_the_straight_run_bit_for_bit(
    noise: dict[str, Any], digit: ItemSpec, digits: np.ndarray
) -> None:
    run = TrainingRun(digits[:200], digits[200:300], epochs=3, seed=5)

    def epochs(model: Autoencoder, resume: State | None = None) -> Iterator[Any]:
        return model.fit(run, resume)

    *_, straight = epochs(built(digit, noise))
    content = next(epochs(built(digit, noise))).state.to_bytes()
    torch.manual_seed(17)  # the global state at the time of resuming must not matter
    *_, resumed = epochs(built(digit, noise, seed=9), State.from_bytes(content))
    assert straight.state.tensors.keys() == resumed.state.tensors.keys()
    for name, tensor in straight.state.tensors.items():
        assert torch.equal(tensor, resumed.state.tensors[name]), name


def test_denoising_rebuilds_noisy_digits_better_than_a_plain_autoencoder(digit: ItemSpec, digits: np.ndarray) -> None:
    run = TrainingRun(digits[:1500], digits[1500:], epochs=30, seed=0)
    settings = {
        "network": {"kind": "mlp", "hidden": [128]},
        "bottleneck": {"kind": "identity", "size": 32},
        "training": {"learning_rate": 5e-3},
    }
    clean = torch.tensor(digits[1500:]) / 255
    masking = MaskingNoise(share=0.4, fill="zero")
    noisy = masking(clean)
    errors = {}
    for kind in ("none", "masking"):
        noise = masking.model_dump() if kind == "masking" else {"kind": "none"}
        model = AutoencoderSettings.model_validate(settings | {"corruption": noise}).build(digit)
        list(model.fit(run))
        with torch.no_grad():
            errors[kind] = (model.eval().decoder(model.encoder(noisy)) - clean).square().sum((1, 2, 3)).mean().item()
    assert errors["masking"] < 0.6 * errors["none"]
