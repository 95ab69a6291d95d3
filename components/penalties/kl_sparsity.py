"""The KL penalty on a unit's mean activation: each unit is active for a share `target` of the items.

Ng, "Sparse autoencoder", CS294A lecture notes, 2011, section 3; the cross-entropy form is Nair and Hinton's, NIPS
2009. With units a_ij = sigmoid(h_ij) of the code h and their mean over the batch ρ̂_j = Σ_i a_ij / n,

    Ω = Σ_j  ρ log(ρ / ρ̂_j) + (1 - ρ) log((1 - ρ) / (1 - ρ̂_j)),   ρ the target.

This is a statistic of the batch, not a mean over items: KL is convex, so the mean of batches' Ω is at least the Ω of
all their items together (Jensen), and small batches exaggerate it. Duplicating a batch leaves it as it is.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from components.penalties.contract import Activity, Penalty
from components.penalties.layers import layers

SMALLEST = 1e-6  # of an activation that comes as it is: log 0 would end the training


class KLSparsitySettings(Penalty):
    """weight · Ω, with `target` the share of items that a unit should be active for.

    Where the encoder ends in a sigmoid (`code_activation: sigmoid`), the code's values are the activations already and
    no second sigmoid is taken.
    """

    kind: Literal["kl_sparsity"] = "kl_sparsity"
    target: Annotated[float, Field(gt=0, lt=1)] = 0.05

    def term(self, activity: Activity) -> Tensor:
        """See :class:`Penalty`."""
        h = activity.code.float().flatten(1)
        if isinstance(layers(activity.encoder)[-1], nn.Sigmoid):
            mean = h.mean(0).clamp(SMALLEST, 1 - SMALLEST)
            log_active, log_silent = mean.log(), (1 - mean).log()
        else:  # in logarithms, so that a unit that is always on or always off costs much but not infinitely much
            log_active = torch.logsumexp(F.logsigmoid(h), 0) - math.log(len(h))
            log_silent = torch.logsumexp(F.logsigmoid(-h), 0) - math.log(len(h))
        rho = self.target
        divergence = rho * (math.log(rho) - log_active) + (1 - rho) * (math.log(1 - rho) - log_silent)
        return divergence.sum()
