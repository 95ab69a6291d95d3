"""The type of one item of data: its kind, shape and numbers."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from items.pixels import Fit

ItemKind = Literal["image", "vector"]


class ItemSpec(BaseModel):
    """The type of one raw item, as it is stored and as an encoder takes it.

    Images are uint8 (height, width, channels). Vectors are (dimensions,).

    Attributes:
        fit: the way in which image files of other sizes were brought to `shape`; None where items do not come from
            image files.
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
        """Return raw items (n, *shape) in the scale of a model's output: bytes as 0 to 1, floats as they are."""
        return items.astype(np.float32) / 255.0 if self.dtype == "uint8" else items
