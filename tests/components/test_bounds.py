"""Evidence bounds against values worked out by summing over every code, which a tiny categorical model allows."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from components import likelihoods
from components.bottlenecks import BinarySettings, CategoricalSettings, GaussianSettings
from components.bottlenecks.contract import Bottleneck
from components.bounds import active_variables, compute_bounds
from components.models import AutoencoderSettings, TrainingRun
from components.models.autoencoder import Autoencoder
from components.settings import SettingError
from items.spec import ItemSpec

TINY = {"kind": "categorical", "variables": 3, "classes": 4}


def built(item: ItemSpec, bottleneck: dict[str, Any], **settings: Any) -> Autoencoder:
    parts = {"network": {"kind": "mlp", "hidden": [24]}, "bottleneck": bottleneck, "likelihood": {"kind": "bernoulli"}}
    return AutoencoderSettings.model_validate(parts | settings).build(item).eval()


@pytest.fixture(scope="module")
def trained(digit: ItemSpec, digits: np.ndarray) -> Autoencoder:
    model = built(
        digit,
        TINY,
        likelihood={"kind": "bernoulli", "binarize": True},
        training={"batch_size": 32, "learning_rate": 0.01},
    )
    for _ in model.fit(TrainingRun(digits[:1000], digits[1000:1200], epochs=15, seed=0)):
        pass
    return model


def black_and_white(digits: np.ndarray) -> Tensor:
    """Items that binarization leaves as they are."""
    return torch.tensor(np.where(digits > 100, 255, 0).astype(np.uint8))


def test_bounds_of_a_categorical_model_are_those_of_summing_over_all_its_codes(
    trained: Autoencoder, digits: np.ndarray
) -> None:
    items = black_and_white(digits[1200:1240])
    codes = torch.tensor(list(itertools.product(range(4), repeat=3)))
    with torch.no_grad():
        posterior = Categorical(logits=trained.latents(items))
        log_q = torch.stack([posterior.log_prob(code.expand(40, 3)).sum(1) for code in codes])  # (64, 40)
        logits = trained.decoder(trained.bottleneck.embed(codes))
        log_p = torch.stack([-likelihoods.Bernoulli().errors(items / 255.0, row.expand(40, 8, 8, 1)) for row in logits])
        log_prior = -3 * np.log(4)
        bound = (log_q.exp() * (log_q - log_prior - log_p)).sum(0)
        evidence = -(log_p + log_prior).logsumexp(0)
    found = compute_bounds(trained, items, samples=4000, seed=0)
    assert found.negative_bound.mean() == pytest.approx(bound.mean().item(), abs=0.1)
    assert found.multi_sample.mean() == pytest.approx(evidence.mean().item(), abs=0.1)
    assert evidence.mean() < bound.mean()
    few = compute_bounds(trained, items, samples=5, seed=0).multi_sample.mean()
    assert evidence.mean() - 0.1 < few < bound.mean() + 0.1


def test_bounds_are_computed_in_evaluation_mode(digit: ItemSpec, digits: np.ndarray) -> None:
    model, items = built(digit, TINY), black_and_white(digits[:20])
    expected = compute_bounds(model, items, samples=1, seed=0).divergence
    model.encoder.append(torch.nn.Dropout(0.5))
    np.testing.assert_array_equal(compute_bounds(model.train(), items, samples=1, seed=0).divergence, expected)


def test_the_codes_of_the_bound_are_drawn_and_no_argmax(trained: Autoencoder, digits: np.ndarray) -> None:
    items = black_and_white(digits[1200:1600])
    with torch.no_grad():
        flattering = likelihoods.Bernoulli().errors(
            items / 255.0, trained.decoder(trained.bottleneck(trained.latents(items)).code)
        )
    assert compute_bounds(trained, items, samples=20, seed=0).reconstruction.mean() > flattering.mean().item() + 0.5


def test_the_weight_of_the_divergence_changes_the_loss_and_not_the_bound(digit: ItemSpec, digits: np.ndarray) -> None:
    items = torch.tensor(digits[:50])
    plain, heavy = (built(digit, {"kind": "gaussian", "size": 4, "beta": beta}) for beta in (1, 7))
    heavy.load_state_dict(plain.state_dict())
    assert heavy.losses(items)["kl"].item() == pytest.approx(7 * plain.losses(items)["kl"].item(), rel=1e-5)
    first, second = (compute_bounds(model, items, samples=3, seed=0) for model in (plain, heavy))
    np.testing.assert_array_equal(first.negative_bound, second.negative_bound)


def test_the_binary_items_and_the_samples_depend_on_the_seed_alone(digit: ItemSpec, digits: np.ndarray) -> None:
    model, items = built(digit, TINY), torch.tensor(digits[:30])
    state = torch.get_rng_state()
    first, again, other = (compute_bounds(model, items, samples=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(first.negative_bound, again.negative_bound)
    assert not np.array_equal(first.negative_bound, other.negative_bound)


def test_grey_items_are_drawn_black_or_white_with_their_value_as_chance(digit: ItemSpec, digits: np.ndarray) -> None:
    model, seen = built(digit, TINY), list[Tensor]()
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    compute_bounds(model, torch.tensor(digits[:1]).repeat(4000, 1, 1, 1), samples=1, seed=0)
    binary = torch.cat(seen)
    assert set(binary.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(binary.mean(0), torch.tensor(digits[0] / 255.0).float(), atol=0.04, rtol=0)


BOTTLENECKS: dict[str, tuple[Bottleneck, int]] = {
    "gaussian": (GaussianSettings(size=3).build(ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8"), 1), 6),
    "categorical": (
        CategoricalSettings(variables=3, classes=4).build(ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8"), 1),
        12,
    ),
    "binary": (BinarySettings(size=3, noise=True).build(ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8"), 1), 3),
}


@pytest.mark.parametrize("kind", BOTTLENECKS)
def test_a_posteriors_draws_have_its_mean_and_its_divergence(kind: str) -> None:
    bottleneck, size = BOTTLENECKS[kind]
    latents = 1.5 * torch.randn(1, size, generator=torch.Generator().manual_seed(0))
    latents = latents.reshape(1, *bottleneck.latent_shape).expand(200_000, *bottleneck.latent_shape)
    posterior = bottleneck.posterior(latents)
    assert posterior is not None
    torch.manual_seed(0)
    codes, log_ratio = posterior.draw()
    torch.testing.assert_close(codes.mean(0), posterior.mean[0], atol=0.02, rtol=0)
    assert log_ratio.mean().item() == pytest.approx(posterior.divergence[0].item(), abs=0.02)
    if bottleneck.code.levels is not None:  # as served: codes of a discrete bottleneck are never in between
        assert set(codes.unique().tolist()) <= {-1.0, 0.0, 1.0}


def test_log_ratios_are_those_that_torch_works_out() -> None:
    latents = 2 * torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    gaussian, binary = BOTTLENECKS["gaussian"][0], BOTTLENECKS["binary"][0]
    code, ratio = gaussian.posterior(latents).draw()  # type: ignore[union-attr]
    mean, log_variance = gaussian.moments(latents)  # type: ignore[operator]
    q, p = (
        Independent(Normal(m, s), 1) for m, s in ((mean, (log_variance / 2).exp()), (torch.zeros(3), torch.ones(3)))
    )
    torch.testing.assert_close(ratio, q.log_prob(code) - p.log_prob(code), rtol=1e-4, atol=1e-4)
    signs, ratio = binary.posterior(latents[:, :3]).draw()  # type: ignore[union-attr]
    bits = (signs + 1) / 2
    expected = (Bernoulli(logits=latents[:, :3]).log_prob(bits) - Bernoulli(0.5).log_prob(bits)).sum(1)
    torch.testing.assert_close(ratio, expected, rtol=1e-4, atol=1e-4)


def test_a_variable_is_active_where_its_posterior_mean_varies() -> None:
    swing = torch.tensor([-1.0, 1.0]).repeat(50)
    means = torch.stack([swing, 0.09 * swing, 0.11 * swing, torch.full((100,), 5.0)], dim=1)
    assert active_variables(means).tolist() == [True, False, True, False]
    half = torch.full((100,), 0.5)
    shares = torch.stack([torch.stack([half + 0.3 * swing, half - 0.3 * swing], 1), torch.stack([half, half], 1)], 1)
    assert active_variables(shares).tolist() == [True, False]


@pytest.mark.parametrize(
    ("bottleneck", "settings", "complaint"),
    [
        (TINY, {"likelihood": {"kind": "squared_error"}}, "likelihood.kind: squared_error, must be bernoulli"),
        ({"kind": "identity", "size": 4}, {}, "bottleneck: Identity, must draw codes at random"),
        ({"kind": "binary", "size": 8}, {}, "bottleneck: Binary, must draw codes at random"),
    ],
)
def test_what_has_no_evidence_bound_is_refused(
    digit: ItemSpec, digits: np.ndarray, bottleneck: dict[str, Any], settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(SettingError, match=complaint):
        compute_bounds(built(digit, bottleneck, **settings), torch.tensor(digits[:5]), samples=1, seed=0)
