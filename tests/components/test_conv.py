from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from components.networks import ConvSettings
from components.networks.conv import Grid, Positions, Residual, Tiles, Untiles
from components.settings import SettingError
from items.spec import ItemSpec

sizes = st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]))
downsamples = st.sampled_from([1, 2, 4, 8, 16])


@settings(deadline=None, max_examples=60)
@given(shape=sizes, side=downsamples, batch=st.integers(1, 3))
def test_untiles_gives_back_exactly_what_tiles_cut(shape: tuple[int, int, int], side: int, batch: int) -> None:
    images = torch.randn(batch, *shape)
    grid = (-(-shape[0] // side), -(-shape[1] // side))
    tiles = Tiles(side, grid)(images)
    assert tiles.shape == (batch, shape[2] * side * side, *grid)
    assert torch.equal(Untiles(side, shape)(tiles), images)


def test_a_pixel_lands_on_the_place_of_its_tile() -> None:
    images = torch.zeros(1, 6, 9, 3)
    images[0, 5, 4, 2] = 1
    (channel, row, column) = Tiles(4, (2, 3))(images)[0].nonzero()[0].tolist()
    assert (row, column) == (1, 1)
    assert channel == 2 * 16 + (5 % 4) * 4 + 4 % 4


def test_positions_read_the_grid_row_by_row_and_grid_lays_it_out_again() -> None:
    grid = torch.arange(2 * 5 * 3 * 4.0).reshape(2, 5, 3, 4)
    vectors = Positions()(grid)
    assert torch.equal(vectors[1, 2 * 4 + 3], grid[1, :, 2, 3])
    assert torch.equal(Grid((3, 4))(vectors), grid)


@settings(deadline=None, max_examples=25)
@given(shape=sizes, side=downsamples, size=st.integers(1, 4), layout=st.sampled_from(["grid", "flat", "other"]))
def test_encoder_and_decoder_mirror_each_others_shapes(
    shape: tuple[int, int, int], side: int, size: int, layout: str
) -> None:
    item = ItemSpec(kind="image", shape=shape, dtype="uint8")
    network = ConvSettings(downsample=side, channels=4)
    positions = network.positions(item)
    assert positions == -(-shape[0] // side) * -(-shape[1] // side)
    latent = {"grid": (positions, size), "flat": (size,), "other": (positions + 1, size)}[layout]
    encoder, decoder = network.build(item, latent)
    latents = encoder(torch.zeros(2, *shape))
    assert latents.shape == (2, *latent)
    assert decoder(latents).shape == (2, *shape)


def test_a_latent_of_the_grid_sees_its_neighbourhood_and_not_the_whole_image() -> None:
    item = ItemSpec(kind="image", shape=(32, 32, 1), dtype="uint8")
    torch.manual_seed(0)
    encoder, _ = ConvSettings(downsample=4, channels=8, blocks=0).build(item, (64, 3))
    images = torch.rand(1, 32, 32, 1)
    changed = images.clone()
    changed[:, :4, :4] += 1
    moved = (encoder(images) - encoder(changed)).abs().sum(-1).reshape(8, 8) > 0
    assert moved[0, 0]
    assert not moved[2:].any()
    assert not moved[:, 2:].any()


def test_vectors_are_refused_with_a_readable_error() -> None:
    item = ItemSpec(kind="vector", shape=(12,), dtype="float32")
    for refused in (lambda: ConvSettings().positions(item), lambda: ConvSettings().build(item, (3,))):
        with pytest.raises(SettingError, match="kind: conv, needs images, and the items are of kind vector"):
            refused()


def test_a_residual_block_adds_to_its_input_what_its_docstring_says() -> None:
    torch.manual_seed(0)
    block, x = Residual(4), torch.randn(2, 4, 3, 3)
    narrow, widen = block.narrow, block.widen
    assert narrow.out_channels == 2
    with torch.no_grad():
        inner = F.conv2d(x.clamp(min=0), narrow.weight, narrow.bias, padding=1).clamp(min=0)
        added = torch.einsum("oi,nihw->nohw", widen.weight[:, :, 0, 0], inner) + widen.bias[:, None, None]
        torch.testing.assert_close(block(x), x + added)
