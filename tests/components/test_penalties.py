from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit
from torch import Tensor, nn

from components.batches import DenseBatches
from components.models import AutoencoderSettings, TrainingRun
from components.models.autoencoder import Autoencoder
from components.networks.mlp import ACTIVATIONS
from components.penalties import Activity, ContractiveSettings, KLSparsitySettings, L1Settings
from components.penalties.contractive import ELEMENTWISE, estimated_squared_norms, jacobians, squared_norms
from components.training import measure
from items.spec import ItemSpec

PENALTIES: list[dict[str, Any]] = [
    {"kind": "l1", "weight": 0.5},
    {"kind": "kl_sparsity", "weight": 0.5, "target": 0.1},
    {"kind": "contractive", "weight": 0.5, "samples": 2},
]
penalties = pytest.mark.parametrize("penalty", PENALTIES, ids=lambda penalty: penalty["kind"])
DEEP = {"kind": "mlp", "hidden": [16], "activation": "tanh"}
ONE_LAYER = {"kind": "mlp", "hidden": [], "code_activation": "sigmoid"}


def built(item: ItemSpec, *penalties: dict[str, Any], network: dict[str, Any] = DEEP, size: int = 5) -> Autoencoder:
    return AutoencoderSettings.model_validate(
        {
            "network": network,
            "bottleneck": {"kind": "identity", "size": size},
            "penalties": penalties,
            "training": {"learning_rate": 1e-2},
        }
    ).build(item)


def activity(code: Tensor, encoder: nn.Module | None = None) -> Activity:
    return Activity(torch.zeros(len(code), 1), code, encoder or nn.Linear(1, 1), training=True)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def items(digits: np.ndarray) -> Tensor:
    return torch.tensor(digits[:12])


def test_l1_is_the_mean_over_items_of_the_sum_of_magnitudes() -> None:
    code = torch.tensor([[[1.0, -2.0], [0.0, 3.0]], [[0.5, 0.0], [0.0, -0.5]]])
    assert L1Settings(weight=0.1)(activity(code)).item() == pytest.approx(0.1 * (6 + 1) / 2)


def test_kl_sparsity_is_the_divergence_of_the_mean_activations_by_hand() -> None:
    code = torch.tensor([[0.0, -1.0], [2.0, -3.0], [-1.0, 0.5]])
    means, rho = expit(code.numpy()).mean(0), 0.2
    expected = (rho * np.log(rho / means) + (1 - rho) * np.log((1 - rho) / (1 - means))).sum()
    assert KLSparsitySettings(weight=3, target=rho)(activity(code)).item() == pytest.approx(3 * expected, rel=1e-5)


def test_kl_sparsity_takes_a_sigmoid_encoders_code_as_it_is() -> None:
    code = torch.tensor([[0.1, 0.9], [0.3, 0.4]])
    encoder = nn.Sequential(nn.Linear(1, 2), nn.Sigmoid(), nn.Unflatten(1, (2,)))
    rho, expected = 0.2, 0.0
    for mean in (0.2, 0.65):
        expected += rho * math.log(rho / mean) + (1 - rho) * math.log((1 - rho) / (1 - mean))
    assert KLSparsitySettings(weight=1, target=rho)(activity(code, encoder)).item() == pytest.approx(expected, rel=1e-5)


def test_kl_sparsity_of_dead_and_stuck_units_is_finite_and_so_is_its_gradient() -> None:
    for encoder in (nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1), nn.Sigmoid())):
        code = torch.tensor([[-1000.0, 1000.0, 0.0]] * 4, requires_grad=True)
        given_code = code.sigmoid() if isinstance(encoder, nn.Sequential) else code
        term = KLSparsitySettings(weight=1)(activity(given_code, encoder))
        term.backward()
        assert term.isfinite()
        assert code.grad.isfinite().all()
        assert term > 1


@settings(deadline=None, max_examples=30)
@given(target=st.floats(0.02, 0.98), seed=st.integers(0, 1000))
def test_kl_sparsity_is_at_least_zero_and_zero_at_its_target(target: float, seed: int) -> None:
    penalty = KLSparsitySettings(weight=1, target=target)
    code = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))
    assert penalty(activity(code)).item() >= 0
    at_target = torch.full((6, 4), math.log(target / (1 - target)))
    assert penalty(activity(at_target)).item() == pytest.approx(0, abs=1e-5)


def test_kl_sparsity_is_a_statistic_of_the_batch_that_small_batches_exaggerate() -> None:
    code, penalty = 3 * torch.randn(64, 5), KLSparsitySettings(weight=1)
    whole = penalty(activity(code)).item()
    parts = [penalty(activity(part)).item() for part in code.split(4)]
    assert np.mean(parts) > whole + 0.1


def jacobians_by_autograd(model: Autoencoder, items: Tensor) -> Tensor:
    """Return (batch, latent values, item values), one derivative of the encoder after the other."""
    rows = []
    for item in model.scaling(items):
        jacobian = torch.autograd.functional.jacobian(model.encoder, item[None])
        rows.append(jacobian.reshape(-1, item.numel()))
    return torch.stack(rows)


@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
def test_one_layers_norm_is_exact(digit: ItemSpec, items: Tensor, activation: str | None) -> None:
    model = built(digit, network=ONE_LAYER | {"code_activation": activation})
    exact = squared_norms(model.encoder, model.scaling(items))
    torch.testing.assert_close(exact, jacobians_by_autograd(model, items).square().sum((1, 2)), rtol=1e-4, atol=1e-6)


def test_every_activation_has_its_closed_form() -> None:
    assert set(ACTIVATIONS.values()) == set(ELEMENTWISE)


@pytest.mark.parametrize("network", [{"kind": "linear"}, ONE_LAYER])
def test_a_layers_formula_is_used_where_there_is_one_and_has_no_chance_in_it(
    digit: ItemSpec, items: Tensor, network: dict[str, Any]
) -> None:
    model = built(digit, {"kind": "contractive", "weight": 1}, network=network)
    before = torch.get_rng_state()
    expected = jacobians_by_autograd(model, items).square().sum((1, 2)).mean().item()
    assert model.losses(items)["contractive"].item() == pytest.approx(expected, rel=1e-4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("network", [DEEP, {"kind": "conv", "channels": 4, "downsample": 4}], ids=["mlp", "conv"])
def test_deeper_encoders_norms_are_estimated_without_bias(
    digit: ItemSpec, items: Tensor, network: dict[str, Any]
) -> None:
    model = built(digit, network=network)
    scaled, exact = model.scaling(items), jacobians_by_autograd(model, items).square().sum((1, 2))
    assert squared_norms(model.encoder, scaled) is None
    draws = torch.stack([estimated_squared_norms(model.encoder, scaled, 1).detach() for _ in range(600)])
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - exact).abs() < 4.5 * error).all()
    assert (draws.std(0) > 0).all()
    several = estimated_squared_norms(model.encoder, scaled, 600)
    torch.testing.assert_close(several.detach(), exact, rtol=0.2, atol=0)


def test_the_estimates_gradient_is_that_of_the_norm(digit: ItemSpec, items: Tensor) -> None:
    model = built(digit, size=2)
    parameters = [p for p in model.encoder.parameters() if p.ndim == 2]
    scaled = model.scaling(items)
    exact = torch.zeros(())
    for item in scaled:
        jacobian = torch.autograd.functional.jacobian(model.encoder, item[None], create_graph=True)
        exact = exact + jacobian.square().sum() / len(scaled)
    estimate = estimated_squared_norms(model.encoder, scaled, 800).mean()
    for wanted, got in zip(
        torch.autograd.grad(exact, parameters), torch.autograd.grad(estimate, parameters), strict=True
    ):
        assert wanted.norm() > 0
        assert (wanted - got).norm() < 0.1 * wanted.norm()


def test_the_closed_forms_gradient_reaches_the_weights(digit: ItemSpec, items: Tensor) -> None:
    model = built(digit, network=ONE_LAYER, size=2)
    linear = next(part for part in model.encoder if isinstance(part, nn.Linear))
    x = model.scaling(items).flatten(1)
    h = torch.sigmoid(linear(x))
    expected = ((h * (1 - h)).square() * linear.weight.square().sum(1)).sum(1).mean()
    got = squared_norms(model.encoder, model.scaling(items)).mean()
    for one, other in zip(
        torch.autograd.grad(expected, list(linear.parameters())),
        torch.autograd.grad(got, list(linear.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("network", [{"kind": "linear"}, ONE_LAYER, DEEP], ids=["linear", "one layer", "deep"])
def test_evaluating_the_contractive_term_repeats_and_leaves_the_random_state(
    digit: ItemSpec, items: Tensor, network: dict[str, Any]
) -> None:
    model = built(digit, {"kind": "contractive", "weight": 2}, network=network)
    before = torch.get_rng_state()
    first, second = measure(model, DenseBatches(items)), measure(model, DenseBatches(items))
    assert first == second
    assert first["contractive"] > 0
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        assert not model.losses(items)["contractive"].requires_grad


def test_jacobians_of_any_encoder_are_those_of_autograd(digit: ItemSpec, items: Tensor) -> None:
    for network in (DEEP, ONE_LAYER, {"kind": "conv", "channels": 4}):
        model = built(digit, network=network)
        found = jacobians(model.encoder, model.scaling(items))
        torch.testing.assert_close(found, jacobians_by_autograd(model, items), rtol=1e-4, atol=1e-6)


@penalties
def test_terms_do_not_change_when_the_batch_is_duplicated(
    digit: ItemSpec, items: Tensor, penalty: dict[str, Any]
) -> None:
    model = built(digit, penalty, network=ONE_LAYER)
    once, thrice = (model.losses(batch)[penalty["kind"]].item() for batch in (items, items.repeat(3, 1, 1, 1)))
    assert once == pytest.approx(thrice, rel=1e-5)


@penalties
def test_a_term_is_named_as_its_kind_and_weighted(digit: ItemSpec, items: Tensor, penalty: dict[str, Any]) -> None:
    single, double = (built(digit, penalty | {"weight": weight}).eval() for weight in (0.5, 1.0))
    assert set(single.losses(items)) == {"squared_error", penalty["kind"]}
    ratio = double.losses(items)[penalty["kind"]].item() / single.losses(items)[penalty["kind"]].item()
    assert ratio == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize(
    ("penalty", "penalised"),
    [
        (PENALTIES[0], lambda model, items: model.encode(items).abs().sum(1).mean().item()),
        (PENALTIES[1], lambda model, items: (model.encode(items).sigmoid().mean(0) - 0.1).abs().mean().item()),
        (
            PENALTIES[2],
            lambda model, items: jacobians(model.encoder, model.scaling(items)).norm(dim=(1, 2)).mean().item(),
        ),
    ],
    ids=["l1", "kl_sparsity", "contractive"],
)
def test_training_with_a_penalty_lowers_what_it_penalises(
    digit: ItemSpec, digits: np.ndarray, penalty: dict[str, Any], penalised: Any
) -> None:
    run = TrainingRun(digits[:600], digits[600:700], epochs=25, seed=0)
    test, found = torch.tensor(digits[700:800]), []
    for given_penalties in ((), (penalty,)):
        model = built(digit, *given_penalties)
        list(model.fit(run))
        with torch.no_grad():
            found.append(penalised(model, test))
    assert found[1] < 0.5 * found[0]


def test_a_penalty_twice_is_refused(digit: ItemSpec) -> None:
    with pytest.raises(ValidationError, match="each kind once"):
        built(digit, PENALTIES[0], PENALTIES[0])


def test_all_penalties_together_add_their_terms(digit: ItemSpec, items: Tensor) -> None:
    model = built(digit, *PENALTIES)
    assert list(model.losses(items)) == ["squared_error", "l1", "kl_sparsity", "contractive"]
    assert ContractiveSettings(weight=1).samples == 1
