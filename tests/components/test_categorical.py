from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import kl_divergence

from components.bottlenecks import CategoricalSettings
from components.bottlenecks.categorical import Categorical
from components.settings import SettingError
from items.spec import ItemSpec

ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")


def categorical(variables: int = 4, classes: int = 5, **settings: Any) -> Categorical:
    return CategoricalSettings(variables=variables, classes=classes, **settings).build(ITEM, 1)


@pytest.fixture
def latents() -> torch.Tensor:
    return 2 * torch.randn(9, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("variables", "classes", "bits"), [(20, 2, 20), (10, 16, 40), (3, 10, 3 * math.log2(10))])
def test_bits_are_variables_times_log2_of_classes(variables: int, classes: int, bits: float) -> None:
    made = categorical(variables, classes)
    assert made.code.bits_per_item == pytest.approx(bits)
    assert made.code.shape == (variables,)
    assert made.latent_shape == made.embedding_shape == (variables, classes)


@pytest.mark.parametrize("beta", [1.0, 0.2])
def test_kl_is_the_divergence_from_uniform_that_torch_works_out(latents: torch.Tensor, beta: float) -> None:
    uniform = TorchCategorical(logits=torch.zeros(9, 4, 5))
    expected = kl_divergence(TorchCategorical(logits=latents), uniform).sum(1).mean()
    torch.testing.assert_close(categorical(beta=beta)(latents).losses["kl"], beta * expected)


def test_a_certain_choice_costs_its_bits_and_an_uncertain_one_nothing() -> None:
    certain = torch.zeros(2, 4, 5)
    certain[..., 1] = 1e4
    assert categorical()(certain).losses["kl"].item() == pytest.approx(4 * math.log(5))
    assert categorical()(torch.zeros(2, 4, 5)).losses["kl"].item() == pytest.approx(0, abs=1e-6)


def test_codes_are_the_likeliest_classes_and_what_evaluation_hands_to_the_decoder(latents: torch.Tensor) -> None:
    made = categorical().eval()
    codes = made.encode(latents)
    np.testing.assert_array_equal(codes.numpy(), latents.numpy().argmax(-1))
    one_hot = made.embed(codes)
    assert torch.equal(one_hot, torch.eye(5)[codes])
    assert torch.equal(made(latents).code, one_hot)


def test_samples_follow_the_logits() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5])
    samples = categorical(straight_through=True)(logits.expand(20_000, 4, 5)).code
    assert set(samples.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(samples.mean((0, 1)), logits.softmax(0), atol=0.01, rtol=0)


def test_relaxed_samples_harden_as_the_temperature_falls(latents: torch.Tensor) -> None:
    made = categorical(temperature=5.0, final_temperature=0.01)
    largest = []
    for progress in (0.0, 0.5, 1.0):
        made.anneal(progress)
        torch.manual_seed(0)
        samples = made(latents).code
        torch.testing.assert_close(samples.sum(-1), torch.ones(9, 4))
        largest.append(samples.amax(-1).mean().item())
    assert largest[0] < 0.5 < largest[1] < 0.95 < largest[2]


def test_the_temperature_falls_exponentially_whatever_was_asked_before() -> None:
    made = categorical(temperature=2.0, final_temperature=0.5)
    assert made.temperature == 2.0
    for progress, temperature in [(1.0, 0.5), (0.0, 2.0), (0.5, 1.0), (0.25, math.sqrt(2)), (0.5, 1.0)]:
        made.anneal(progress)
        assert made.temperature == pytest.approx(temperature)
    assert made.state_dict() == {}


def test_the_gradient_is_that_of_the_relaxed_sample_even_where_the_sample_is_hard(latents: torch.Tensor) -> None:
    weights, gradients = torch.randn(9, 4, 5), []
    for straight_through in (False, True):
        given = latents.clone().requires_grad_()
        torch.manual_seed(1)
        (categorical(straight_through=straight_through, temperature=0.7)(given).code * weights).sum().backward()
        gradients.append(given.grad)
    assert gradients[0].abs().amin(-1).max() > 0
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_choices_gap_is_how_far_its_logit_falls_short() -> None:
    made = categorical(2, 3)
    latents = torch.tensor([[[1.0, 3.0, 2.0], [0.0, -1.0, 0.0]]])
    assert torch.equal(made.choice_gaps(latents, made.encode(latents)), torch.zeros(1, 2))
    spread = (math.sqrt(2 / 3) + math.sqrt(2 / 9)) / 2  # of 1, 3, 2 and of 0, -1, 0
    for offset in (0.0, 1e6):
        gaps = made.choice_gaps(latents + offset, torch.tensor([[0, 2]]))
        np.testing.assert_allclose(gaps.numpy(), [[2 / spread, 0.0]])


def test_a_temperature_that_would_rise_is_an_error_that_names_it() -> None:
    with pytest.raises(ValidationError, match=r"must be at most temperature, 0\.3") as caught:
        CategoricalSettings(variables=2, classes=2, temperature=0.3)
    assert [error["loc"] for error in caught.value.errors()] == [("final_temperature",)]


def test_a_code_of_more_bits_than_the_raw_item_is_an_error_that_names_variables() -> None:
    assert categorical(128, 16).code.bits_per_item == ITEM.bits
    with pytest.raises(SettingError, match="variables: 129, must make a code of at most 512 bits"):
        categorical(129, 16)
