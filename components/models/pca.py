"""Principal component analysis in closed form: the eigenvectors of the covariance, largest eigenvalues first.

Pearson, "On lines and planes of closest fit to systems of points in space", 1901. Maximising the variance of w·x
under |w| = 1 with a Lagrange multiplier gives Cov(x) w = λ w, and the variance along w is λ. Where items are fewer than
their values, the Gram matrix of the items gives the same by a smaller problem: with X the centred items, a row each,
X Xᵀ u = λ u makes w = Xᵀ u / |Xᵀ u| (Bishop, "Pattern Recognition and Machine Learning", section 12.1.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from components.batches import Batches, DenseBatches
from components.contract import Epoch, Model, Scaling, TrainingRun
from components.likelihoods import SquaredError
from components.settings import SettingError, Settings
from components.state import State
from components.training import only_epoch
from items.code import CodeSpec
from items.spec import ItemSpec

BLOCK_BYTES = 2**25  # of the items that are scaled at a time
DENSE_SHARE = 1 / 16  # of all eigenvectors: where fewer are wanted, Lanczos iterations beat the full decomposition


class PCASettings(Settings):
    """The first `size` principal components."""

    kind: Literal["pca"] = "pca"
    size: int = Field(ge=1)
    objective: ClassVar[str] = SquaredError.term
    unit: ClassVar[str] = SquaredError.unit

    def build(self, item: ItemSpec, seed: int = 0) -> PCA:
        """Build the model, not yet fitted; nothing in it is drawn at random.

        Raises:
            SettingError: more components than an item has numbers.
        """
        if self.size > item.values:
            raise SettingError("size", self.size, f"must be at most {item.values}, the numbers in one item")
        return PCA(item, self.size)


class PCA(Model):
    """code = (x - mean) Wᵀ with orthonormal rows in W.

    Buffers: `mean` (values,), `components` (size, values), `variances` (size,), the last in the items' scale, divided
    by n - 1.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor

    def __init__(self, item: ItemSpec, size: int) -> None:
        super().__init__()
        self.item, self.code = item, CodeSpec(shape=(size,), levels=None)
        self.scaling = Scaling(item)
        self.register_buffer("mean", torch.zeros(item.values))
        self.register_buffer("components", torch.zeros(size, item.values))
        self.register_buffer("variances", torch.zeros(size))

    def fit(self, run: TrainingRun, resume: State | None = None) -> Iterator[Epoch]:
        """Fit in one pass, in one epoch; with `resume`, there is nothing left to do."""
        if resume is not None:
            return
        self._solve(Batches.of(run.train))
        yield only_epoch(self, run)

    @torch.no_grad()
    def _solve(self, items: Batches) -> None:
        """Find mean and components of raw items, from the smaller of covariance and Gram matrix."""
        if isinstance(items, DenseBatches) and len(items) < self.item.values:
            mean, variances, directions = self._by_gram_matrix(items)
        else:
            mean, variances, directions = self._by_covariance(items)
        # An eigenvector's sign is free: the largest weight is made positive, so that fits can be compared.
        signs = directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
        self.mean.copy_(mean)
        self.components.copy_((directions * signs).T)
        self.variances.copy_(variances.clamp(min=0))

    def _by_covariance(self, items: Batches) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean (values,), variances (size,) and directions (values, size) of raw items."""
        n, values = len(items), self.item.values
        # Shifted by one item, so that the squares of a large mean do not swallow a small variance.
        shift = self._scaled_rows(items.rows(slice(1)))
        total = torch.zeros(values, dtype=torch.float64)
        products = torch.zeros(values, values, dtype=torch.float64)
        for block in items.split(max(1, BLOCK_BYTES // (4 * values))):
            x = self._scaled_rows(block) - shift
            total += x.sum(0, dtype=torch.float64)
            products += x.T @ x
        mean = total / n
        covariance = (products - n * torch.outer(mean, mean)) / max(1, n - 1)
        return mean + shift[0], *_largest_eigenpairs(covariance, len(self.components))

    def _by_gram_matrix(self, items: DenseBatches) -> tuple[Tensor, Tensor, Tensor]:
        """Return what :meth:`_by_covariance` does."""
        n, values = len(items), self.item.values
        wide = max(1, BLOCK_BYTES // (8 * n))
        blocks = [slice(start, start + wide) for start in range(0, values, wide)]
        mean = torch.cat([self.scaling(items.columns(block)).mean(0, dtype=torch.float64) for block in blocks])
        gram = torch.zeros(n, n, dtype=torch.float64)
        for block in blocks:
            x = self.scaling(items.columns(block)) - mean[block]
            gram += x @ x.T
        variances, weights = _largest_eigenpairs(gram / max(1, n - 1), len(self.components))
        # n items span fewer than n directions: the rest stay 0 here, and QR makes any that are orthogonal to them.
        directions = torch.zeros(values, len(self.components), dtype=torch.float64)
        for block in blocks:
            directions[block, : len(variances)] = (self.scaling(items.columns(block)) - mean[block]).T @ weights
        padded = torch.zeros(len(self.components), dtype=torch.float64)
        padded[: len(variances)] = variances
        return mean, padded, torch.linalg.qr(directions)[0]

    def losses(self, items: Tensor) -> dict[str, Tensor]:
        """See :class:`Model`."""
        error = SquaredError()
        return {error.term: error.errors(self.scaling(items), self.decode(self.encode(items))).mean()}

    def _scaled_rows(self, items: Tensor) -> Tensor:
        """Return raw items (batch, *item.shape) scaled and flattened, (batch, values)."""
        scaled: Tensor = self.scaling(items)
        return scaled.flatten(1)

    def encode(self, items: Tensor) -> Tensor:
        """Return the items' coordinates (batch, size) along the components."""
        return (self._scaled_rows(items) - self.mean) @ self.components.T

    def decode(self, codes: Tensor) -> Tensor:
        """Return the point of the components' plane, as items."""
        return torch.unflatten(codes @ self.components + self.mean, 1, self.item.shape)


def _largest_eigenpairs(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalues of a symmetric matrix (m, m), falling, and their eigenvectors (m, count).

    There are min(count, m) of them.
    """
    if count < DENSE_SHARE * len(matrix) and matrix.any():
        from scipy.sparse.linalg import eigsh  # here: models are imported often and fitted seldom

        random = np.random.default_rng(0)
        start = random.normal(size=len(matrix))
        values, vectors = map(torch.from_numpy, eigsh(matrix.numpy(), count, which="LA", v0=start, rng=random))
    else:
        values, vectors = torch.linalg.eigh(matrix)
    order = values.argsort(descending=True)[:count]
    return values[order], vectors[:, order]
