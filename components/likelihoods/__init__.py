"""Likelihoods: what the decoder's output says of an item, and how far off it is."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.likelihoods.bernoulli import Bernoulli
from components.likelihoods.contract import Likelihood
from components.likelihoods.multinomial import Multinomial
from components.likelihoods.squared_error import SquaredError

LikelihoodSettings = Annotated[SquaredError | Bernoulli | Multinomial, Field(discriminator="kind")]

__all__ = ["Bernoulli", "Likelihood", "LikelihoodSettings", "Multinomial", "SquaredError"]
