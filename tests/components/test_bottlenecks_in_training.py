"""Every bottleneck learns, and resumes bit for bit, in the training loop."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch

from components.bottlenecks import BottleneckSettings
from components.models import AutoencoderSettings, TrainingRun
from components.models.autoencoder import Autoencoder
from components.state import State
from items.spec import ItemSpec

CODEBOOK = {"codebook_size": 32, "size": 4, "positions": 8, "dead_code_threshold": 0.2}
BOTTLENECKS: dict[str, dict[str, Any]] = {
    "identity": {"kind": "identity", "size": 8},
    "gaussian": {"kind": "gaussian", "size": 8, "beta": 0.05},
    "categorical": {"kind": "categorical", "variables": 12, "classes": 10, "beta": 0.05, "final_temperature": 0.1},
    "binary": {"kind": "binary", "size": 64},
    "binary-noise": {"kind": "binary", "size": 64, "noise": True},
    "finite_scalar": {"kind": "finite_scalar", "positions": 8},
    "top_k": {"kind": "top_k", "size": 32, "active": 6},
    "residual_quantizer": {"kind": "residual_quantizer", "depth": 3} | CODEBOOK,
    "vector_quantizer": {"kind": "vector_quantizer"} | CODEBOOK,
    "vector_quantizer-gradient": {"kind": "vector_quantizer", "codebook": "gradient"} | CODEBOOK,
}


def model(name: str, digit: ItemSpec, seed: int = 0) -> Autoencoder:
    settings = {"network": {"kind": "mlp", "hidden": [64]}, "training": {"learning_rate": 1e-2}}
    return AutoencoderSettings.model_validate(settings | {"bottleneck": BOTTLENECKS[name]}).build(digit, seed)


def test_no_kind_is_forgotten() -> None:
    kinds = {member.model_fields["kind"].default for member in get_args(get_args(BottleneckSettings)[0])}
    assert {settings["kind"] for settings in BOTTLENECKS.values()} == kinds


@pytest.mark.parametrize("name", BOTTLENECKS)
def test_every_bottleneck_learns_digits(name: str, digit: ItemSpec, digits: np.ndarray) -> None:
    *_, last = model(name, digit).fit(TrainingRun(digits[:1500], digits[1500:], epochs=12, seed=0))
    # The variance of the items is what the best constant guess would leave.
    variance = (digits[1500:] / 255.0).var(0).sum()
    assert last.metrics["validation_squared_error"] < 0.75 * variance


@pytest.mark.parametrize("name", BOTTLENECKS)
def test_a_resumed_run_is_the_straight_run_bit_for_bit(name: str, digit: ItemSpec, digits: np.ndarray) -> None:
    run = TrainingRun(digits[:300], digits[300:400], epochs=4, seed=5)
    straight = list(model(name, digit).fit(run))
    for epoch in model(name, digit).fit(run):
        if epoch.number == 2:
            content = epoch.state.to_bytes()
            break
    resumed = list(model(name, digit, seed=99).fit(run, resume=State.from_bytes(content)))

    assert [epoch.number for epoch in resumed] == [3, 4]
    for left, right in zip(straight[2:], resumed, strict=True):
        steady = left.metrics.keys() - {"train_items_per_second"}
        assert {key: left.metrics[key] for key in steady} == {key: right.metrics[key] for key in steady}
    expected, got = straight[-1].state.tensors, resumed[-1].state.tensors
    assert expected.keys() == got.keys()
    for key, tensor in expected.items():
        assert torch.equal(tensor, got[key]), key
