"""Gradients through a choice that has none of its own."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

SHORTEST = 1e-6  # vectors below this length have no direction to turn


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return `hard`, exactly, with the gradient of `soft`; both of one shape.

    Bengio, Léonard, Courville, arXiv 1308.3432.
    """
    return hard + (soft - soft.detach())


def rotated_through(quantized: Tensor, latents: Tensor) -> Tensor:
    """Return `quantized` with a gradient to `latents` as if a rotation and a rescaling had moved them there.

    The rotation trick, Fifty et al., arXiv 2410.06424, section 4.2: with unit vectors e of the latent and q of the
    codebook vector and r = (e + q) / |e + q|, the vector R latent with R = I - 2 r r' + 2 q e', times the ratio of the
    lengths, is the codebook vector; R and the ratio count as constants. Both tensors are (..., dimensions).
    """
    latent, vector = latents.detach(), quantized.detach()
    ratio = vector.norm(dim=-1, keepdim=True) / latent.norm(dim=-1, keepdim=True).clamp(min=SHORTEST)
    e, q = F.normalize(latent, dim=-1, eps=SHORTEST), F.normalize(vector, dim=-1, eps=SHORTEST)
    r = F.normalize(e + q, dim=-1, eps=SHORTEST)
    turned = latents - 2 * r * (r * latents).sum(-1, keepdim=True) + 2 * q * (e * latents).sum(-1, keepdim=True)
    return straight_through(quantized, ratio * turned)
