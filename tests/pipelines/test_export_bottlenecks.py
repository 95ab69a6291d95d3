"""Every bottleneck exports, and its graph earns the certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from drafts import DIGITS, ITEM, bundled

from components.bottlenecks import BottleneckSettings
from components.models import AutoencoderSettings, TrainingRun
from pipelines.export.certificate import certify

QUANTIZER = {"kind": "vector_quantizer", "codebook_size": 32, "size": 4}

BOTTLENECKS: dict[str, dict[str, Any]] = {
    "identity": {"kind": "identity", "size": 5},
    "gaussian": {"kind": "gaussian", "size": 5},
    "categorical": {"kind": "categorical", "variables": 12, "classes": 10},
    "binary": {"kind": "binary", "size": 64, "noise": True},
    "finite_scalar": {"kind": "finite_scalar"},
    "finite_scalar-even": {"kind": "finite_scalar", "levels": [8, 6, 2]},
    "top_k": {"kind": "top_k", "size": 24, "active": 4},
    "residual_quantizer": {"kind": "residual_quantizer", "depth": 3, "codebook_size": 16, "size": 4},
    "vector_quantizer-gradient": QUANTIZER | {"codebook": "gradient", "rotation": True},
    "vector_quantizer-cosine": QUANTIZER | {"cosine": True},
}
BY_LIKELIHOOD = ("gaussian", "categorical", "vector_quantizer-gradient")


def test_no_kind_is_forgotten() -> None:
    kinds = {member.model_fields["kind"].default for member in get_args(get_args(BottleneckSettings)[0])}
    assert {settings["kind"] for settings in BOTTLENECKS.values()} == kinds


@pytest.mark.parametrize(
    ("name", "likelihood"),
    [*((name, "squared_error") for name in BOTTLENECKS), *((name, "bernoulli") for name in BY_LIKELIHOOD)],
)
def test_every_bottleneck_earns_its_certificate(name: str, likelihood: str, tmp_path: Path) -> None:
    grid = BOTTLENECKS[name]["kind"] in ("vector_quantizer", "finite_scalar", "residual_quantizer")
    network = {"kind": "conv", "downsample": 2, "channels": 8} if grid else {"kind": "mlp", "hidden": [16]}
    settings = {"network": network, "bottleneck": BOTTLENECKS[name], "likelihood": {"kind": likelihood}}
    model = AutoencoderSettings.model_validate(settings).build(ITEM)
    for _ in model.fit(TrainingRun(DIGITS[:1000], DIGITS[1000:1200], epochs=1, seed=0)):
        pass
    model.eval()
    bundle = bundled(model, tmp_path / "bundle")
    certificate = certify(model, bundle, DIGITS)
    assert certificate.failures == ()
    assert certificate.passed

    codes = bundle.encode(DIGITS[:99], batch_size=10)
    with torch.no_grad():
        items = torch.from_numpy(DIGITS[:99])
        assert torch.equal(model.bottleneck(model.latents(items)).code, model.embed(model.encode(items)))
    assert codes.shape == (99, *model.code.shape)
    if model.code.levels is not None:
        assert 0 <= codes.min() <= codes.max() < model.code.levels
        assert len(np.unique(codes)) > 1
    if model.code.levels == 2:  # bits are stored and searched eight a byte
        assert codes.dtype == np.uint8
        np.testing.assert_array_equal(np.unpackbits(np.packbits(codes, axis=1), axis=1), codes)
    rebuilt = bundle.decode(codes)
    if likelihood == "bernoulli":
        assert 0 <= rebuilt.min() <= rebuilt.max() <= 1
