from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from components.bottlenecks import GaussianSettings
from components.bottlenecks.gaussian import Gaussian, divergence, soft_clamp
from components.settings import SettingError
from items.spec import ItemSpec

ITEM = ItemSpec(kind="image", shape=(2, 3, 1), dtype="uint8")


def gaussian(size: int = 3, **settings: float) -> Gaussian:
    return GaussianSettings(size=size, **settings).build(ITEM, 9)


@pytest.fixture
def latents() -> torch.Tensor:
    return 2 * torch.randn(7, 6, generator=torch.Generator().manual_seed(0))


def test_a_code_is_as_many_means_of_32_bits_as_its_size_says() -> None:
    made = gaussian(5)
    assert made.code.bits_per_item == 160
    assert made.code.levels is None
    assert (made.latent_shape, made.embedding_shape) == ((10,), (5,))


@pytest.mark.parametrize("beta", [1.0, 0.3, 0.0])
def test_kl_is_the_divergence_that_torch_works_out(latents: torch.Tensor, beta: float) -> None:
    deviation = (soft_clamp(latents[:, 3:]) / 2).exp()
    posterior = Independent(Normal(latents[:, :3], deviation), 1)
    prior = Independent(Normal(torch.zeros(7, 3), torch.ones(7, 3)), 1)
    expected = kl_divergence(posterior, prior)
    torch.testing.assert_close(divergence(latents[:, :3], soft_clamp(latents[:, 3:])), expected)
    torch.testing.assert_close(gaussian(beta=beta)(latents).losses["kl"], beta * expected.mean())


def test_a_standard_posterior_costs_nothing() -> None:
    assert gaussian()(torch.zeros(4, 6)).losses["kl"].item() == pytest.approx(0, abs=1e-6)


def test_evaluation_uses_the_mean_and_training_samples_around_it(latents: torch.Tensor) -> None:
    made = gaussian().eval()
    assert torch.equal(made(latents).code, latents[:, :3])
    assert torch.equal(made.embed(made.encode(latents)), made(latents).code)
    torch.manual_seed(0)
    samples = made.train()(latents[:1].repeat(100_000, 1)).code
    deviation = (latents[0, 3:] / 2).exp()
    torch.testing.assert_close(samples.mean(0), latents[0, :3], atol=0.02 * deviation.max().item(), rtol=0)
    torch.testing.assert_close(samples.std(0), deviation, rtol=0.02, atol=0)


def test_the_gradient_reaches_mean_and_variance_through_the_sample() -> None:
    latents = torch.tensor([[1.0, 0.4]], requires_grad=True)
    made = gaussian(1, beta=0.0)
    torch.manual_seed(3)
    noise = torch.randn(1).item()
    torch.manual_seed(3)
    made(latents).code.sum().backward()
    deviation = torch.tensor(0.2).exp().item()
    torch.testing.assert_close(latents.grad, torch.tensor([[1.0, noise * deviation / 2]]), rtol=1e-3, atol=0)


def test_wild_log_variances_stay_finite_and_ordinary_ones_stay_what_they_are() -> None:
    wild = torch.tensor([-1e30, -200.0, -12.0, -5.0, 0.0, 5.0, 12.0, 200.0, 1e30])
    clamped = soft_clamp(wild)
    assert clamped.isfinite().all()
    assert clamped.abs().max() <= 10.0001
    torch.testing.assert_close(clamped[3:6], wild[3:6], atol=0.01, rtol=0)
    assert (clamped[1:] >= clamped[:-1]).all()
    assert gaussian(1)(torch.tensor([[0.0, 1e30]])).losses["kl"].isfinite()


def test_a_code_wider_than_the_item_is_an_error_that_names_size() -> None:
    with pytest.raises(SettingError, match="size: 7, must be at most 6") as caught:
        gaussian(7)
    assert caught.value.key == "size"


def test_bf16_autocast_does_not_blur_the_mean() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        output = gaussian(1).eval()(torch.tensor([[1.002, 0.0]]))
    assert output.code.item() == pytest.approx(1.002, abs=1e-6)
    assert output.losses["kl"].dtype == torch.float32
