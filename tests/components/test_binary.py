from __future__ import annotations

import numpy as np
import pytest
import torch

from components.bottlenecks import BinarySettings
from components.bottlenecks.binary import Binary
from components.settings import SettingError
from items.spec import ItemSpec

ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")


def binary(size: int = 4, noise: bool = False) -> Binary:
    return BinarySettings(size=size, noise=noise).build(ITEM, 1)


def test_a_bit_costs_a_bit() -> None:
    made = binary(256)
    assert made.code.bits_per_item == 256
    assert (made.code.shape, made.code.levels) == ((256,), 2)
    assert made.latent_shape == made.embedding_shape == (256,)


@pytest.mark.parametrize("noise", [False, True])
def test_codes_are_what_lies_above_0_and_what_evaluation_hands_to_the_decoder(noise: bool) -> None:
    made = binary(noise=noise).eval()
    latents = torch.tensor([[-3.0, -1e-6, 1e-6, 2.0]])
    assert made.encode(latents).tolist() == [[0, 0, 1, 1]]
    assert made(latents).code.tolist() == [[-1.0, -1.0, 1.0, 1.0]]
    assert torch.equal(made.embed(made.encode(latents)), made(latents).code)


def test_squared_distance_is_four_times_hamming_distance() -> None:
    codes = torch.tensor([[0, 1, 1, 0], [1, 1, 0, 0]])
    first, second = binary().embed(codes)
    assert (first - second).square().sum() == 4 * 2


@pytest.mark.parametrize("noise", [False, True])
def test_the_gradient_is_that_of_the_expected_sign(noise: bool) -> None:
    latents = torch.tensor([[-2.0, 0.1, 3.0, 0.0]], requires_grad=True)
    downstream = torch.tensor([[1.0, -2.0, 3.0, 4.0]])
    (binary(noise=noise)(latents).code * downstream).sum().backward()
    expected = downstream / 2 / torch.cosh(latents.detach() / 2).square()
    torch.testing.assert_close(latents.grad, expected)


def test_noise_draws_bits_by_their_probabilities() -> None:
    torch.manual_seed(0)
    latents = torch.tensor([-2.0, 0.0, 0.5, 3.0])
    code = binary(noise=True)(latents.expand(50_000, 4)).code
    assert set(code.unique().tolist()) == {-1.0, 1.0}
    torch.testing.assert_close((code.mean(0) + 1) / 2, latents.sigmoid(), atol=0.01, rtol=0)


def test_only_wrong_bits_have_gaps_and_those_are_their_distances_from_the_threshold() -> None:
    latents = torch.tensor([[-4.0, 1.0, 0.5, 3.0]])
    gaps = binary().choice_gaps(latents, torch.tensor([[0, 0, 0, 1]]))
    spread = (4 + 1 + 0.5 + 3) / 2 / 4  # the deviation of two alternatives is half their distance
    np.testing.assert_allclose(gaps.numpy(), [[0, 1 / spread, 0.5 / spread, 0]])


def test_more_bits_than_the_raw_item_has_are_an_error_that_names_size() -> None:
    assert binary(512).code.bits_per_item == ITEM.bits
    with pytest.raises(SettingError, match="size: 513, must make a code of at most 512 bits"):
        binary(513)
