from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from components.contract import Scaling
from components.models import AutoencoderSettings
from components.models.autoencoder import Autoencoder
from components.settings import SettingError
from items.spec import ItemSpec

IDENTITY = {"kind": "identity", "size": 6}
CODEBOOK = {"kind": "vector_quantizer", "codebook_size": 16, "size": 3}
MLP = {"kind": "mlp", "hidden": [24]}
CONV = {"kind": "conv", "channels": 8}


def built(item: ItemSpec, network: dict[str, Any], bottleneck: dict[str, Any], seed: int = 0) -> Autoencoder:
    return AutoencoderSettings.model_validate({"network": network, "bottleneck": bottleneck}).build(item, seed).eval()


@pytest.fixture
def items(digits: np.ndarray) -> Tensor:
    return torch.tensor(digits[:10])


def test_losses_equal_those_worked_out_in_numpy(digit: ItemSpec, items: Tensor) -> None:
    model = built(digit, {"kind": "mlp", "hidden": []}, CODEBOOK)
    (inward, outward) = (layer for layer in model.modules() if isinstance(layer, nn.Linear))
    x = items.numpy().reshape(10, 64) / 255.0
    latents = x @ inward.weight.detach().numpy().T + inward.bias.detach().numpy()
    codebook = model.bottleneck.codebook.numpy()
    nearest = codebook[np.square(latents[:, None] - codebook).sum(-1).argmin(1)]
    rebuilt = nearest @ outward.weight.detach().numpy().T + outward.bias.detach().numpy()
    losses = model.losses(items)
    assert losses["squared_error"].item() == pytest.approx(np.square(x - rebuilt).sum(1).mean(), rel=1e-5)
    assert losses["commitment"].item() == pytest.approx(0.25 * np.square(latents - nearest).sum(1).mean(), rel=1e-5)
    assert len(losses) == 2


@pytest.mark.parametrize("network", [MLP, CONV], ids=["mlp", "conv"])
@pytest.mark.parametrize("bottleneck", [IDENTITY, CODEBOOK], ids=["identity", "codebook"])
def test_losses_do_not_change_when_the_batch_is_duplicated(
    digit: ItemSpec, items: Tensor, network: dict[str, Any], bottleneck: dict[str, Any]
) -> None:
    model = built(digit, network, bottleneck)
    once, thrice = model.losses(items), model.losses(items.repeat(3, 1, 1, 1))
    assert {name: value.item() for name, value in once.items()} == pytest.approx(
        {name: value.item() for name, value in thrice.items()}, rel=1e-5
    )


def test_real_codes_have_the_latents_shape_and_decode_to_items(digit: ItemSpec, items: Tensor) -> None:
    model = built(digit, MLP, IDENTITY)
    codes = model.encode(items)
    assert codes.shape == (10, *model.code.shape) == (10, 6)
    assert torch.equal(model.embed(codes), codes)
    assert model.decode(codes).shape == (10, 8, 8, 1)
    assert model.choice_gaps(items, codes) is None


@pytest.mark.parametrize(("network", "positions"), [(MLP, 1), (CONV, 4)], ids=["mlp", "conv"])
def test_discrete_codes_are_integers_in_range(
    digit: ItemSpec, items: Tensor, network: dict[str, Any], positions: int
) -> None:
    model = built(digit, network, CODEBOOK)
    with torch.no_grad():
        model.initialize(items)
    codes = model.encode(items)
    assert codes.shape == (10, *model.code.shape) == (10, positions)
    assert not codes.dtype.is_floating_point
    assert 0 <= codes.min() < codes.max() < 16
    assert model.embed(codes).shape == (10, positions, 3)
    assert model.decode(codes).shape == (10, 8, 8, 1)
    assert torch.equal(model.choice_gaps(items, codes), torch.zeros(codes.shape))


@pytest.mark.parametrize("bottleneck", [IDENTITY, CODEBOOK], ids=["identity", "codebook"])
def test_decoding_the_codes_costs_the_squared_error_that_training_saw(
    digit: ItemSpec, items: Tensor, bottleneck: dict[str, Any]
) -> None:
    model = built(digit, CONV, bottleneck)
    difference = items / 255 - model.decode(model.encode(items))
    expected = difference.square().flatten(1).sum(1).mean().item()
    assert model.losses(items)["squared_error"].item() == pytest.approx(expected, rel=1e-5)


def test_the_seed_alone_decides_the_weights(digit: ItemSpec) -> None:
    torch.manual_seed(1)
    first = built(digit, CONV, CODEBOOK, seed=3).state_dict()
    torch.manual_seed(2)
    second = built(digit, CONV, CODEBOOK, seed=3).state_dict()
    other = built(digit, CONV, CODEBOOK, seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["bottleneck.codebook"], other["bottleneck.codebook"])
    assert not torch.equal(first["encoder.1.weight"], other["encoder.1.weight"])


def test_building_leaves_the_global_random_state_as_it_was(digit: ItemSpec) -> None:
    before = torch.get_rng_state()
    built(digit, MLP, CODEBOOK)
    assert torch.equal(torch.get_rng_state(), before)


def test_bytes_become_zero_to_one_and_floats_stay() -> None:
    bytes_ = ItemSpec(kind="vector", shape=(3,), dtype="uint8")
    floats = ItemSpec(kind="vector", shape=(3,), dtype="float32")
    scaled = Scaling(bytes_)(torch.tensor([[0, 51, 255]], dtype=torch.uint8))
    torch.testing.assert_close(scaled, torch.tensor([[0.0, 0.2, 1.0]]))
    assert Scaling(floats)(torch.tensor([[-3.0, 0.5, 700.0]])).tolist() == [[-3.0, 0.5, 700.0]]


@pytest.mark.parametrize(
    ("network", "bottleneck", "key"),
    [
        (CONV, IDENTITY, "network.kind"),
        (MLP, {"kind": "identity", "size": 13}, "bottleneck.size"),
        (
            MLP,
            {"kind": "vector_quantizer", "codebook_size": 4, "size": 2, "positions": 500},
            "bottleneck.codebook_size",
        ),
    ],
)
def test_a_part_that_cannot_work_names_its_path(network: dict[str, Any], bottleneck: dict[str, Any], key: str) -> None:
    item = ItemSpec(kind="vector", shape=(12,), dtype="float32")
    with pytest.raises(SettingError, match=f"^{key}: ") as caught:
        built(item, network, bottleneck)
    assert caught.value.key == key
