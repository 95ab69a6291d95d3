"""Image files as arrays of 8-bit pixels of a wanted size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict

from items.errors import ItemError, SizeError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
Channels = Literal[1, 3]
MODES: dict[int, str] = {1: "L", 3: "RGB"}
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
BACKGROUND = 255  # white, as browsers show what is transparent


class Fit(BaseModel):
    """The way in which images of another size are brought to the wanted one.

    Attributes:
        mode: `cover` scales an image until it just covers the wanted size, and crops it around its middle.
        filter: of the resampling.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["cover"] = "cover"
    filter: Literal["lanczos"] = "lanczos"


def channels_of(path: Path) -> Channels | None:
    """Return 1 for a grey image and 3 for one in colour, from the file's header alone; None where that cannot be read.

    An RGB file counts as colour, even if all its pixels are grey. A palette is grey if all its colours are.
    """
    try:
        if not path.is_file():
            return None
        with Image.open(path, formats=FORMATS) as image:
            if image.mode == "P":
                palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
                return 1 if (palette == palette[:, :1]).all() else 3
            return 1 if image.mode in GREY_MODES else 3
    except Exception:  # decoding it gives the reason
        return None


def decode(content: bytes, size: tuple[int, int], channels: int, fit: Fit | None) -> NDArray[np.uint8]:
    """Return an image, the first where a file has several frames, as uint8 (height, width, channels).

    The image is turned upright by its EXIF orientation, put on white where it is transparent, and brought to 8 bits a
    channel.

    Args:
        content: of the file.
        size: height and width.
        channels: 1 for grey, 3 for colour.
        fit: how an image of another size is brought to `size`; None refuses it.

    Raises:
        SizeError: the image is of another size, and `fit` is None.
        ItemError: the content is not an image, or one that is not read. The message does not name the file.
    """
    try:
        return _decode(content, size, channels, fit)
    except ItemError:
        raise
    except UnidentifiedImageError:
        raise ItemError(f"it is not a whole image in a format that is read ({', '.join(FORMATS)})") from None
    except Exception as error:  # Pillow's decoders raise errors of many types
        raise ItemError(f"it cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error


def _decode(content: bytes, size: tuple[int, int], channels: int, fit: Fit | None) -> NDArray[np.uint8]:
    if not content:
        raise ItemError("it is empty")
    # From memory: given a path, Pillow maps uncompressed TIFF files and then ignores their orientation.
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        count, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
        if limit is not None and count > limit:
            raise ItemError(f"it has {count} pixels, at most {limit} are read")
        image.load()
        upright = ImageOps.exif_transpose(image)
        if (upright.height, upright.width) != size and fit is None:
            raise SizeError(f"it is {upright.width}×{upright.height} pixels, must be {size[1]}×{size[0]}")
        pixels = _eight_bits(upright, MODES[channels])
    if (pixels.height, pixels.width) != size:
        pixels = ImageOps.fit(pixels, (size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(pixels, np.uint8).reshape(*size, channels)


def _eight_bits(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F":
        raise ItemError("its pixels are floating-point numbers, whose range is not known")
    if image.mode[0] == "I":
        image = _from_sixteen_bits(image)
    if image.has_transparency_data:
        over: Image.Image = image.convert("RGBA")
        image = Image.new("RGBA", over.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
        image.alpha_composite(over)
    return image if image.mode == mode else image.convert(mode)


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    values: NDArray[Any] = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ItemError(f"its pixels range from {values.min()} to {values.max()}, must be within 0 to 65535")
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))  # Pillow itself would clip at 255
