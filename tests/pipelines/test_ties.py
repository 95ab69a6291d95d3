"""The certificate's bounds: what a right graph may differ by, and what a wrong one must not get away with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from drafts import DIGITS, ITEM, bundled
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

from components.models import AutoencoderSettings
from components.models.autoencoder import Autoencoder
from items.digests import sha256_of
from pipelines.export.certificate import BATCHES, certify
from serving.bundle import Bundle
from serving.manifest import Certificate, Graph

Codes = NDArray[Any]
Exported = tuple[Autoencoder, Bundle]
ACTIVE = 4


def built(bottleneck: dict[str, Any]) -> tuple[Autoencoder, nn.Linear]:
    """Return a model and its encoder's last layer."""
    settings = {"network": {"kind": "mlp", "hidden": [16]}, "bottleneck": bottleneck}
    model = AutoencoderSettings.model_validate(settings).build(ITEM).eval()
    return model, [layer for layer in model.encoder.modules() if isinstance(layer, nn.Linear)][-1]


@torch.no_grad()
def ranked(model: Autoencoder) -> tuple[list[int], NDArray[np.float32]]:
    """Return the first item's units, the largest first, and its activations."""
    activations = model.latents(torch.from_numpy(DIGITS[:1]))[0].relu().numpy()
    return activations.argsort()[::-1].tolist(), activations


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A top-k model whose first item has a unit left out that is next to as active as the last one kept."""
    model, last = built({"kind": "top_k", "size": 24, "active": ACTIVE})
    units, activations = ranked(model)
    kept, left_out = units[ACTIVE - 1 : ACTIVE + 1]
    with torch.no_grad():
        last.bias[left_out] += float(activations[kept] - activations[left_out]) - 1e-6
    units, activations = ranked(model)
    assert units[ACTIVE - 1 : ACTIVE + 1] == [kept, left_out]
    assert 0 < activations[kept] - activations[left_out] < 2e-6
    return model, bundled(model, tmp_path_factory.mktemp("sparse") / "bundle")


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A categorical model whose classes come in pairs that always tie, all logits around a million."""
    model, last = built({"kind": "categorical", "variables": 12, "classes": 10})
    with torch.no_grad():
        last.weight *= 3  # logits differ by up to about ten; near a million, float32 has steps of a sixteenth
        last.bias += 1e6
        for tensor in (last.weight, last.bias):
            pairs = tensor.view(12, 5, 2, -1)
            pairs[:, :, 1] = pairs[:, :, 0]
    return model, bundled(model, tmp_path_factory.mktemp("paired") / "bundle")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    model, _ = built({"kind": "identity", "size": 5})
    return model, bundled(model, tmp_path_factory.mktemp("plain") / "bundle")


class Other(Bundle):
    """A bundle whose encoder gives other codes."""

    change: Callable[[Codes], Codes]
    model: Autoencoder

    def encode(self, items: Codes, batch_size: int = 512) -> Codes:
        return self.change(super().encode(items, batch_size))

    def embed(self, items: Codes, batch_size: int = 512) -> Codes:
        codes = torch.from_numpy(self.encode(items, batch_size))
        return self.model.embed(codes).detach().flatten(1).numpy()


def certified(exported: Exported, change: Callable[[Codes], Codes] = lambda codes: codes) -> Certificate:
    """Certify an exported model with the codes of its encoder changed."""
    model, bundle = exported
    other = Other(bundle.folder, bundle.manifest, threads=1)
    other.change, other.model = change, model
    return certify(model, other, DIGITS)


@pytest.mark.parametrize(
    ("comes", "goes", "passes"),
    [
        (ACTIVE, ACTIVE - 1, True),  # the fifth for the fourth, which rounding cannot distinguish
        (ACTIVE + 2, ACTIVE - 1, False),
        (ACTIVE, 0, False),
        (None, ACTIVE - 1, False),  # one unit too few
    ],
)
def test_units_of_a_sparse_code_change_places_only_where_they_tie(
    sparse: Exported, comes: int | None, goes: int, passes: bool
) -> None:
    units, activations = ranked(sparse[0])

    def change(codes: Codes) -> Codes:
        codes = codes.copy()
        for first in range(0, len(codes), len(DIGITS)):  # wherever the first item is used
            codes[first, units[goes]] = 0
            if comes is not None:
                codes[first, units[comes]] = activations[units[comes]]
        return codes

    certificate = certified(sparse, change)
    assert certificate.passed is passes
    if passes:
        assert [check.codes_different for check in certificate.batches] == [1, 1, 1, 2]
        compared = sum(check.codes_compared or 0 for check in certificate.batches)
        assert compared == ACTIVE * sum(BATCHES.values())
        assert certificate.summary.endswith(f", 5 of {compared} codes differ (all ties)")
    else:
        assert sum("no ties" in failure for failure in certificate.failures) == len(BATCHES)


def test_a_kept_unit_with_another_value_is_no_tie(sparse: Exported) -> None:
    units, activations = ranked(sparse[0])

    def change(codes: Codes) -> Codes:
        codes = codes.copy()
        codes[0, units[1]] = activations[units[0]]
        return codes

    (first, *_) = certified(sparse, change).failures
    assert first.startswith("encoder: outputs differ by")


def test_an_offset_that_all_alternatives_share_excuses_no_wrong_codes(paired: Exported) -> None:
    assert certified(paired).passed
    wrong = certified(paired, lambda codes: (codes + 2) % 10)
    assert sum("no ties" in failure for failure in wrong.failures) == len(BATCHES)


@pytest.mark.parametrize(("share", "passes"), [(0.001, True), (0.002, False)])
def test_one_code_in_a_thousand_may_be_a_tie_that_differs(paired: Exported, share: float, passes: bool) -> None:
    def change(codes: Codes) -> Codes:
        flat = codes.reshape(-1).copy()
        flat[: max(1, int(share * flat.size))] ^= 1  # the other of its pair
        return flat.reshape(codes.shape)

    certificate = certified(paired, change)
    assert [check.codes_compared for check in certificate.batches] == [12 * items for items in BATCHES.values()]
    assert [check.codes_different_beyond_ties for check in certificate.batches] == [0] * 4
    assert certificate.passed is passes
    if passes:  # one of 768 may, although that is more than one in a thousand
        assert [check.codes_different for check in certificate.batches] == [1, 1, 6, 24]
    else:
        assert certificate.failures == (
            "encoder: 12 of 6144 codes differ at batch 64; even as ties, at most 0.1% may",
            "encoder: 49 of 24576 codes differ at batch 512; even as ties, at most 0.1% may",
        )


@pytest.mark.parametrize(("name", "output"), [("encoder", "codes"), ("decoder", "items")])
@pytest.mark.parametrize(("factor", "passes"), [(1 + 1e-6, True), (1 + 1e-4, False), (1 + 1e-3, False)])
def test_a_graph_may_be_off_by_rounding_and_no_more(
    plain: Exported, name: str, output: str, factor: float, passes: bool, tmp_path: Path
) -> None:
    model, bundle = plain
    folder = shutil.copytree(bundle.folder, tmp_path / "bundle")
    graph: Graph = getattr(bundle.manifest, name)
    changed = onnx.load(folder / graph.file)
    (node,) = [node for node in changed.graph.node if output in node.output]
    node.output[list(node.output).index(output)] = "unscaled"
    changed.graph.initializer.append(numpy_helper.from_array(np.array(factor, np.float32), "factor"))
    changed.graph.node.append(helper.make_node("Mul", ["unscaled", "factor"], [output]))
    (folder / graph.file).write_bytes(changed.SerializeToString())
    off = graph.model_copy(update={"sha256": sha256_of(folder / graph.file)})
    certificate = certify(model, Bundle(folder, bundle.manifest.model_copy(update={name: off}), threads=1), DIGITS)
    assert certificate.passed is passes
    assert all(failure.startswith(f"{name}: ") for failure in certificate.failures)
