"""Latent semantic analysis: the truncated singular value decomposition of tf-idf, the PCA of texts.

Deerwester, Dumais, Furnas, Landauer, Harshman, "Indexing by Latent Semantic Analysis", 1990. Unlike PCA it does not
subtract the mean, so what is sparse stays so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from components.batches import RawItems
from components.contract import Epoch, Model, Scaling, TrainingRun
from components.likelihoods import SquaredError
from components.settings import SettingError, Settings
from components.state import State
from components.training import only_epoch
from items.code import CodeSpec
from items.sparse import SparseRows
from items.spec import ItemSpec


class LSASettings(Settings):
    """The first `size` singular vectors."""

    kind: Literal["lsa"] = "lsa"
    size: int = Field(ge=1)
    objective: ClassVar[str] = SquaredError.term
    unit: ClassVar[str] = SquaredError.unit

    def build(self, item: ItemSpec, seed: int = 0) -> LSA:
        """Build the model, not yet fitted; nothing in it is drawn at random.

        Raises:
            SettingError: the items are no texts, or have fewer words than `size`.
        """
        if item.kind != "text":
            raise SettingError("kind", self.kind, f"is for texts, and the items are of kind {item.kind}; use pca")
        if self.size > item.values:
            raise SettingError("size", self.size, f"must be at most {item.values}, the words of the vocabulary")
        return LSA(item, self.size)


class LSA(Model):
    """code = x Wᵀ, of the tf-idf x of a text, with orthonormal rows in W.

    Buffers: `components` (size, words) and `singular_values` (size,).
    """

    components: Tensor
    singular_values: Tensor

    def __init__(self, item: ItemSpec, size: int) -> None:
        super().__init__()
        self.item, self.code = item, CodeSpec(shape=(size,), levels=None)
        self.scaling = Scaling(item)
        self.register_buffer("components", torch.zeros(size, item.values))
        self.register_buffer("singular_values", torch.zeros(size))

    def fit(self, run: TrainingRun, resume: State | None = None) -> Iterator[Epoch]:
        """Fit in one pass, in one epoch; with `resume`, there is nothing left to do."""
        if resume is not None:
            return
        self._solve(run.train)
        yield only_epoch(self, run)

    def _solve(self, items: RawItems) -> None:
        """Find the singular vectors of the training texts' tf-idf."""
        from scipy.sparse import csr_array  # here: models are imported often and fitted seldom
        from scipy.sparse.linalg import svds

        rows = items if isinstance(items, SparseRows) else SparseRows.of(items)
        matrix = csr_array((self.item.sparse_tf_idf(rows), rows.indices, rows.indptr), shape=rows.shape)
        size = len(self.components)
        if size < min(matrix.shape):
            start = np.random.default_rng(0).normal(size=min(matrix.shape))
            _, values, directions = svds(matrix, size, v0=start)
            order = np.argsort(-values)
            values, directions = values[order], directions[order]
        else:
            _, values, directions = np.linalg.svd(matrix.toarray(), full_matrices=False)
        # A singular vector's sign is free: the largest weight is made positive, so that fits can be compared.
        largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
        self.components[: len(values)] = torch.from_numpy(directions * np.sign(largest))
        self.singular_values[: len(values)] = torch.from_numpy(values.copy())

    def losses(self, items: Tensor) -> dict[str, Tensor]:
        """See :class:`Model`."""
        error = SquaredError()
        return {error.term: error.errors(self.scaling(items), self.decode(self.encode(items))).mean()}

    def encode(self, items: Tensor) -> Tensor:
        """Return the coordinates (batch, size) of raw items along the singular vectors."""
        scaled: Tensor = self.scaling(items)
        return scaled @ self.components.T

    def decode(self, codes: Tensor) -> Tensor:
        """Return the tf-idf (batch, words) of the point in the vectors' space."""
        return codes @ self.components
