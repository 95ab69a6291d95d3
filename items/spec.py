"""What one item of data is, whatever it shows: an image, a vector of counts, a sequence."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from items.pixels import Fit

ItemKind = Literal["image", "vector"]


class ItemSpec(BaseModel):
    """One item as it is stored and as a bundle takes it.

    Images are (height, width, channels) and uint8, as cameras and decoders give them. Vectors are (dimensions,).

    Attributes:
        fit: how files of other sizes were brought to `shape`; None where items do not come from image files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ItemKind
    shape: tuple[Annotated[int, Field(ge=1)], ...]
    dtype: Literal["uint8", "float32"]
    # Left out where it is None, so that the digests of data and bundles that know no fit stay as they are.
    fit: Fit | None = Field(default=None, exclude_if=lambda fit: fit is None)

    @property
    def values(self) -> int:
        """Numbers in one item."""
        return math.prod(self.shape)

    @property
    def bits(self) -> int:
        """Bits of one raw item."""
        return self.values * (8 if self.dtype == "uint8" else 32)

    def scaled(self, items: npt.NDArray[Any]) -> npt.NDArray[np.floating[Any]]:
        """Return raw items (n, *shape) in the scale that models rebuild: bytes as 0-1, numbers as they are."""
        return items.astype(np.float32) / 255.0 if self.dtype == "uint8" else items
