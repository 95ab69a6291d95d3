from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from components.bottlenecks import ResidualQuantizerSettings, VectorQuantizerSettings
from components.bottlenecks.residual import ResidualQuantizer
from components.settings import SettingError
from items.spec import ItemSpec

ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")


def residual(
    depth: int, codebook_size: int = 16, size: int = 4, positions: int = 3, **settings: float
) -> ResidualQuantizer:
    torch.manual_seed(0)
    return ResidualQuantizerSettings(depth=depth, codebook_size=codebook_size, size=size, **settings).build(
        ITEM, positions
    )


def latents(items: int = 200) -> Tensor:
    return torch.randn(items, 3, 4, generator=torch.Generator().manual_seed(1))


def by_hand(made: ResidualQuantizer, given: Tensor) -> tuple[np.ndarray, np.ndarray, float]:
    """Codes, sums of codebook vectors and the commitment, one vector at a time."""
    codes, sums, commitment = [], np.zeros(given.shape), 0.0
    for place in np.ndindex(given.shape[:2]):
        left = given[place].double().numpy()
        for stage in made.stages:
            codebook = stage.codebook.double().numpy()
            chosen = int(np.square(left - codebook).sum(1).argmin())
            codes.append(chosen)
            sums[place] += codebook[chosen]
            left = left - codebook[chosen]
            commitment += float(np.square(left).sum()) / len(given)
    return np.reshape(codes, (len(given), -1)), sums, commitment


def test_each_stage_takes_what_is_left_and_a_vectors_codes_lie_together() -> None:
    made, given = residual(3).eval(), latents(20)
    codes, sums, commitment = by_hand(made, given)
    np.testing.assert_array_equal(made.encode(given).numpy(), codes)
    np.testing.assert_allclose(made.embed(made.encode(given)).numpy(), sums, atol=1e-5)
    assert made(given).losses["commitment"].item() == pytest.approx(0.25 * commitment, rel=1e-5)


def test_codes_are_what_evaluation_hands_to_the_decoder() -> None:
    made, given = residual(4).eval(), latents()
    made.initialize(given)
    codes = made.encode(given)
    assert torch.equal(made.embed(codes), made(given).code)
    assert codes.shape == (200, 12)
    assert codes.min() >= 0
    assert codes.max() < 16


def test_more_depth_leaves_less_error() -> None:
    errors = []
    for depth in (1, 2, 4, 8):
        made = residual(depth).eval()
        made.initialize(latents())
        errors.append((made(latents()).code - latents()).square().sum().item())
    for shallow, deep in itertools.pairwise(errors):
        assert deep < 0.75 * shallow


def test_one_stage_is_the_plain_vector_quantizer() -> None:
    plain = VectorQuantizerSettings(codebook_size=16, size=4).build(ITEM, 3)
    made = residual(1)
    plain.load_state_dict(made.stages[0].state_dict())
    for _ in range(3):  # the codebooks move equally too
        torch.manual_seed(0)
        expected = plain(latents())
        torch.manual_seed(0)
        output = made(latents())
        assert torch.equal(output.code, expected.code)
        assert torch.equal(output.losses["commitment"], expected.losses["commitment"])
    assert torch.equal(made.encode(latents()), plain.encode(latents()))
    assert torch.equal(
        made.choice_gaps(latents(), made.encode(latents())), plain.choice_gaps(latents(), plain.encode(latents()))
    )


def test_gradient_is_the_identitys_plus_each_stages_commitment() -> None:
    made, given = residual(3).eval(), latents(6).requires_grad_()
    downstream = torch.randn(6, 3, 4)
    output = made(given)
    ((output.code * downstream).sum() + output.losses["commitment"]).backward()
    expected, left = downstream.clone(), given.detach().clone()
    for stage in made.stages:
        left = left - stage.embed(stage.encode(left))
        expected += 0.25 * 2 * left / 6  # what is left moves with the latent, one for one
    torch.testing.assert_close(given.grad, expected)


def test_every_stages_codebook_moves_while_training_and_none_else() -> None:
    made = residual(3, dead_code_threshold=0.0).eval()
    before = [stage.codebook.clone() for stage in made.stages]
    made(latents())
    assert all(torch.equal(stage.codebook, old) for stage, old in zip(made.stages, before, strict=True))
    made.train()(latents())
    assert not any(torch.equal(stage.codebook, old) for stage, old in zip(made.stages, before, strict=True))


@pytest.mark.parametrize(
    ("depth", "codebook_size", "positions", "bits"), [(4, 16, 3, 48), (3, 10, 2, 6 * math.log2(10))]
)
def test_bits_are_positions_times_depth_times_log2_of_the_codebook_size(
    depth: int, codebook_size: int, positions: int, bits: float
) -> None:
    made = residual(depth, codebook_size, positions=positions)
    assert made.code.bits_per_item == pytest.approx(bits)
    assert made.code.shape == (positions * depth,)
    assert made.code.levels == codebook_size


def test_a_wrong_choice_has_a_gap_where_it_was_made_and_none_after_it() -> None:
    made, given = residual(2, codebook_size=3, size=1, positions=1).eval(), torch.tensor([[[4.9]]])
    made.stages[0].codebook.copy_(torch.tensor([[0.0], [10.0], [100.0]]))
    made.stages[1].codebook.copy_(torch.tensor([[5.0], [-5.0], [0.0]]))
    assert made.encode(given).tolist() == [[0, 0]]
    assert torch.equal(made.choice_gaps(given, torch.tensor([[0, 0]])), torch.zeros(1, 2))
    # 10 is the worse first choice by 5.1² - 4.9² = 2; -5 is then the best second one.
    first = np.std([4.9**2, 5.1**2, 95.1**2])
    np.testing.assert_allclose(made.choice_gaps(given, torch.tensor([[1, 1]])), [[2 / first, 0.0]], rtol=1e-5)
    # After it 0 leaves -5.1 instead of -0.1.
    second = (5.1**2 - 0.1**2) / math.sqrt(first * np.std([10.1**2, 0.1**2, 5.1**2]))
    np.testing.assert_allclose(made.choice_gaps(given, torch.tensor([[1, 2]])), [[2 / first, second]], rtol=1e-5)


def test_a_code_of_more_bits_than_the_raw_item_is_an_error_that_names_depth() -> None:
    assert residual(16, 256, positions=4).code.bits_per_item == ITEM.bits
    with pytest.raises(SettingError, match="depth: 17, must make a code of at most 512 bits"):
        residual(17, 256, positions=4)
