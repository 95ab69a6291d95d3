from __future__ import annotations

import numpy as np
import pytest
import torch

from components.bottlenecks import TopKSettings
from components.bottlenecks.top_k import TopK
from components.settings import SettingError
from items.spec import ItemSpec

ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")


def top_k(size: int, active: int) -> TopK:
    return TopKSettings(size=size, active=active).build(ITEM, 1)


def test_the_largest_positive_activations_stay_and_the_others_become_0() -> None:
    latents = torch.tensor([[3.0, -5.0, 1.0, 2.0], [-1.0, -2.0, 0.5, -3.0], [1.0, 1.0, 1.0, 1.0]])
    code = top_k(4, 2).encode(latents)
    assert code[:2].tolist() == [[3.0, 0.0, 0.0, 2.0], [0.0, 0.0, 0.5, 0.0]]
    assert (code[2] > 0).sum() == 2


def test_codes_are_those_of_sorting_each_item() -> None:
    latents = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    expected = np.zeros((40, 30), np.float32)
    for row, values in zip(expected, latents.numpy(), strict=True):
        kept = values.argsort()[-7:]
        row[kept] = values[kept].clip(0)
    made = top_k(30, 7)
    np.testing.assert_array_equal(made.encode(latents).numpy(), expected)
    assert torch.equal(made.embed(made.encode(latents)), made.eval()(latents).code)


def test_only_what_stays_gets_a_gradient() -> None:
    latents = torch.tensor([[3.0, -5.0, 1.0, 2.0]], requires_grad=True)
    (top_k(4, 2)(latents).code * torch.tensor([[10.0, 20.0, 30.0, 40.0]])).sum().backward()
    assert latents.grad.tolist() == [[10.0, 0.0, 0.0, 40.0]]


@pytest.mark.parametrize(
    ("size", "active", "bits"),
    [
        (256, 5, 5 * (32 + 8)),
        (257, 5, 5 * (32 + 9)),
        (1000, 10, 10 * (32 + 10)),
        (1, 1, 32),
        (8, 8, 8 * 32),  # dense: 8 * 35 as a list
    ],
)
def test_a_code_costs_its_active_units_values_and_indices(size: int, active: int, bits: int) -> None:
    made = top_k(size, active)
    assert made.code.bits_per_item == bits
    assert made.code.shape == made.latent_shape == made.embedding_shape == (size,)


@pytest.mark.parametrize(
    ("size", "active", "allowed"), [(4, 5, "at most size, 4"), (99, 65, "at most 64, the numbers in one item")]
)
def test_more_active_units_than_can_be_are_an_error_that_names_active(size: int, active: int, allowed: str) -> None:
    with pytest.raises(SettingError, match=allowed) as caught:
        top_k(size, active)
    assert caught.value.key == "active"


def test_kept_units_have_as_gap_what_their_sum_falls_short_of_the_largest() -> None:
    made, latents = top_k(4, 2), torch.tensor([[3.0, -5.0, 1.0, 2.0]])
    spread = np.std([3, -5, 1, 2])
    for kept, short in (((3, 0, 0, 2), 0), ((3, 0, 1, 0), 1), ((0, 0, 1, 2), 2), ((3, 0, 0, 0), 2), ((0,) * 4, 5)):
        gaps = made.choice_gaps(latents, torch.tensor([kept]))
        np.testing.assert_allclose(gaps.numpy(), [[short / spread] * 4])
    assert made.choice_gaps(latents, torch.tensor([[3, 0, 1, 2]])).min() == np.inf
    # An offset moves what is below 0 as well, so only where all of it is above does nothing change.
    above = made.choice_gaps(latents + 1e6, torch.tensor([[3, 0, 1, 0]]))
    np.testing.assert_allclose(above.numpy(), [[1 / spread] * 4])


def test_a_code_with_other_units_kept_has_their_activations() -> None:
    made, latents = top_k(4, 2), torch.tensor([[3.0, -5.0, 1.0, 2.0]])
    assert made.with_choices(latents, made.encode(latents)).tolist() == made.encode(latents).tolist()
    assert made.with_choices(latents, torch.tensor([[9.0, 9.0, 9.0, 0.0]])).tolist() == [[3.0, 0.0, 1.0, 0.0]]
