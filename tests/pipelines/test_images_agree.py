"""Training and serving decode images in two rooms that do not know each other: what they make of a file is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.data import pixels
from serving import images
from serving.manifest import ItemContract


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def palette() -> Image.Image:
    return Image.fromarray(noise(9, 14, 3)).quantize(16)


CASES: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
    "grey": (Image.fromarray(noise(13, 9)), "png", {}),
    "colour": (Image.fromarray(noise(13, 29, 3)), "jpg", {}),
    "alpha": (Image.fromarray(noise(16, 9, 4)), "png", {}),
    "grey and alpha": (Image.fromarray(noise(16, 9, 4)).convert("LA"), "png", {}),
    "palette": (palette(), "png", {}),
    "transparent palette": (palette(), "png", {"transparency": 3}),
    "two colours": (Image.fromarray(noise(9, 9)).convert("1"), "png", {}),
    "cmyk": (Image.fromarray(noise(9, 9, 3)).convert("CMYK"), "jpg", {}),
    "turned": (Image.fromarray(noise(9, 17, 3)), "png", {"exif": exif(6)}),
    "mirrored": (Image.fromarray(noise(9, 17, 3)), "jpg", {"exif": exif(2)}),
    "sixteen bits": (Image.fromarray(noise(9, 9).astype(np.uint16) * 257 + 100), "png", {}),
    "sixteen bits, turned": (Image.fromarray(noise(9, 17).astype(np.uint16) * 200), "tif", {"exif": exif(6)}),
    "animated": (palette(), "gif", {"save_all": True, "append_images": [palette().rotate(90)]}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_has_the_same_pixels_for_training_and_for_serving(tmp_path: Path, case: str, channels: Any) -> None:
    image, suffix, options = CASES[case]
    image.save(tmp_path / f"x.{suffix}", **options)
    decoder = images.ImageDecoder(ItemContract(kind="image", shape=(8, 6, channels), dtype="uint8"), resize=True)
    served = decoder.decode(tmp_path / f"x.{suffix}")
    assert np.array_equal(pixels.decode(tmp_path / f"x.{suffix}", (8, 6), channels), served)


def test_the_same_files_are_taken_for_images() -> None:
    assert pixels.SUFFIXES == images.SUFFIXES
    assert set(pixels.FORMATS) == set(images.FORMATS)
