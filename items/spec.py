"""The type of one item of data: its kind, shape and numbers."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from items.pixels import Fit
from items.sparse import SparseRows
from items.text import Vocabulary

ItemKind = Literal["image", "vector", "text"]
Layout = Literal["dense", "csr"]
Scale = Literal["bytes", "numbers", "tf_idf"]
TINY = 1e-12


class ItemSpec(BaseModel):
    """The type of one raw item, as it is stored and as an encoder takes it.

    Images are uint8 (height, width, channels). Vectors are (dimensions,). Texts are counts of words, int32 (words,).

    Attributes:
        fit: the way in which image files of other sizes were brought to `shape`; None where items do not come from
            image files.
        vocabulary: the words that are counted; of texts only, and None as long as their data is not prepared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ItemKind
    shape: tuple[Annotated[int, Field(ge=1)], ...]
    dtype: Literal["uint8", "int32", "float32"]
    # Left out where it is None, so that the digests of data and bundles that know no fit stay as they are.
    fit: Fit | None = Field(default=None, exclude_if=lambda fit: fit is None)
    vocabulary: Vocabulary | None = Field(default=None, exclude_if=lambda vocabulary: vocabulary is None)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if (self.kind == "text") != (self.dtype == "int32"):
            raise ValueError(f"dtype is {self.dtype}, must be int32 for texts and for nothing else")
        if self.vocabulary is not None and self.shape != (len(self.vocabulary.words),):
            raise ValueError(f"shape is {self.shape}, the vocabulary has {len(self.vocabulary.words)} words")
        return self

    @property
    def values(self) -> int:
        """Numbers in one item."""
        return math.prod(self.shape)

    @property
    def bits(self) -> int:
        """Bits of one raw item."""
        return self.values * (8 if self.dtype == "uint8" else 32)

    @property
    def layout(self) -> Layout:
        """How items are stored: most counts of words are 0."""
        return "csr" if self.kind == "text" else "dense"

    @property
    def scale(self) -> Scale:
        """What a model makes of the raw numbers before anything else, see :meth:`scaled`."""
        return "tf_idf" if self.kind == "text" else "bytes" if self.dtype == "uint8" else "numbers"

    @property
    def peak(self) -> float | None:
        """The largest value that a scaled item can have: 1 of bytes; None of other numbers."""
        return 1.0 if self.scale == "bytes" else None

    @property
    def grid(self) -> tuple[int, int] | None:
        """Height and width of items whose values have neighbours in two directions; None of others."""
        return (self.shape[0], self.shape[1]) if self.kind == "image" else None

    @property
    def gain(self) -> float:
        """What a network multiplies scaled items by, so that their values are about 1, as initial weights expect.

        The values of a row of length 1 are far smaller.
        """
        return math.sqrt(self.values) if self.scale == "tf_idf" else 1.0

    @property
    def word_weights(self) -> npt.NDArray[np.float32]:
        """The weight of each word in tf-idf, (words,); 1 as long as there is no vocabulary."""
        weights = self.vocabulary.inverse_frequencies if self.vocabulary else np.ones(self.values)
        return weights.astype(np.float32)

    def sparse_tf_idf(self, rows: SparseRows) -> npt.NDArray[np.float64]:
        """Return what :meth:`scaled` makes of each value that sparse rows of counts hold, (values,)."""
        weighted = rows.counts * self.word_weights.astype(np.float64)[rows.indices]
        lengths = np.sqrt(np.bincount(rows.places, weighted**2, len(rows)))  # 0 of a row that holds no value
        return np.asarray(weighted / lengths[rows.places])

    def scaled(self, items: npt.NDArray[Any]) -> npt.NDArray[np.floating[Any]]:
        """Return raw items (n, *shape) in the scale in which a model takes them.

        Bytes become 0 to 1, floats stay as they are. Counts of words become tf-idf, a row's length 1: scikit-learn's
        TfidfVectorizer by its defaults. A text without a known word stays 0.
        """
        scaled: npt.NDArray[np.floating[Any]] = items
        if self.scale == "bytes":
            scaled = items.astype(np.float32) / 255.0
        elif self.scale == "tf_idf":
            weighted = items.astype(np.float32) * self.word_weights
            scaled = weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), TINY)
        return scaled
