"""What the study of generation measures: planes of codes, a prior over discrete codes, samples and their worth."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats

from components.data import PreparedDataset
from components.models import TrainingRun
from components.prior import PixelCNN, PositionFrequencies, PriorSettings
from components.samples import Detail, crowding, divergence_from_standard, in_holes, inside, nearest
from pipelines.project import StageError
from pipelines.studies.measured import evenly
from serving.bundle import Bundle

Array = np.ndarray[Any, np.dtype[Any]]

SIDE = 20  # points along a side of a decoded grid
COVERED = (0.01, 0.99)  # quantiles between which codes are said to lie: a few far ones must not stretch the grid
NEIGHBOURED = 500  # samples whose nearest training item is looked for


@dataclass(frozen=True)
class Plane:
    """A decoded grid of two-dimensional codes.

    Attributes:
        bundle: whose.
        codes: of the training items, (n, 2).
        grid: SIDE² codes (points, 2), the first coordinate rising along rows, the second falling from row to row.
        items: what they decode to, (points, *item.shape).
        holes: which lie in holes, (points,).
    """

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
class Priced:
    """Discrete codes, what knows their frequencies, and what test codes cost in bits.

    Attributes:
        bundle: whose.
        frequencies, prior: fitted to the training codes.
        epochs: passes that the prior was trained for.
        flat: bits of a code without any model.
        independent, learned: of each test item's under the two, (n,).
    """

    bundle: Bundle
    frequencies: PositionFrequencies
    prior: PixelCNN
    epochs: int
    flat: float
    independent: Array
    learned: Array


@dataclass(frozen=True)
class Made:
    """Items made one way: from which decoder and which codes, (n, *item.shape) in 0-1."""

    key: str
    decoder: str
    codes: str
    items: Array


@dataclass(frozen=True)
class Judged:
    """What they are worth against real ones.

    Attributes:
        made: the items.
        real: which lie among real items, (n,): precision is their share.
        found: which real items they cover, (n,): recall is their share.
        distances: of the first NEIGHBOURED to the nearest training item.
        neighbours: which those are.
        near: which of these are nearer to it than 99 % of test items are to theirs.
        detail: mean squared distance from the leading principal components, as a share of real items'.
    """

    made: Made
    real: Array
    found: Array
    distances: Array
    neighbours: Array
    near: Array
    detail: float


def plane_of(bundle: Bundle, train: Array, key: str, standard: bool) -> Plane:
    """Decode a grid: through the normal distribution's quantiles where codes are `standard`, else over their range.

    Raises:
        StageError: the code is not two real numbers.
    """
    if bundle.discrete or math.prod(bundle.manifest.code.shape) != 2:
        raise StageError(f"{key}: {bundle.name} has a code of {_code(bundle)}, a plane needs two real numbers")
    codes = real_codes(bundle, train)
    if standard:  # figure 4 of arXiv 1312.6114
        first = second = stats.norm.ppf((np.arange(SIDE) + 0.5) / SIDE)
    else:
        low, high = np.quantile(codes, COVERED, axis=0)
        first, second = np.linspace(low, high, SIDE).T
    across, down = np.meshgrid(first, second[::-1])
    grid = np.stack([across.ravel(), down.ravel()], 1)
    return Plane(bundle, codes, grid, decoded(bundle, grid), in_holes(grid, codes))


def price(bundle: Bundle, data: PreparedDataset, settings: PriorSettings, epochs: int, seed: int) -> Priced:
    """Train a prior on the training split's codes, keep its best epoch by validation, and price the test split's.

    Raises:
        StageError: the code is not discrete.
    """
    levels = bundle.manifest.code.levels
    if levels is None:
        raise StageError(f"quantizer: {bundle.name} has a code of {_code(bundle)}, a prior is trained on discrete ones")
    train, validation, test = (
        bundle.encode(np.asarray(data.array(split))).reshape(data.count(split), -1).astype(np.int64)
        for split in ("train", "validation", "test")
    )
    prior = settings.build(train.shape[1], levels, seed)
    best, kept = math.inf, prior.state_dict()
    for epoch in prior.fit(TrainingRun(train, validation, epochs, seed)):
        bits = epoch.metrics["validation_bits"]
        sys.stdout.write(f"prior of {bundle.name}  epoch {epoch.number}/{epochs}  validation_bits {bits:.1f}\n")
        if bits < best:
            best, kept = bits, {name: tensor.clone() for name, tensor in epoch.state.part("model").items()}
    prior.load_state_dict(kept)
    frequencies = PositionFrequencies(torch.from_numpy(train), levels)
    codes = torch.from_numpy(test)
    flat = train.shape[1] * math.log2(levels)
    independent, learned = frequencies.bits(codes).numpy(), prior.bits(codes).numpy()
    return Priced(bundle, frequencies, prior, epochs, flat, independent, learned)


@dataclass(frozen=True)
class Posterior:
    """How a variational autoencoder's codes are distributed, whose decoder is given codes from N(0, I).

    Attributes:
        bundle: whose.
        mean, covariance: of the training items' codes, (size,) and (size, size).
        divergence: of the Gaussian that has them from N(0, I), in nats.
    """

    bundle: Bundle
    mean: Array
    covariance: Array
    divergence: float

    @property
    def deviations(self) -> Array:
        """Standard deviations (size,) of the codes."""
        deviations: Array = np.sqrt(np.diag(self.covariance))
        return deviations


def posterior_of(bundle: Bundle, train: Array) -> Posterior:
    """Fit a Gaussian to the codes of the training items.

    Raises:
        StageError: the codes are discrete.
    """
    if bundle.discrete:
        raise StageError(f"vae: {bundle.name} has a code of {_code(bundle)}, N(0, I) is of real numbers")
    codes = real_codes(bundle, train).astype(np.float64)
    covariance = np.atleast_2d(np.cov(codes, rowvar=False))
    return Posterior(bundle, codes.mean(0), covariance, divergence_from_standard(codes))


def make(planes: tuple[Plane, Plane], posterior: Posterior, priced: Priced, count: int, seed: int) -> list[Made]:
    """Make `count` items in each way that the study compares."""
    random = np.random.default_rng(seed)
    plane, vae_plane = planes
    levels, positions = priced.frequencies.log_shares.shape[1], priced.frequencies.log_shares.shape[0]
    low, high = plane.covered
    normal = random.multivariate_normal(posterior.mean, posterior.covariance, count)
    standard, flat = random.normal(size=(count, 2)), random.normal(size=(count, len(posterior.mean)))
    ways: list[tuple[str, Bundle, str, Array]] = [
        ("plane", plane.bundle, "evenly over their range", random.uniform(low, high, (count, 2))),
        ("vae_plane", vae_plane.bundle, "from N(0, I)", standard),
        ("vae", posterior.bundle, "from N(0, I)", flat),
        ("vae_fitted", posterior.bundle, "from a Gaussian fitted to them", normal),
        ("uniform", priced.bundle, "evenly", random.integers(levels, size=(count, positions))),
        ("independent", priced.bundle, "position by position", priced.frequencies.sample(count, seed).numpy()),
        ("prior", priced.bundle, "from the prior", priced.prior.sample(count, seed).numpy()),
    ]
    return [Made(key, bundle.name, codes, decoded(bundle, drawn)) for key, bundle, codes, drawn in ways]


class Judge:
    """Real items, which samples are held against.

    Attributes:
        count: how many samples are judged each way, as many as there are real ones to judge by.
        items: the training items (n, *item.shape), raw.
        distances: of NEIGHBOURED test items to their nearest training item.
        unseen: validation items, raw.
    """

    def __init__(self, data: PreparedDataset, samples: int) -> None:
        self.count = min(samples, data.count("test"), data.count("validation"))
        self.items = np.asarray(data.array("train"))
        item = data.schema.item
        self._train = item.scaled(self.items).reshape(len(self.items), -1)
        places = evenly(data.count("test"), self.count)  # a published order may begin with the easier items
        self._test = item.scaled(np.asarray(data.array("test"))[places]).reshape(self.count, -1)
        self.unseen = np.asarray(data.array("validation"))[: self.count]
        self._detail = Detail(self._train)
        self.distances, _ = nearest(self._test[evenly(self.count, NEIGHBOURED)], self._train)

    def __call__(self, made: Made) -> Judged:
        """Judge items."""
        values = made.items.reshape(len(made.items), -1)
        distances, neighbours = nearest(values[:NEIGHBOURED], self._train)
        return Judged(
            made,
            real=inside(values, self._test),
            found=inside(self._test, values),
            distances=distances,
            neighbours=neighbours,
            near=distances < np.quantile(self.distances, 0.01),
            detail=float(self._detail(values).mean() / self._detail(self._test).mean()),
        )


def real_codes(bundle: Bundle, items: Array) -> Array:
    """Return the codes of raw items as vectors (n, values)."""
    return bundle.encode(items).reshape(len(items), -1)


def decoded(bundle: Bundle, codes: Array) -> Array:
    """Return the items that codes (n, values) of any number type decode to, clipped to 0-1.

    Raises:
        StageError: the bundle has no decoder.
    """
    if bundle.manifest.decoder is None:
        raise StageError(f"{bundle.name}: has no decoder, so it can make nothing")
    code = bundle.manifest.code
    items: Array = bundle.decode(codes.astype(code.dtype).reshape(-1, *code.shape)).clip(0, 1)
    return items


def _code(bundle: Bundle) -> str:
    code = bundle.manifest.code
    kind = "real numbers" if code.levels is None else f"integers below {code.levels}"
    return f"{math.prod(code.shape)} {kind}"
