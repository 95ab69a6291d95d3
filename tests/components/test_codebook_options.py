"""The vector quantizer's options: a codebook that learns by gradient, cosine likeness, the rotation trick."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from components.bottlenecks import VectorQuantizerSettings
from components.bottlenecks.gradients import rotated_through, straight_through
from components.bottlenecks.vector_quantizer import VectorQuantizer
from components.models import AutoencoderSettings, TrainingRun
from items.spec import ItemSpec

ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")


def quantizer(**settings: Any) -> VectorQuantizer:
    torch.manual_seed(0)
    return VectorQuantizerSettings(**{"codebook_size": 12, "size": 3} | settings).build(ITEM, 2)


def latents(items: int = 30) -> Tensor:
    return torch.randn(items, 2, 3, generator=torch.Generator().manual_seed(1))


def unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)


def test_a_learned_codebook_has_a_loss_and_only_that_moves_it() -> None:
    made, given = quantizer(codebook="gradient"), latents().requires_grad_()
    assert [name for name, _ in made.named_parameters()] == ["codebook"]
    output = made(given)
    nearest = made.codebook.detach()[made.encode(given.detach())]
    expected = (given.detach() - nearest).square().sum((1, 2)).mean()
    torch.testing.assert_close(output.losses["codebook"].detach(), expected)
    torch.testing.assert_close(output.losses["commitment"].detach(), 0.25 * expected)

    (output.code.sum() + output.losses["commitment"]).backward(retain_graph=True)
    assert made.codebook.grad is None
    towards_latents = given.grad.clone()
    output.losses["codebook"].backward()
    assert torch.equal(given.grad, towards_latents)
    by_hand = torch.zeros(12, 3)
    for vector, index in zip(given.detach().reshape(-1, 3), made.encode(given.detach()).flatten(), strict=True):
        by_hand[index] += 2 * (made.codebook.detach()[index] - vector) / len(given)
    torch.testing.assert_close(made.codebook.grad, by_hand)


def test_a_learned_codebook_starts_by_k_means_and_revives_dead_codes_before_they_are_used() -> None:
    made = quantizer(codebook="gradient", dead_code_threshold=0.1)
    made.initialize(latents())
    distance = (latents().reshape(-1, 1, 3) - made.codebook).norm(dim=-1).amin(1)
    assert distance.mean() < 1
    with torch.no_grad():
        made.codebook[5] = 1e3
        made.counts[5] = 0
    output = made(latents())
    output.losses["codebook"].backward()
    assert (latents().reshape(-1, 3) == made.codebook[5]).all(1).any()
    assert made.codebook.grad[5].abs().sum() >= 0
    assert made.counts[5] > 0


def test_evaluation_moves_no_learned_codebook_nor_its_counts() -> None:
    made = quantizer(codebook="gradient").eval()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    made(latents())
    assert all(torch.equal(before[name], tensor) for name, tensor in made.state_dict().items())


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_cosine_compares_directions_and_embeds_unit_vectors(codebook: str) -> None:
    made = quantizer(codebook=codebook, cosine=True).eval()
    with torch.no_grad():
        made.codebook.mul_(torch.arange(1, 13)[:, None])  # lengths must not matter
    likeness = np.einsum("bps,es->bpe", unit(latents()).numpy(), unit(made.codebook.detach()).numpy())
    codes = made.encode(latents())
    np.testing.assert_array_equal(codes.numpy(), likeness.argmax(-1))
    assert torch.equal(made.encode(latents() * 7), codes)
    torch.testing.assert_close(made.embed(codes).norm(dim=-1), torch.ones(30, 2))
    assert torch.equal(made(latents()).code, made.embed(codes))
    expected = 0.25 * (unit(latents()) - made.embed(codes)).square().sum((1, 2)).mean()
    torch.testing.assert_close(made(latents()).losses["commitment"], expected)


def test_a_cosine_codebook_stays_on_the_sphere_and_follows_the_directions_it_draws() -> None:
    made = quantizer(cosine=True, codebook_size=2, dead_code_threshold=0.0, decay=0.5)
    made.codebook.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    made.sums.copy_(made.codebook / 2)
    given = torch.tensor([[[5.0, 5.0, 0.0], [0.0, 0.0, 3.0]]])
    made(given)
    mean = torch.tensor([0.5 + 0.5 * 0.5**0.5, 0.5 * 0.5**0.5, 0.0])
    torch.testing.assert_close(made.codebook, torch.stack([unit(mean), torch.tensor([0.0, 0.0, 1.0])]))
    made.initialize(latents())
    torch.testing.assert_close(made.codebook.norm(dim=-1), torch.ones(2))


def test_a_cosine_latents_gradient_is_that_of_its_direction() -> None:
    made, given = quantizer(cosine=True).eval(), latents(5).requires_grad_()
    downstream = torch.randn(5, 2, 3)
    (made(given).code * downstream).sum().backward()
    direction, length = unit(given.detach()), given.detach().norm(dim=-1, keepdim=True)
    expected = (downstream - direction * (direction * downstream).sum(-1, keepdim=True)) / length
    torch.testing.assert_close(given.grad, expected)


def test_the_rotation_is_the_one_that_takes_the_latent_to_its_code() -> None:
    torch.manual_seed(0)
    given, chosen = torch.randn(20, 5, requires_grad=True), torch.randn(20, 5)
    downstream = torch.randn(20, 5)
    code = rotated_through(chosen, given)
    assert torch.equal(code, chosen)
    (code * downstream).sum().backward()
    for latent, vector, got, down in zip(given.detach(), chosen, given.grad, downstream, strict=True):
        e, q = unit(latent), unit(vector)
        r = unit(e + q)
        rotation = torch.eye(5) - 2 * torch.outer(r, r) + 2 * torch.outer(q, e)
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(5), atol=1e-5, rtol=0)
        torch.testing.assert_close(rotation @ e, q, atol=1e-5, rtol=0)
        expected = vector.norm() / latent.norm() * rotation.T @ down
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_the_rotation_keeps_the_angle_between_gradient_and_code_where_straight_through_does_not() -> None:
    given = torch.tensor([[2.0, 0.0]], requires_grad=True)
    chosen, downstream = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0]])
    (straight_through(chosen, given) * downstream).sum().backward()
    assert given.grad.tolist() == [[0.0, 1.0]]
    given.grad = None
    (rotated_through(chosen, given) * downstream).sum().backward()
    torch.testing.assert_close(given.grad, torch.tensor([[0.5, 0.0]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("given", [[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [1e-12, 0.0]])
def test_the_rotation_survives_latents_without_or_with_the_opposite_direction(given: list[float]) -> None:
    latent = torch.tensor([given], requires_grad=True)
    code = rotated_through(torch.tensor([[1.0, 0.0]]), latent)
    code.sum().backward()
    assert code.tolist() == [[1.0, 0.0]]
    assert latent.grad.isfinite().all()


def test_rotation_changes_the_gradient_and_nothing_else() -> None:
    plain, turned = quantizer().eval(), quantizer(rotation=True).eval()
    turned.load_state_dict(plain.state_dict())
    gradients = []
    for made in (plain, turned):
        given = latents().requires_grad_()
        output = made(given)
        assert torch.equal(output.code, plain.embed(plain.encode(latents())))
        output.code.square().sum().backward()
        gradients.append(given.grad)
    nearest = plain.embed(plain.encode(latents()))
    torch.testing.assert_close(gradients[0], 2 * nearest)
    # The code itself is the downstream gradient here: turned back it points along the latent.
    expected = 2 * nearest.norm(dim=-1, keepdim=True) ** 2 * unit(latents()) / latents().norm(dim=-1, keepdim=True)
    torch.testing.assert_close(gradients[1], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("option", ["cosine", "rotation"])
def test_directions_of_one_dimension_are_an_error_that_names_the_option(option: str) -> None:
    with pytest.raises(ValidationError, match="one dimension has no directions") as caught:
        VectorQuantizerSettings.model_validate({"codebook_size": 4, "size": 1, option: True})
    assert [error["loc"] for error in caught.value.errors()] == [(option,)]


@pytest.mark.parametrize(
    "options",
    [
        {"codebook": "gradient"},
        {"cosine": True},
        {"rotation": True},
        {"codebook": "gradient", "cosine": True, "rotation": True, "dead_code_threshold": 0.5},
    ],
)
def test_every_combination_learns_digits(digits: np.ndarray, options: dict[str, Any]) -> None:
    settings = {
        "network": {"kind": "mlp", "hidden": [64]},
        "bottleneck": {"kind": "vector_quantizer", "codebook_size": 32, "size": 4, "positions": 8} | options,
        "training": {"learning_rate": 1e-2},
    }
    model = AutoencoderSettings.model_validate(settings).build(ITEM)
    *_, last = model.fit(TrainingRun(digits[:1500], digits[1500:], epochs=6, seed=0))
    variance = (digits[1500:] / 255.0).var(0).sum()
    assert last.metrics["validation_squared_error"] < 0.7 * variance
    assert last.metrics["validation_codebook_usage"] > 0.5
