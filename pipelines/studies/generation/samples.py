"""Items decoded from codes that no encoder gave, and how they compare with real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats

from components.data import PreparedDataset
from components.prior import PixelCNN, PositionFrequencies
from components.samples import Detail, crowding, divergence_from_standard, in_holes, inside, nearest
from pipelines.project import StageError
from pipelines.studies.bundles import evenly_spread
from pipelines.studies.generation.prior import code_text, flat_codes, levels_of
from serving.bundle import Bundle

Array = np.ndarray[Any, np.dtype[Any]]

SIDE = 20  # points along a side of a decoded grid
COVERED = (0.01, 0.99)  # quantiles between which codes are said to lie: a few far ones must not stretch the grid
NEIGHBOURED = 500  # samples whose nearest training item is looked for


@dataclass(frozen=True)
class Plane:
    """A decoded grid of two-dimensional codes.

    Attributes:
        name: the experiment's.
        bundle: whose codes they are.
        codes: of the training items, (n, 2).
        grid: SIDE² codes (points, 2), the first coordinate rising along rows, the second falling from row to row.
        items: decoded from the grid, (points, *item.shape).
        holes: which lie in holes, (points,).
    """

    name: str
    bundle: Bundle
    codes: Array
    grid: Array
    items: Array
    holes: Array

    @property
    def covered(self) -> Array:
        """Lowest and highest value (2, 2) of each coordinate but for the outermost codes."""
        covered: Array = np.quantile(self.codes, COVERED, axis=0)
        return covered

    @property
    def crowding(self) -> float:
        """The share of grid points that half of the training codes are nearest to."""
        return crowding(self.codes, self.grid)


@dataclass(frozen=True)
class Posterior:
    """The distribution of a variational autoencoder's codes, whose decoder is given codes from N(0, I).

    Attributes:
        name: the experiment's.
        bundle: whose codes they are.
        mean, covariance: of the training items' codes, (size,) and (size, size).
        divergence: of the Gaussian that has them from N(0, I), in nats.
    """

    name: str
    bundle: Bundle
    mean: Array
    covariance: Array
    divergence: float

    @property
    def deviations(self) -> Array:
        """Standard deviations (size,) of the codes."""
        deviations: Array = np.sqrt(np.diag(self.covariance))
        return deviations


@dataclass(frozen=True)
class CodeModels:
    """Two models of a quantizer's codes, and what test codes cost under them in bits.

    Attributes:
        name: the experiment's.
        bundle: whose codes they are.
        frequencies, prior: fitted to the training codes.
        flat: bits of a code without any model.
        independent, learned: of each test item's code under the two models, (n,).
    """

    name: str
    bundle: Bundle
    frequencies: PositionFrequencies
    prior: PixelCNN
    flat: float
    independent: Array
    learned: Array


@dataclass(frozen=True)
class Samples:
    """Items made one way: with which decoder, from which codes, (n, *item.shape) in 0-1."""

    key: str
    decoder: str
    codes: str
    items: Array


@dataclass(frozen=True)
class Comparison:
    """Samples against real items.

    Attributes:
        samples: the items.
        real: which lie among real items, (n,): precision is their share.
        found: which real items they cover, (n,): recall is their share.
        distances: of the first NEIGHBOURED to the nearest training item.
        neighbours: which those are.
        near: which of these are nearer to it than 99 % of test items are to theirs.
        detail: mean squared distance from the leading principal components, as a share of real items'.
    """

    samples: Samples
    real: Array
    found: Array
    distances: Array
    neighbours: Array
    near: Array
    detail: float


class Reference:
    """Real items, with which samples are compared.

    Attributes:
        count: how many samples are made each way, as many as there are real ones to compare with.
        items: the training items (n, *item.shape), raw.
        distances: of NEIGHBOURED test items to their nearest training item.
        unseen: validation items, raw.
    """

    def __init__(self, data: PreparedDataset, samples: int) -> None:
        self.count = min(samples, data.count("test"), data.count("validation"))
        self.items = np.asarray(data.array("train"))
        item = data.schema.item
        self._train = item.scaled(self.items).reshape(len(self.items), -1)
        places = evenly_spread(data.count("test"), self.count)  # a published order may begin with the easier items
        self._test = item.scaled(np.asarray(data.array("test"))[places]).reshape(self.count, -1)
        self.unseen = np.asarray(data.array("validation"))[: self.count]
        self._detail = Detail(self._train)
        self.distances, _ = nearest(self._test[evenly_spread(self.count, NEIGHBOURED)], self._train)

    def compare(self, samples: Samples) -> Comparison:
        """Compare samples with real items."""
        values = samples.items.reshape(len(samples.items), -1)
        distances, neighbours = nearest(values[:NEIGHBOURED], self._train)
        return Comparison(
            samples,
            real=inside(values, self._test),
            found=inside(self._test, values),
            distances=distances,
            neighbours=neighbours,
            near=distances < np.quantile(self.distances, 0.01),
            detail=float(self._detail(values).mean() / self._detail(self._test).mean()),
        )


def plane_of(name: str, bundle: Bundle, train: Array, key: str, standard: bool) -> Plane:
    """Decode a grid: through the normal distribution's quantiles where codes are `standard`, else over their range.

    Raises:
        StageError: the code is not two real numbers.
    """
    if bundle.discrete or math.prod(bundle.manifest.code.shape) != 2:
        raise StageError(f"{key}: {code_text(bundle)}, a plane needs two real numbers")
    codes = real_codes(bundle, train)
    if standard:  # figure 4 of arXiv 1312.6114
        first = second = stats.norm.ppf((np.arange(SIDE) + 0.5) / SIDE)
    else:
        low, high = np.quantile(codes, COVERED, axis=0)
        first, second = np.linspace(low, high, SIDE).T
    across, down = np.meshgrid(first, second[::-1])
    grid = np.stack([across.ravel(), down.ravel()], 1)
    return Plane(name, bundle, codes, grid, decoded(bundle, grid), in_holes(grid, codes))


def posterior_of(name: str, bundle: Bundle, train: Array) -> Posterior:
    """Fit a Gaussian to the codes of the training items.

    Raises:
        StageError: the codes are discrete.
    """
    if bundle.discrete:
        raise StageError(f"vae: {code_text(bundle)}, N(0, I) is of real numbers")
    codes = real_codes(bundle, train).astype(np.float64)
    covariance = np.atleast_2d(np.cov(codes, rowvar=False))
    return Posterior(name, bundle, codes.mean(0), covariance, divergence_from_standard(codes))


def models_of(name: str, bundle: Bundle, data: PreparedDataset, prior: PixelCNN) -> CodeModels:
    """Fit frequencies of each position to the training codes, and compute what test codes cost."""
    levels = levels_of(bundle)
    train, test = (flat_codes(bundle, data, split) for split in ("train", "test"))
    frequencies, codes = PositionFrequencies(torch.from_numpy(train), levels), torch.from_numpy(test)
    flat = train.shape[1] * math.log2(levels)
    independent, learned = frequencies.bits(codes).numpy(), prior.bits(codes).numpy()
    return CodeModels(name, bundle, frequencies, prior, flat, independent, learned)


def make_samples(
    planes: tuple[Plane, Plane], posterior: Posterior, models: CodeModels, count: int, seed: int
) -> list[Samples]:
    """Make `count` items in each way that the study compares."""
    random = np.random.default_rng(seed)
    plane, vae_plane = planes
    levels, positions = models.frequencies.log_shares.shape[1], models.frequencies.log_shares.shape[0]
    low, high = plane.covered
    normal = random.multivariate_normal(posterior.mean, posterior.covariance, count)
    standard, flat = random.normal(size=(count, 2)), random.normal(size=(count, len(posterior.mean)))
    ways: list[tuple[str, Plane | Posterior | CodeModels, str, Array]] = [
        ("plane", plane, "evenly over their range", random.uniform(low, high, (count, 2))),
        ("vae_plane", vae_plane, "from N(0, I)", standard),
        ("vae", posterior, "from N(0, I)", flat),
        ("vae_fitted", posterior, "from a Gaussian fitted to them", normal),
        ("uniform", models, "evenly", random.integers(levels, size=(count, positions))),
        ("independent", models, "position by position", models.frequencies.sample(count, seed).numpy()),
        ("prior", models, "from the prior", models.prior.sample(count, seed).numpy()),
    ]
    return [Samples(key, source.name, codes, decoded(source.bundle, drawn)) for key, source, codes, drawn in ways]


def real_codes(bundle: Bundle, items: Array) -> Array:
    """Return the codes of raw items as vectors (n, values)."""
    return bundle.encode(items).reshape(len(items), -1)


def decoded(bundle: Bundle, codes: Array) -> Array:
    """Return the items decoded from codes (n, values) of any number type, clipped to 0-1.

    Raises:
        StageError: the bundle has no decoder.
    """
    if bundle.manifest.decoder is None:
        raise StageError(f"{bundle.name}: has no decoder, so it can make nothing")
    code = bundle.manifest.code
    items: Array = bundle.decode(codes.astype(code.dtype).reshape(-1, *code.shape)).clip(0, 1)
    return items
