"""Any network goes with any bottleneck, corruption and penalty: a new variant is covered here without a line."""

from __future__ import annotations

import functools
import math
from typing import Any, get_args

import pytest
import torch

from components.batches import DenseBatches
from components.bottlenecks import BottleneckSettings
from components.corruptions import CorruptionSettings
from components.likelihoods import Bernoulli, LikelihoodSettings
from components.models import AutoencoderSettings, Model
from components.networks import NetworkSettings
from components.penalties import PenaltySettings
from components.training import measure
from items.spec import ItemSpec

ITEMS = [
    ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8"),
    ItemSpec(kind="image", shape=(9, 7, 3), dtype="uint8"),
    ItemSpec(kind="vector", shape=(12,), dtype="float32"),
    ItemSpec(kind="text", shape=(12,), dtype="int32"),
]

FOR = {"bernoulli": ("image",), "multinomial": ("text",)}  # the items that these likelihoods are of
SMALL = {"hidden": (16,), "channels": 8, "blocks": 1, "depth": 2}  # of settings that decide how long a test takes
STEPS = 5  # after one, a codebook that follows the latents may have cost more than the step gained


def variants(union: Any) -> list[Any]:
    """Return each member's settings, small, with 8 for whatever else must be given."""
    chosen = []
    for member in get_args(get_args(union)[0]):
        required = {name: 8 for name, field in member.model_fields.items() if field.is_required()}
        chosen.append(member(**required | {name: SMALL[name] for name in SMALL.keys() & member.model_fields.keys()}))
    return chosen


def training_items(item: ItemSpec) -> torch.Tensor:
    torch.manual_seed(0)
    if item.dtype == "uint8":
        return torch.randint(256, (32, *item.shape), dtype=torch.uint8)
    if item.kind == "text":
        return torch.randint(4, (32, *item.shape), dtype=torch.int32)
    return torch.randn(32, *item.shape)


PRODUCTS = [
    pytest.param(
        AutoencoderSettings(network=network, bottleneck=bottleneck, likelihood=likelihood),
        item,
        id=f"{network.kind}-{bottleneck.kind}-{item.kind}{item.shape}-{likelihood.kind}",
    )
    for network in variants(NetworkSettings)
    for bottleneck in variants(BottleneckSettings)
    for item in ITEMS
    if network.kind != "conv" or item.kind == "image"  # else refused, see test_conv.py
    for likelihood in variants(LikelihoodSettings)
    if item.kind
    in FOR.get(likelihood.kind, (item.kind,))  # else refused, see test_bernoulli.py and test_text_models.py
]


@pytest.mark.parametrize(("settings", "item"), PRODUCTS)
def test_a_training_step_reaches_every_parameter(settings: AutoencoderSettings, item: ItemSpec) -> None:
    model = settings.build(item)
    items = training_items(item)
    with torch.no_grad():
        model.initialize(items)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    torch.manual_seed(1)
    loss = torch.stack(list(model.losses(items).values())).sum()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    after = loss
    for _ in range(STEPS):
        optimizer.step()
        optimizer.zero_grad()
        torch.manual_seed(1)  # samples with the same noise, else the step is lost in it
        after = torch.stack(list(model.losses(items).values())).sum()
        after.backward()
    assert loss.isfinite()
    assert after.isfinite()
    assert after < loss


PENALTIES = [(), *((penalty,) for penalty in variants(PenaltySettings)), tuple(variants(PenaltySettings))]
WHOLE_PRODUCT = [
    pytest.param(
        AutoencoderSettings(network=network, bottleneck=bottleneck, corruption=corruption, penalties=penalties),
        id="-".join([network.kind, bottleneck.kind, corruption.kind, "+".join(p.kind for p in penalties) or "none"]),
    )
    for network in variants(NetworkSettings)
    for bottleneck in variants(BottleneckSettings)
    for corruption in variants(CorruptionSettings)
    for penalties in PENALTIES
]


PLAIN = variants(CorruptionSettings)[0]


@functools.cache
def plain_codes_and_terms(settings: AutoencoderSettings) -> tuple[torch.Tensor, list[str]]:
    """Return the codes of items, and the names of the loss's terms, without corruption and penalties."""
    plain, items = settings.build(ITEMS[0]).eval(), training_items(ITEMS[0])
    return plain.encode(items), list(plain.losses(items))


@pytest.mark.parametrize("settings", WHOLE_PRODUCT)
def test_the_whole_product_trains_and_encodes_as_without_corruption_and_penalties(
    settings: AutoencoderSettings,
) -> None:
    item = ITEMS[0]
    items = training_items(item)
    model = settings.build(item)
    codes, terms = plain_codes_and_terms(settings.model_copy(update={"corruption": PLAIN, "penalties": ()}))
    state = torch.get_rng_state()
    assert torch.equal(model.eval().encode(items), codes)
    assert torch.equal(torch.get_rng_state(), state)

    with torch.no_grad():
        model.initialize(items)
    names = {*terms, *(penalty.kind for penalty in settings.penalties)}
    assert len(names) == len(terms) + len(settings.penalties), "two terms share a name"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = model.train().losses(items)
    assert losses.keys() == names
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.isfinite().all(), name
    metrics = measure(model, DenseBatches(items))
    assert set(metrics) >= {*names, "loss"}
    assert all(math.isfinite(value) for value in metrics.values())
    assert measure(model, DenseBatches(items)) == metrics, "evaluating has chance in it"


class RoundTrip(torch.nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        codes = self.model.encode(items)
        return codes, self.model.decode(codes)


@pytest.mark.parametrize("bottleneck", variants(BottleneckSettings), ids=lambda one: one.kind)
@pytest.mark.parametrize("network", variants(NetworkSettings), ids=lambda one: one.kind)
def test_a_model_with_everything_on_exports_as_a_graph_without_chance(network: Any, bottleneck: Any) -> None:
    settings = AutoencoderSettings(
        network=network,
        bottleneck=bottleneck,
        corruption=variants(CorruptionSettings)[-1],
        penalties=PENALTIES[-1],
        likelihood=Bernoulli(binarize=True),
    )
    model, items = RoundTrip(settings.build(ITEMS[0])).eval(), training_items(ITEMS[0])
    program = torch.export.export(model, (items[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    operators = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [name for name in operators if any(word in name for word in ("rand", "bernoulli", "multinomial"))]
    for got, expected in zip(program.module()(items), model(items), strict=True):
        torch.testing.assert_close(got, expected)
