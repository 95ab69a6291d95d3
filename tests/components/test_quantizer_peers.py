"""The quantizers against `vector-quantize-pytorch`, in values and gradients, for the options that both have.

Where the two mean the same and write it another way, a helper or a comment here says how one becomes the other:

- losses: theirs are means over all numbers, ours sums over an item's numbers (`NUMBERS`), averaged over items;
- moving averages: theirs are counts a batch and start at 1, ours are shares of a batch and start even; `peer` starts
  theirs where ours start, at VECTORS / CODES;
- theirs smooths the counts by `eps`, ours divides by them: `eps` is 0 here;
- dead codes: their threshold is a count, ours a share of an even use.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from vector_quantize_pytorch import FSQ, ResidualVQ, VectorQuantize
from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to

from components.bottlenecks import (
    FiniteScalarSettings,
    ResidualQuantizerSettings,
    VectorQuantizerSettings,
)
from components.bottlenecks.finite_scalar import EPSILON, FiniteScalar
from components.bottlenecks.gradients import rotated_through
from components.bottlenecks.residual import ResidualQuantizer
from components.bottlenecks.vector_quantizer import VectorQuantizer
from items.spec import ItemSpec

ITEM = ItemSpec(kind="image", shape=(28, 28, 1), dtype="uint8")
ITEMS, POSITIONS, SIZE, CODES, DECAY, COMMITMENT = 40, 5, 4, 8, 0.9, 0.3
VECTORS, NUMBERS = ITEMS * POSITIONS, POSITIONS * SIZE
EVEN = VECTORS / CODES


def latents(seed: int = 1) -> Tensor:
    return torch.randn(ITEMS, POSITIONS, SIZE, generator=torch.Generator().manual_seed(seed))


def quantizer(**options: Any) -> VectorQuantizer:
    torch.manual_seed(0)
    chosen = {
        "codebook_size": CODES,
        "size": SIZE,
        "commitment": COMMITMENT,
        "decay": DECAY,
        "dead_code_threshold": 0.0,
    } | options
    return VectorQuantizerSettings(**chosen).build(ITEM, POSITIONS)


def peer(ours: VectorQuantizer, **options: Any) -> VectorQuantize:
    """Return theirs with our codebook, and with counts and sums that mean the same as ours."""
    chosen = {"decay": DECAY, "commitment_weight": COMMITMENT, "eps": 0.0, "rotation_trick": False} | options
    theirs = VectorQuantize(dim=SIZE, codebook_size=CODES, **chosen)
    give(ours, theirs)
    return theirs


def give(ours: VectorQuantizer, theirs: VectorQuantize) -> None:
    book = theirs._codebook
    with torch.no_grad():
        book.embed[0] = ours.codebook
        book.cluster_size[0] = ours.counts * VECTORS
        book.embed_avg[0] = ours.codebook * ours.counts[:, None] * VECTORS


def gradient(code: Tensor, given: Tensor, seed: int = 2) -> Tensor:
    """Return what reaches `given` when a decoder's gradient, drawn at random, reaches `code`."""
    downstream = torch.randn(code.shape, generator=torch.Generator().manual_seed(seed))
    return torch.autograd.grad((code * downstream).sum(), given, retain_graph=True)[0]


OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "straight_through": ({}, {}),
    "rotation": ({"rotation": True}, {"rotation_trick": True}),
    "cosine": ({"cosine": True}, {"use_cosine_sim": True}),
    "cosine_rotation": ({"cosine": True, "rotation": True}, {"use_cosine_sim": True, "rotation_trick": True}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_codes_gradients_and_commitment_are_the_peers(name: str) -> None:
    ours = quantizer(**OPTIONS[name][0])
    theirs = peer(ours, **OPTIONS[name][1])
    mine, same = latents().requires_grad_(), latents().requires_grad_()
    indices = ours.encode(mine.detach())
    output, (code, chosen, loss) = ours(mine), theirs(same)
    assert len(indices.unique()) == CODES
    assert torch.equal(indices, chosen)
    torch.testing.assert_close(output.code, code)
    torch.testing.assert_close(gradient(output.code, mine), gradient(code, same))
    torch.testing.assert_close(output.losses["commitment"], loss * NUMBERS)
    torch.testing.assert_close(
        torch.autograd.grad(output.losses["commitment"], mine)[0],
        torch.autograd.grad(loss, same)[0] * NUMBERS,
        atol=1e-6,
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", ["straight_through", "cosine"])
def test_the_moving_averages_carry_the_codebook_where_the_peers_do(name: str) -> None:
    ours = quantizer(**OPTIONS[name][0]).train()
    theirs = peer(ours, **OPTIONS[name][1]).train()
    start = ours.codebook.clone()
    for step in range(3):
        ours(latents(step))
        theirs(latents(step))
        torch.testing.assert_close(ours.codebook, theirs.codebook)
        torch.testing.assert_close(ours.counts * VECTORS, theirs._codebook.cluster_size[0])
        torch.testing.assert_close(ours.sums * VECTORS, theirs._codebook.embed_avg[0], atol=1e-4, rtol=1e-4)
    assert (ours.codebook - start).norm(dim=-1).min() > 0.01


def test_a_codebook_by_gradient_gets_the_peers_gradient() -> None:
    # With one weight for both terms: theirs has a single loss that pulls latent and codebook vector at each other.
    ours = quantizer(codebook="gradient", commitment=1.0).train()
    theirs = peer(ours, ema_update=False, learnable_codebook=True, commitment_weight=1.0).train()
    mine, same = latents().requires_grad_(), latents().requires_grad_()
    losses, (_, _, loss) = ours(mine).losses, theirs(same)
    pulled = torch.autograd.grad(losses["commitment"] + losses["codebook"], [mine, ours.codebook])
    expected = torch.autograd.grad(loss * NUMBERS, [same, theirs._codebook.embed])
    torch.testing.assert_close(pulled[0], expected[0])
    torch.testing.assert_close(pulled[1], expected[1][0])
    torch.testing.assert_close(losses["codebook"], loss * NUMBERS)


def test_k_means_starts_the_codebook_where_the_peers_does() -> None:
    ours = quantizer().train()
    theirs = peer(ours, kmeans_init=True, kmeans_iters=10).train()
    torch.manual_seed(3)  # both draw their first centres by one randperm
    ours.initialize(latents())
    ours(latents())
    torch.manual_seed(3)
    theirs(latents())  # starts at the first batch, and moves on it as well
    torch.testing.assert_close(ours.codebook, theirs.codebook)
    torch.testing.assert_close(ours.counts * VECTORS, theirs._codebook.cluster_size[0])


def test_a_dead_code_is_revived_as_the_peers_is() -> None:
    # All latents are one and the same, so that it does not matter which of them is drawn. Codes other than the one
    # that draws them die once their counts fall under half of an even use.
    everywhere = latents()[:1, :1].expand(ITEMS, POSITIONS, SIZE).contiguous()
    ours = quantizer(decay=0.6, dead_code_threshold=0.5).train()
    theirs = peer(ours, decay=0.6, threshold_ema_dead_code=0.5 * EVEN).train()
    theirs._codebook.reset_cluster_size = EVEN  # ours start again at an even use, theirs by default at the threshold
    for _ in range(2):
        ours(everywhere)
        theirs(everywhere)
    revived = (ours.codebook - everywhere[0, 0]).norm(dim=-1) < 1e-6
    assert revived.sum() == CODES - 1
    torch.testing.assert_close(ours.codebook, theirs.codebook)
    torch.testing.assert_close(ours.counts * VECTORS, theirs._codebook.cluster_size[0])
    torch.testing.assert_close(ours.sums * VECTORS, theirs._codebook.embed_avg[0])


def test_the_rotations_gradient_is_that_of_the_peer() -> None:
    torch.manual_seed(0)
    given, chosen = torch.randn(3, 20, 5, requires_grad=True), torch.randn(3, 20, 5)
    torch.testing.assert_close(rotated_through(chosen, given), rotate_to(given, chosen))
    torch.testing.assert_close(
        gradient(rotated_through(chosen, given), given), gradient(rotate_to(given, chosen), given)
    )


LEVELS = [(3, 5, 7), (8, 5, 5, 5), (4, 6, 16)]


def finite_scalar(levels: tuple[int, ...]) -> FiniteScalar:
    return FiniteScalarSettings(levels=levels).build(ITEM, POSITIONS)


@pytest.mark.parametrize("levels", LEVELS)
def test_finite_scalar_indices_mean_the_peers_levels(levels: tuple[int, ...]) -> None:
    ours, theirs = finite_scalar(levels), FSQ(list(levels))
    codes = torch.arange(ours.code.levels)[:, None]
    torch.testing.assert_close(ours.embed(codes), theirs.indices_to_codes(codes))


@pytest.mark.parametrize("levels", LEVELS)
def test_finite_scalar_codes_and_gradients_are_the_peers(levels: tuple[int, ...]) -> None:
    # The two bound a latent a little differently. Ours are the formulas of the paper's listing: the ends drawn in by
    # (1 - eps), and even levels centred by shift = tan(offset / half_length). Theirs push the ends out by (1 + eps)
    # and take the inverse, atanh. So latents within HAIR of where rounding changes its mind may go either way, and
    # gradients agree but for 2 eps, and for even levels the change of the tanh's slope over the shifts' difference.
    hair, slope = 0.03, 2 * EPSILON + 0.002
    ours, theirs = finite_scalar(levels), FSQ(list(levels))
    many = 2 * torch.randn(400, POSITIONS, len(levels), generator=torch.Generator().manual_seed(1))
    bounded = ours.bounded(many)
    clear = ((bounded - bounded.round()).abs() < 0.5 - hair).all(-1)
    assert clear.float().mean() > 0.5
    mine, same = many.clone().requires_grad_(), many.clone().requires_grad_()
    output, (code, indices) = ours(mine), theirs(same)
    assert torch.equal(ours.encode(many)[clear], indices.long()[clear])
    torch.testing.assert_close(output.code[clear], code[clear])
    torch.testing.assert_close(gradient(output.code, mine), gradient(code, same), atol=5e-3, rtol=slope)


def residual(depth: int = 3) -> tuple[ResidualQuantizer, ResidualVQ]:
    torch.manual_seed(0)
    ours = ResidualQuantizerSettings(
        depth=depth, codebook_size=CODES, size=SIZE, commitment=COMMITMENT, decay=DECAY, dead_code_threshold=0.0
    ).build(ITEM, POSITIONS)
    shared = {"decay": DECAY, "commitment_weight": COMMITMENT, "eps": 0.0, "rotation_trick": False}
    theirs = ResidualVQ(dim=SIZE, num_quantizers=depth, codebook_size=CODES, **shared)
    for mine, same in zip(ours.stages, theirs.layers, strict=True):
        give(mine, same)
    return ours, theirs


def test_residual_codes_commitment_and_codebooks_are_the_peers() -> None:
    ours, theirs = residual()
    mine, same = latents().requires_grad_(), latents().requires_grad_()
    expected = ours.encode(mine.detach())
    output, (code, indices, losses) = ours(mine), theirs(same)
    assert torch.equal(expected, indices.flatten(1))
    torch.testing.assert_close(output.code, code)
    torch.testing.assert_close(output.losses["commitment"], losses.sum() * NUMBERS)
    torch.testing.assert_close(
        torch.autograd.grad(output.losses["commitment"], mine)[0],
        torch.autograd.grad(losses.sum(), same)[0] * NUMBERS,
        atol=1e-6,
        rtol=1e-5,
    )
    torch.testing.assert_close(torch.stack([stage.codebook for stage in ours.stages]), theirs.codebooks)


def test_a_residual_latents_gradient_is_the_decoders_once_where_the_peers_is_once_a_stage() -> None:
    # A disagreement, and ours by intent: their stages each pass the decoder's gradient on to a residual, so that the
    # latent gets it once a stage; as the code is worth one latent, ours passes it once, past all stages.
    ours, theirs = residual(depth=3)
    mine, same = latents().requires_grad_(), latents().requires_grad_()
    torch.testing.assert_close(3 * gradient(ours(mine).code, mine), gradient(theirs(same)[0], same))
