"""Needs of studies: properties that their experiments must have, checked before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from components.models import AutoencoderSettings, Model, ModelSettings


@dataclass(frozen=True)
class Need:
    """One thing that a model must be, in words that follow "must have", and how that is seen."""

    words: str
    met: Callable[[ModelSettings, Model], bool]


def _bottleneck(settings: ModelSettings) -> str | None:
    return settings.bottleneck.kind if isinstance(settings, AutoencoderSettings) else None


def _linear(settings: ModelSettings, model: Model) -> bool:
    if not isinstance(settings, AutoencoderSettings):
        return model.code.levels is None
    flat = settings.network.kind == "linear" or getattr(settings.network, "hidden", None) == ()
    return flat and model.code.levels is None and settings.likelihood.kind == "squared_error"


LINEAR = Need("a linear decoder of real numbers", _linear)
REAL = Need("a code of real numbers", lambda _, model: model.code.levels is None)
BITS = Need("a code of bits", lambda _, model: model.code.levels == 2)
DISCRETE = Need("a discrete code", lambda _, model: model.code.levels is not None)
TWO = Need(
    "a code of two real numbers", lambda _, model: model.code.levels is None and math.prod(model.code.shape) == 2
)
TWO_OR_MORE = Need(
    "a code of two real numbers or more",
    lambda _, model: model.code.levels is None and len(model.code.shape) == 1 and model.code.shape[0] >= 2,
)
ENCODER = Need("an encoder trained by gradient", lambda settings, _: isinstance(settings, AutoencoderSettings))
GAUSSIAN = Need("the bottleneck gaussian", lambda settings, _: _bottleneck(settings) == "gaussian")
CATEGORICAL = Need("the bottleneck categorical", lambda settings, _: _bottleneck(settings) == "categorical")
LIKELIHOOD = Need(
    "the likelihood bernoulli",
    lambda settings, _: isinstance(settings, AutoencoderSettings) and settings.likelihood.kind == "bernoulli",
)


def described(settings: ModelSettings, model: Model) -> str:
    """Return what a model is, as far as studies ask: `pca with a code of 30 real numbers`."""
    parts = [settings.kind, *filter(None, [_bottleneck(settings)])]
    numbers = "real numbers" if model.code.levels is None else f"integers below {model.code.levels}"
    return f"{', '.join(parts)} with a code of {math.prod(model.code.shape)} {numbers}"
