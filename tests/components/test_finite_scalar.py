from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from components.bottlenecks import FiniteScalarSettings
from components.bottlenecks.finite_scalar import FiniteScalar
from components.settings import SettingError
from items.spec import ItemSpec

ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")


def finite_scalar(levels: tuple[int, ...], positions: int = 1) -> FiniteScalar:
    return FiniteScalarSettings(levels=levels).build(ITEM, positions).eval()


def by_the_paper(latents: np.ndarray, levels: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Codes and indices as the listing in appendix A.1 of 2309.15505 works them out, one number at a time."""
    codes, indices = np.zeros_like(latents), np.zeros(latents.shape[:-1], np.int64)
    for place in np.ndindex(latents.shape[:-1]):
        basis = 1
        for dimension, count in enumerate(levels):
            half = (count - 1) * (1 - 1e-3) / 2
            offset = 0.0 if count % 2 else 0.5
            z = math.tanh(latents[place][dimension] + math.tan(offset / half)) * half - offset
            code = round(z) / (count // 2)
            codes[place][dimension] = code
            indices[place] += int(code * (count // 2) + count // 2) * basis
            basis *= count
    return codes, indices


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2,), (3, 4), (7, 2, 6)])
def test_codes_are_those_of_the_papers_listing(levels: tuple[int, ...]) -> None:
    latents = 2 * torch.randn(50, 3, len(levels), generator=torch.Generator().manual_seed(0))
    made = finite_scalar(levels, 3)
    codes, indices = by_the_paper(latents.double().numpy(), levels)
    np.testing.assert_array_equal(made.encode(latents).numpy(), indices)
    np.testing.assert_allclose(made(latents).code.numpy(), codes, atol=1e-7)
    assert torch.equal(made.embed(made.encode(latents)), made(latents).code)


@pytest.mark.parametrize("levels", [(2,), (3,), (4,), (5,), (8,)])
def test_every_level_can_be_reached_and_none_beyond(levels: tuple[int]) -> None:
    latents = torch.cat([torch.linspace(-12, 12, 2001), torch.tensor([-1e30, 1e30])])
    codes = finite_scalar(levels).encode(latents[:, None, None])
    assert codes.unique().tolist() == list(range(levels[0]))


def test_indices_count_in_mixed_radix_with_the_first_dimension_fastest() -> None:
    made = finite_scalar((4, 3, 2))
    embedded = made.embed(torch.arange(24)[:, None])[:, 0]
    steps = [[digit / (n // 2) - 1 for digit in range(n)] for n in (4, 3, 2)]
    expected = [(a, b, c) for c, b, a in itertools.product(*reversed(steps))]
    torch.testing.assert_close(embedded, torch.tensor(expected))
    assert len(embedded.unique(dim=0)) == 24


def test_the_gradient_is_that_of_the_bounded_latents() -> None:
    made = finite_scalar((5, 8))
    latents = torch.tensor([[[0.3, -0.8]]], requires_grad=True)
    output = made(latents)
    output.code.sum().backward()
    slopes = []
    for value, count, shift in [(0.3, 5, 0.0), (-0.8, 8, math.tan(0.5 / (7 * 0.999 / 2)))]:
        slopes.append((count - 1) * 0.999 / 2 / (count // 2) / math.cosh(value + shift) ** 2)
    torch.testing.assert_close(latents.grad, torch.tensor([[slopes]]))
    assert output.losses == {}


@pytest.mark.parametrize(
    ("levels", "positions", "bits"), [((8, 5, 5, 5), 16, 16 * math.log2(1000)), ((2, 2), 3, 6), ((4, 8), 7, 35)]
)
def test_bits_are_positions_times_log2_of_the_product_of_levels(
    levels: tuple[int, ...], positions: int, bits: float
) -> None:
    made = finite_scalar(levels, positions)
    assert made.code.bits_per_item == pytest.approx(bits)
    assert made.code.shape == (positions,)
    assert made.latent_shape == made.embedding_shape == (positions, len(levels))


def test_nothing_is_learned_or_saved() -> None:
    assert finite_scalar((5, 5)).state_dict() == {}
    assert list(finite_scalar((5, 5)).parameters()) == []


def test_a_choices_gap_is_how_much_farther_it_is_than_the_nearest_level() -> None:
    made = finite_scalar((5, 5))
    bounded = torch.tensor([0.4, -1.2])
    latents = torch.atanh(bounded / (4 * 0.999 / 2))[None, None]
    assert made.encode(latents).item() == 2 + 5 * 1
    assert made.choice_gaps(latents, torch.tensor([[7]])).abs().max() < 1e-7
    # 1 instead of 0: 0.6 away and not 0.4; -2 instead of -1: 0.8 away and not 0.2; the worse of the two counts.
    torch.testing.assert_close(made.choice_gaps(latents, torch.tensor([[3 + 5 * 1]])), torch.tensor([[0.2 / 5]]))
    torch.testing.assert_close(made.choice_gaps(latents, torch.tensor([[3 + 5 * 0]])), torch.tensor([[0.6 / 5]]))


def test_positions_in_the_settings_win_over_the_networks() -> None:
    assert FiniteScalarSettings(positions=3).build(ITEM, 49).code.shape == (3,)


@pytest.mark.parametrize("levels", [(), (1, 5), (256, 257)])
def test_levels_that_cannot_work_are_refused_by_their_key(levels: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        FiniteScalarSettings(levels=levels)
    assert [error["loc"][0] for error in caught.value.errors()] == ["levels"]


def test_a_code_of_more_bits_than_the_raw_item_is_an_error_that_names_levels() -> None:
    assert finite_scalar((256, 256), 32).code.bits_per_item == ITEM.bits
    with pytest.raises(SettingError, match=r"levels: \(256, 256\), must make a code of at most 512 bits"):
        finite_scalar((256, 256), 33)
