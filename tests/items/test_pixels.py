from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from items.errors import ItemError, SizeError
from items.pixels import Fit, channels_of, decode

FIT = Fit()


def save(path: Path, image: Image.Image | np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(path, **options)
    return path


def decoded(path: Path, *options: Any) -> np.ndarray:
    return decode(path.read_bytes(), *options)


def grey(value: int, height: int = 4, width: int = 4) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


@pytest.mark.parametrize(
    ("image", "channels"),
    [
        (Image.new("L", (2, 2)), 1),
        (Image.new("1", (2, 2)), 1),
        (Image.new("LA", (2, 2)), 1),
        (Image.fromarray(np.zeros((2, 2), np.uint16)), 1),
        (Image.new("RGB", (2, 2)), 3),
        (Image.new("RGBA", (2, 2)), 3),
        (Image.new("L", (2, 2), 9).convert("P"), 1),
        (Image.new("RGB", (2, 2), (9, 8, 7)).quantize(4), 3),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_channels_are_read_from_the_header(tmp_path: Path, image: Image.Image, channels: int) -> None:
    assert channels_of(save(tmp_path / "x.png", image)) == channels


@settings(deadline=None, max_examples=25)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    target=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    channels=st.sampled_from([1, 3]),
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]),
)
def test_any_size_and_mode_becomes_the_wanted_shape(
    tmp_path_factory: pytest.TempPathFactory, size: Any, target: Any, channels: Any, mode: str
) -> None:
    path = save(tmp_path_factory.mktemp("any") / "x.png", Image.new(mode, size))
    pixels = decoded(path, target, channels, FIT)
    assert pixels.shape == (*target, channels)
    assert pixels.dtype == np.uint8


def test_the_short_side_is_fitted_and_the_middle_kept(tmp_path: Path) -> None:
    wide = np.concatenate([grey(0, 8, 8), grey(100, 8, 8), grey(200, 8, 8)], axis=1)
    assert (decoded(save(tmp_path / "x.png", wide), (8, 8), 1, FIT) == 100).all()
    assert (decoded(save(tmp_path / "y.png", wide.T.copy()), (8, 8), 1, FIT) == 100).all()
    assert decoded(tmp_path / "x.png", (4, 12), 1, FIT)[2, [0, 11], 0].tolist() == [0, 200]


def test_resizing_is_lanczos(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20), np.uint8))
    expected = np.asarray(image.resize((7, 7), Image.Resampling.LANCZOS))
    assert np.array_equal(decoded(save(tmp_path / "x.png", image), (7, 7), 1, FIT)[..., 0], expected)


def test_sixteen_bits_are_scaled_and_not_cut(tmp_path: Path) -> None:
    values = np.array([[0, 257], [257 * 128, 65535]], np.uint16)
    for suffix in ("png", "tif"):
        path = save(tmp_path / f"x.{suffix}", values)
        assert decoded(path, (2, 2), 1, FIT)[..., 0].tolist() == [[0, 1], [128, 255]]
        assert (decoded(path, (2, 2), 3, FIT) == decoded(path, (2, 2), 1, FIT)).all()


@pytest.mark.parametrize("value", [-1, 65536])
def test_more_than_sixteen_bits_are_refused(tmp_path: Path, value: int) -> None:
    path = save(tmp_path / "x.tif", np.array([[value, 0]], np.int32))
    with pytest.raises(ItemError, match="must be within 0 to 65535"):
        decoded(path, (1, 2), 1, FIT)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ItemError, match="floating-point"):
        decoded(save(tmp_path / "x.tif", np.zeros((2, 2), np.float32)), (2, 2), 1, FIT)


def test_what_is_transparent_is_white_whatever_colour_hides_there(tmp_path: Path) -> None:
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    path = save(tmp_path / "x.png", rgba)
    np.testing.assert_allclose(
        decoded(path, (1, 3), 3, FIT)[0].astype(int), [[255, 0, 0], [255, 255, 255], [127, 127, 127]], atol=1
    )
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    assert decoded(save(tmp_path / "p.png", palette), (1, 2), 3, FIT)[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    path = save(tmp_path / "t.png", palette, transparency=1)
    assert decoded(path, (1, 2), 3, FIT)[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_cmyk_becomes_colour(tmp_path: Path) -> None:
    path = save(tmp_path / "x.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=100)
    red, green, blue = decoded(path, (8, 8), 3, FIT)[4, 4].tolist()
    assert red > 245
    assert max(green, blue) < 10


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    for suffix in ("gif", "png"):
        path = save(tmp_path / f"x.{suffix}", frames[0], save_all=True, append_images=frames[1:])
        assert decoded(path, (4, 4), 3, FIT)[0, 0].tolist() == [255, 0, 0]


def test_an_image_is_turned_as_its_exif_orientation_says(tmp_path: Path) -> None:
    upright = np.zeros((8, 16), np.uint8)
    upright[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by a quarter: to be shown turned back
    path = save(tmp_path / "x.png", np.rot90(upright).copy(), exif=exif)
    assert np.array_equal(decoded(path, (8, 16), 1, FIT)[..., 0], upright)


@pytest.mark.filterwarnings("ignore:Image size")
def test_a_decompression_bomb_is_refused_with_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.png", grey(0, 40, 40))
    for limit, reason in [(1000, "it has 1600 pixels, at most 1000 are read"), (700, "exceeds limit of 1400 pixels")]:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ItemError, match=reason):
            decoded(path, (4, 4), 1, FIT)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1600)
    assert decoded(path, (4, 4), 1, FIT).shape == (4, 4, 1)


def test_without_a_fit_another_size_is_refused_once_the_image_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "x.png", grey(7, 9, 5), exif=exif)
    assert decoded(path, (5, 9), 1, None).shape == (5, 9, 1)
    with pytest.raises(SizeError, match="it is 9×5 pixels, must be 5×9"):
        decoded(path, (9, 5), 1, None)
