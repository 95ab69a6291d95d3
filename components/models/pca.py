"""Principal component analysis in closed form: the eigenvectors of the covariance, largest eigenvalues first.

Pearson, "On lines and planes of closest fit to systems of points in space", 1901. Maximising the variance of w·x
under |w| = 1 with a Lagrange multiplier gives Cov(x) w = λ w, and the variance along w is λ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from components.bottlenecks.contract import CodeSpec
from components.items import ItemSpec
from components.models.contract import Epoch, Model, Scaling, TrainingRun, squared_error
from components.settings import SettingError, Settings
from components.state import State
from components.training import as_tensor, measure

CHUNK = 8192


class PCASettings(Settings):
    """The first `size` principal components."""

    kind: Literal["pca"] = "pca"
    size: int = Field(ge=1)

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
        items = as_tensor(run.train)
        self._solve(items)
        train, validation = measure(self, items), measure(self, as_tensor(run.validation))
        metrics = {f"train_{name}": value for name, value in train.items()}
        metrics |= {f"validation_{name}": value for name, value in validation.items()}
        yield Epoch(1, metrics, State({f"model.{k}": v for k, v in self.state_dict().items()}, {"epoch": 1}))

    @torch.no_grad()
    def _solve(self, items: Tensor) -> None:
        """Find mean and components of raw items (n, *item.shape), the sums in float64 over chunks."""
        values, n = self.item.values, len(items)
        # Shifted by one item, so that the squares of a large mean do not swallow a small variance.
        shift = self.scaling(items[:1]).flatten(1)
        total = torch.zeros(values, dtype=torch.float64)
        products = torch.zeros(values, values, dtype=torch.float64)
        for chunk in torch.split(items, CHUNK):
            x = self.scaling(chunk).flatten(1) - shift
            total += x.sum(0, dtype=torch.float64)
            products += x.T @ x
        mean = total / n
        covariance = (products - n * torch.outer(mean, mean)) / max(1, n - 1)
        variances, vectors = torch.linalg.eigh(covariance)
        largest = vectors.flip(1)[:, : len(self.components)].T
        # An eigenvector's sign is free: the largest weight is made positive, so that fits can be compared.
        signs = largest.gather(1, largest.abs().argmax(1, keepdim=True)).sign()
        self.mean.copy_(mean + shift[0])
        self.components.copy_(largest * signs)
        self.variances.copy_(variances.flip(0)[: len(self.components)].clamp(min=0))

    def losses(self, items: Tensor) -> dict[str, Tensor]:
        """See :class:`Model`."""
        return {"squared_error": squared_error(self.scaling(items), self.decode(self.encode(items)))}

    def encode(self, items: Tensor) -> Tensor:
        """Return the items' coordinates (batch, size) along the components."""
        scaled: Tensor = self.scaling(items)
        return (scaled.flatten(1) - self.mean) @ self.components.T

    def decode(self, codes: Tensor) -> Tensor:
        """Return the point of the components' plane, as items."""
        return torch.unflatten(codes @ self.components + self.mean, 1, self.item.shape)
