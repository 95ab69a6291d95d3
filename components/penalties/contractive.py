"""The contractive penalty: the code changes little where the item does.

Rifai, Vincent, Muller, Glorot, Bengio, "Contractive Auto-Encoders", ICML 2011, equation 3: the squared Frobenius norm
of the Jacobian of the encoder, ‖J(x)‖² = Σ_jk (∂h_j / ∂x_k)², here at the clean, scaled item.

For one layer h = s(Wx + b) it is Σ_j s'(a_j)² ‖W_j‖², exact and about as cheap as the layer. For deeper encoders it is
Hutchinson's estimate (1990): E ‖vᵀJ‖² = ‖J‖² for random v with E vvᵀ = I, unbiased whatever the number of samples,
at one pass through the encoder and one back per sample. It holds for encoders that treat each item by itself.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from components.penalties.contract import Activity, Penalty
from components.penalties.layers import layers

ELEMENTWISE = (nn.ReLU, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid)


class ContractiveSettings(Penalty):
    """weight · mean over items of ‖J(x)‖², from `samples` random projections where no closed form is known."""

    kind: Literal["contractive"] = "contractive"
    samples: int = Field(default=1, ge=1)

    def term(self, activity: Activity) -> Tensor:
        """See :class:`Penalty`."""
        exact = squared_norms(activity.encoder, activity.items)
        if exact is not None:
            return exact.mean()
        # An evaluation draws from its own seed, so that it depends on nothing but the weights and the items.
        generator = None if activity.training else torch.Generator(activity.items.device).manual_seed(0)
        return estimated_squared_norms(activity.encoder, activity.items, self.samples, generator).mean()


def squared_norms(encoder: nn.Module, items: Tensor) -> Tensor | None:
    """Return ‖J(x)‖² of each scaled item, (batch,), or None where the encoder is not one layer and an activation."""
    match layers(encoder):
        case [nn.Linear() as linear]:
            return linear.weight.float().square().sum().expand(len(items))
        case [nn.Linear() as linear, activation] if isinstance(activation, ELEMENTWISE):
            with torch.enable_grad():
                a = linear(items.flatten(1)).float()
                a = a if a.requires_grad else a.requires_grad_()
                slopes = torch.autograd.grad(activation(a).sum(), a, create_graph=True)[0]
            norms: Tensor = (slopes.square() * linear.weight.float().square().sum(1)).sum(1)
            return norms if torch.is_grad_enabled() else norms.detach()
        case _:
            return None


def estimated_squared_norms(
    encoder: nn.Module, items: Tensor, samples: int, generator: torch.Generator | None = None
) -> Tensor:
    """Return an unbiased estimate of ‖J(x)‖² of each scaled item, (batch,), with a gradient where one is wanted."""
    wanted = torch.is_grad_enabled()
    with torch.enable_grad():
        x = items.detach().requires_grad_()
        latents = encoder(x)
        total = torch.zeros(len(items), device=items.device)
        for sample in range(1, samples + 1):
            # Signs have the least variance of all v with E vvᵀ = I.
            v = torch.randint(2, latents.shape, device=latents.device, generator=generator).to(latents.dtype) * 2 - 1
            keep = wanted or sample < samples
            (projected,) = torch.autograd.grad(latents, x, v, create_graph=wanted, retain_graph=keep)
            total = total + projected.float().flatten(1).square().sum(1)
    return total / samples


def jacobians(encoder: nn.Module, items: Tensor) -> Tensor:
    """Return J(x) of scaled items (n, *item.shape), exact, whatever the encoder: (n, latent values, item values)."""
    differentiated = torch.func.jacrev(lambda item: encoder(item[None]).flatten())
    with torch.no_grad():
        return torch.stack([differentiated(item).float().flatten(1) for item in items])
