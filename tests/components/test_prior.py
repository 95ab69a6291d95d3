"""Priors over codes: that they are distributions, look at the past alone, and learn what there is to learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from components.models import TrainingRun
from components.prior import PixelCNN, PositionFrequencies, PriorSettings, near_square
from components.settings import SettingError
from components.training import TrainingSettings

SMALL = PriorSettings(embedding=4, channels=16, kernel=3, training=TrainingSettings(batch_size=64, learning_rate=1e-2))


def copied(count: int, seed: int) -> np.ndarray:
    """Codes of two rows of three below 4: the first row is drawn evenly, the second repeats it; 6 bits."""
    first = np.random.default_rng(seed).integers(4, size=(count, 3))
    return np.concatenate([first, first], 1)


def roused(settings: PriorSettings, positions: int, levels: int) -> PixelCNN:
    """An untrained prior whose last layer is not as good as zero, so that what depends on what can be seen."""
    prior = settings.build(positions, levels)
    torch.nn.init.normal_(prior.last.weight, std=1.0, generator=torch.Generator().manual_seed(0))
    return prior.eval()


@pytest.mark.parametrize("settings", [SMALL, PriorSettings(channels=8, kernel=5, blocks=2, columns=4)])
def test_a_position_is_guessed_from_those_before_it_alone(settings: PriorSettings) -> None:
    prior, codes = roused(settings, 12, 5), torch.randint(5, (1, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = prior(codes)
        for changed in range(12):
            other = codes.clone()
            other[0, changed] = (other[0, changed] + 1) % 5
            moved = (prior(other) - before).abs().amax((0, 2)) > 1e-6
            assert not moved[: changed + 1].any()
            if changed < 11:
                assert moved[changed + 1 :].any()


def test_all_codes_probabilities_add_up_to_one() -> None:
    prior = roused(SMALL, 4, 3)
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    assert float((2.0 ** -prior.bits(every)).sum()) == pytest.approx(1, rel=1e-4)


def test_sampling_guesses_as_the_whole_model_does() -> None:
    prior = roused(PriorSettings(channels=8, kernel=3, blocks=1, columns=2), 14, 5)
    codes = torch.randint(5, (3, 14), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = prior(codes)
        for position in range(14):
            assert torch.allclose(prior.guess(codes, position), whole[:, position], atol=1e-5)


@pytest.fixture(scope="module")
def trained() -> PixelCNN:
    prior = SMALL.build(6, 4)
    run = TrainingRun(copied(3000, 0), copied(500, 1), epochs=6, seed=0)
    *_, last = prior.fit(run)
    assert last.metrics["validation_bits"] == pytest.approx(float(prior.bits(torch.tensor(run.validation)).mean()))
    return prior


def test_a_prior_learns_that_a_row_repeats_another_and_frequencies_cannot(trained: PixelCNN) -> None:
    test = torch.tensor(copied(500, 2))
    assert float(trained.bits(test).mean()) == pytest.approx(6, abs=0.3)
    assert float(PositionFrequencies(torch.tensor(copied(3000, 0)), 4).bits(test).mean()) == pytest.approx(12, abs=0.1)


def test_what_it_draws_is_what_it_learned(trained: PixelCNN) -> None:
    drawn = trained.sample(400, seed=0)
    assert (drawn[:, :3] == drawn[:, 3:]).float().mean() > 0.95
    assert torch.bincount(drawn[:, 0], minlength=4).min() > 60
    assert torch.equal(drawn, trained.sample(400, seed=0))
    assert not torch.equal(drawn, trained.sample(400, seed=1))


def test_the_same_seed_is_the_same_prior() -> None:
    def fitted(seed: int) -> Tensor:
        prior = SMALL.build(6, 4, seed)
        list(prior.fit(TrainingRun(copied(200, 0), copied(50, 1), epochs=1, seed=seed)))
        return prior.bits(torch.tensor(copied(20, 2)))

    assert torch.equal(fitted(3), fitted(3))
    assert not torch.equal(fitted(3), fitted(4))


def test_frequencies_are_counted_by_position_and_nothing_is_impossible() -> None:
    codes = torch.tensor([[0, 1]] * 750 + [[2, 1]] * 250)
    frequencies = PositionFrequencies(codes, 3)
    shares = frequencies.log_shares.exp()
    assert shares.sum(1) == pytest.approx([1, 1])
    assert shares[0] == pytest.approx([0.75, 0, 0.25], abs=0.04)
    assert shares[1] == pytest.approx([0, 1, 0], abs=0.04)
    assert (shares > 0).all()
    assert float(frequencies.bits(torch.tensor([[0, 1]]))[0]) == pytest.approx(-math.log2(0.75), abs=0.12)
    drawn = frequencies.sample(2000, 0)
    assert drawn.shape == (2000, 2)
    assert float((drawn[:, 0] == 0).float().mean()) == pytest.approx(float(shares[0, 0]), abs=0.04)


def test_a_position_borrows_fifty_items_from_all_positions_frequencies() -> None:
    codes = torch.tensor([[0, 1]] * 3 + [[2, 1]])
    overall = [3.5 / 9.5, 4.5 / 9.5, 1.5 / 9.5]  # how often each value was seen anywhere, and half a time more
    expected = [[(3 + 50 * overall[0]) / 54, 50 * overall[1] / 54, (1 + 50 * overall[2]) / 54]]
    expected += [[50 * overall[0] / 54, (4 + 50 * overall[1]) / 54, 50 * overall[2] / 54]]
    frequencies = PositionFrequencies(codes, 3)
    np.testing.assert_allclose(frequencies.log_shares.exp().numpy(), expected, rtol=1e-5)
    unseen = float(frequencies.bits(torch.tensor([[1, 2]]))[0])
    assert unseen == pytest.approx(-math.log2(expected[0][1]) - math.log2(expected[1][2]), rel=1e-5)


@pytest.mark.parametrize(("positions", "columns"), [(49, 7), (20, 5), (7, 7), (196, 14), (1, 1)])
def test_codes_are_laid_out_as_near_to_a_square_as_they_go(positions: int, columns: int) -> None:
    assert near_square(positions) == columns


def test_mistakes_name_the_key_and_what_is_allowed() -> None:
    with pytest.raises(SettingError, match="columns: 5, must divide 49"):
        PriorSettings(columns=5).build(49, 8)
    with pytest.raises(ValueError, match="must be odd"):
        PriorSettings(kernel=4)
