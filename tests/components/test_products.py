"""Any network goes with any bottleneck: a new variant of either is covered here without a line."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from components.bottlenecks import BottleneckSettings
from components.items import ItemSpec
from components.models import AutoencoderSettings
from components.networks import NetworkSettings

ITEMS = [
    ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8"),
    ItemSpec(kind="image", shape=(9, 7, 3), dtype="uint8"),
    ItemSpec(kind="vector", shape=(12,), dtype="float32"),
]


def variants(union: Any) -> list[Any]:
    """Return each member's settings, with 8 for whatever must be given."""
    members = get_args(get_args(union)[0])
    return [
        member(**{name: 8 for name, field in member.model_fields.items() if field.is_required()}) for member in members
    ]


def training_items(item: ItemSpec) -> torch.Tensor:
    torch.manual_seed(0)
    if item.dtype == "uint8":
        return torch.randint(256, (32, *item.shape), dtype=torch.uint8)
    return torch.randn(32, *item.shape)


PRODUCTS = [
    pytest.param(network, bottleneck, item, id=f"{network.kind}-{bottleneck.kind}-{item.kind}{item.shape}")
    for network in variants(NetworkSettings)
    for bottleneck in variants(BottleneckSettings)
    for item in ITEMS
    if network.kind != "conv" or item.kind == "image"  # else refused, see test_conv.py
]


@pytest.mark.parametrize(("network", "bottleneck", "item"), PRODUCTS)
def test_a_training_step_reaches_every_parameter(network: Any, bottleneck: Any, item: ItemSpec) -> None:
    model = AutoencoderSettings(network=network, bottleneck=bottleneck).build(item)
    items = training_items(item)
    with torch.no_grad():
        model.initialize(items)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss = torch.stack(list(model.losses(items).values())).sum()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    optimizer.step()
    after = torch.stack(list(model.losses(items).values())).sum()
    assert loss.isfinite()
    assert after.isfinite()
    assert after < loss
