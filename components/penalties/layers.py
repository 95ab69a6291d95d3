"""The layers of an encoder, for penalties whose formula depends on them."""

from __future__ import annotations

from torch import nn


def layers(encoder: nn.Module) -> list[nn.Module]:
    """Return the modules that compute, in order, without those that only give a tensor another shape."""
    parts = list(encoder) if isinstance(encoder, nn.Sequential) else [encoder]
    return [part for part in parts if not isinstance(part, nn.Flatten | nn.Unflatten | nn.Identity)]
