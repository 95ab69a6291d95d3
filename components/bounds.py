"""The evidence bound of a variational autoencoder, computed as it is defined: on binary items, by samples, unweighted.

Kingma, Welling, "Auto-Encoding Variational Bayes", arXiv 1312.6114, equation 3:

    -log p(x) ≤ E_q[-log p(x | z)] + KL(q(z | x) || p(z))                                  reconstruction + divergence

Burda, Grosse, Salakhutdinov, "Importance Weighted Autoencoders", arXiv 1509.00519, equation 8, never looser and in the
limit of k samples no bound but the likelihood itself:

    -log p(x) ≤ E[-log 1/k Σ p(x | z_i) p(z_i) / q(z_i | x)]                               multi-sample bound

The loss that a validation shows is none of both: its code is the posterior's mean or likeliest class, its divergence is
weighted by beta, and its items may be grey, of which a cross-entropy is no log-likelihood.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.likelihoods import Bernoulli
from components.models.autoencoder import Autoencoder
from components.settings import SettingError

BATCH = 1000
ACTIVE = 0.01  # variance of a posterior mean above which its variable is active: Burda et al., section 5.2

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Bounds:
    """Bounds on the negative log-likelihood of binary items, in nats.

    Attributes:
        reconstruction: mean of -log p(x | z) over samples of z, (items,).
        divergence: KL(q(z | x) || p(z)), exact, (items,).
        multi_sample: the importance-weighted bound of all samples, (items,).
        samples: codes that were drawn for each item.
        active: whether each latent variable's posterior mean varies with the item, (variables,).
    """

    reconstruction: Array
    divergence: Array
    multi_sample: Array
    samples: int
    active: np.ndarray[Any, np.dtype[np.bool_]]

    @property
    def negative_bound(self) -> Array:
        """The one-sample evidence bound (items,): the sum of its two parts."""
        return self.reconstruction + self.divergence


@torch.no_grad()
def compute_bounds(model: Autoencoder, items: Tensor, samples: int, seed: int) -> Bounds:
    """Compute the bounds on raw items (n, *item.shape), each value drawn once as 0 or 1, its scaled value the chance.

    The binary items depend on `seed` alone, so with the same one all models are compared on the same items.

    Raises:
        SettingError: the model gives items no likelihood, or its bottleneck no distribution of codes.
    """
    if not isinstance(model.likelihood, Bernoulli):
        raise SettingError("likelihood.kind", model.likelihood.kind, "must be bernoulli: items are 0 and 1 here")
    model.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        binary = model.scaling(items).bernoulli()
        parts = [_compute_batch(model, batch, samples) for batch in torch.split(binary, BATCH)]
    reconstruction, divergence, multi_sample, means = (torch.cat(part) for part in zip(*parts, strict=True))
    return Bounds(
        reconstruction=reconstruction.double().numpy(),
        divergence=divergence.double().numpy(),
        multi_sample=multi_sample.double().numpy(),
        samples=samples,
        active=active_variables(means).numpy(),
    )


def active_variables(means: Tensor) -> Tensor:
    """Return whether each variable's posterior mean varies over items, (variables,), by more than 0.01 (variance).

    Args:
        means: (items, variables), or of classes' probabilities (items, variables, classes): then any of them must vary.
    """
    varies = means.double().var(0) > ACTIVE
    return varies.flatten(1).any(1) if varies.ndim > 1 else varies


def _compute_batch(model: Autoencoder, binary: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return reconstruction, divergence, multi-sample bound (batch,) each, and the posterior's means."""
    posterior = model.bottleneck.posterior(model.encoder(binary))
    if posterior is None:
        kind = type(model.bottleneck).__name__
        raise SettingError("bottleneck", kind, "must draw codes at random: gaussian, categorical, or binary with noise")
    errors, totals = [], []
    for _ in range(samples):
        code, log_ratio = posterior.draw()
        errors.append(model.likelihood.errors(binary, model.decoder(code)))
        totals.append(errors[-1] + log_ratio)
    multi_sample = math.log(samples) - torch.stack(totals).neg().logsumexp(0)
    return torch.stack(errors).mean(0), posterior.divergence, multi_sample, posterior.mean
