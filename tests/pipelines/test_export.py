from __future__ import annotations

import copy
import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from drafts import DIGITS, ITEM, bundled
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from components.models import AutoencoderSettings, Model, PCASettings, TrainingRun
from items.code import CodeSpec
from items.digests import sha256_of
from pipelines.export.certificate import BATCHES, certify
from pipelines.export.graphs import INNER, export_encoder, random_operators
from pipelines.export.work import write_manifest
from serving.bundle import Bundle
from serving.manifest import Graph, read_manifest


def trained(kind: str) -> Model:
    if kind == "pca":
        model: Model = PCASettings(size=5).build(ITEM)
    else:
        mlp = {"kind": "mlp", "hidden": [16], "unit_norm_decoder": True}
        network = {"kind": "conv", "downsample": 2, "channels": 8} if kind == "vq" else mlp
        quantizer = {"kind": "vector_quantizer", "codebook_size": 300, "size": 4}
        bottleneck = quantizer if kind == "vq" else {"kind": "identity", "size": 5}
        model = AutoencoderSettings.model_validate({"network": network, "bottleneck": bottleneck}).build(ITEM)
    for _ in model.fit(TrainingRun(DIGITS[:1000], DIGITS[1000:1200], epochs=1, seed=0)):
        pass
    return model.eval()


Exported = Callable[[str], tuple[Model, Bundle]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Return a function that gives a trained model of a kind and its bundle, which no test changes."""

    @functools.cache
    def model_and_bundle(kind: str) -> tuple[Model, Bundle]:
        model = trained(kind)
        return model, bundled(model, tmp_path_factory.mktemp(kind) / "bundle")

    return model_and_bundle


def broken(bundle: Bundle, change: str, folder: Path) -> Bundle:
    """Return a copy of the bundle with its encoder's graph changed on purpose, its digest made to match."""
    shutil.copytree(bundle.folder, folder)
    path = folder / bundle.manifest.encoder.file
    model = onnx.load(path)
    if change == "weights":
        weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))  # of VQ, the embedding's
        values = numpy_helper.to_array(weights).copy()
        values.flat[: values.size // 4] += values.std()
        weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    else:  # noise of almost nothing, which is noise all the same
        last = model.graph.node[-1]
        result = last.output[0]
        last.output[0] = "quiet"
        noise = helper.make_node("RandomNormalLike", ["quiet"], ["noise"], scale=1e-12)
        model.graph.node.extend([noise, helper.make_node("Add", ["quiet", "noise"], [result])])
    path.write_bytes(model.SerializeToString())
    encoder = bundle.manifest.encoder
    graph = Graph(file=encoder.file, sha256=sha256_of(path), inputs=encoder.inputs, outputs=encoder.outputs)
    return Bundle(folder, bundle.manifest.model_copy(update={"encoder": graph}), threads=1)


@pytest.mark.parametrize("kind", ["pca", "mlp", "vq"])
def test_an_exported_model_passes_its_certificate(kind: str, exported: Exported) -> None:
    certificate = certify(*exported(kind), DIGITS)
    assert certificate.passed
    assert certificate.failures == ()
    assert [check.batch for check in certificate.batches] == list(BATCHES) == [1, 7, 64, 512]
    assert all(check.items == BATCHES[check.batch] for check in certificate.batches)


@pytest.mark.parametrize("kind", ["pca", "mlp", "vq"])
def test_the_certificate_refuses_an_encoder_with_other_weights(kind: str, exported: Exported, tmp_path: Path) -> None:
    model, bundle = exported(kind)
    certificate = certify(model, broken(bundle, "weights", tmp_path / "broken"), DIGITS)
    assert not certificate.passed
    assert any(failure.startswith("encoder: ") for failure in certificate.failures)


def test_codes_that_ties_cannot_excuse_are_refused_though_vectors_are_doubled(exported: Exported) -> None:
    model, bundle = exported("vq")
    model = copy.deepcopy(model)
    quantizer = model.bottleneck
    quantizer.codebook[1::2] = quantizer.codebook[::2]  # now every best choice ties with another
    certificate = certify(model, bundle, DIGITS)
    assert not certificate.passed
    assert any("no ties" in failure for failure in certificate.failures)


def test_a_short_split_is_used_again_until_each_batch_size_has_run(exported: Exported) -> None:
    certificate = certify(*exported("pca"), DIGITS[:100])
    assert certificate.passed
    assert {check.batch: check.items for check in certificate.batches} == BATCHES


def test_the_certificate_refuses_a_random_operator_however_small(exported: Exported, tmp_path: Path) -> None:
    model, bundle = exported("mlp")
    certificate = certify(model, broken(bundle, "noise", tmp_path / "broken"), DIGITS)
    assert certificate.random_operators == ("RandomNormalLike",)
    assert not certificate.passed


def test_the_graph_is_what_the_model_computes(exported: Exported) -> None:
    model, bundle = exported("vq")
    with torch.no_grad():
        expected = model.encode(torch.from_numpy(DIGITS[:99]))
        embedded = model.embed(expected)
    codes = bundle.encode(DIGITS[:99], batch_size=10)
    assert codes.dtype == np.uint16  # 300 vectors do not fit a byte
    np.testing.assert_array_equal(codes, expected.numpy())
    np.testing.assert_allclose(bundle.embed(DIGITS[:99]), embedded.flatten(1).numpy(), atol=1e-6)


def test_the_same_model_gives_the_same_bytes_and_no_path_of_this_machine(exported: Exported, tmp_path: Path) -> None:
    model, first = exported("mlp")
    second = bundled(model, tmp_path / "bundle")
    assert first.manifest.encoder == second.manifest.encoder
    assert first.manifest.decoder == second.manifest.decoder
    assert b".py" not in (first.folder / "encoder.onnx").read_bytes()


class TwiceEmbedded(nn.Module):
    """What `export_encoder` asks of a model, with the operator `embedding` in it twice."""

    item, code = ITEM, CodeSpec(shape=(64,), levels=256)

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ParameterList(torch.randn(256, 2) for _ in range(2))

    def encode(self, items: Tensor) -> Tensor:
        return items.flatten(1).long()

    def embed(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, self.tables[0]) + F.embedding(codes, self.tables[1]).relu()


def test_an_operator_named_as_an_output_is_does_not_clash_with_it(tmp_path: Path) -> None:
    model = TwiceEmbedded()
    export_encoder(model, tmp_path)  # type: ignore[arg-type]
    graph = onnx.load(tmp_path / "encoder.onnx").graph
    made = [name for node in graph.node for name in node.output]
    assert len(made) == len(set(made))
    assert {name for name in made if not name.startswith(INNER)} == {"codes", "embedding"}
    codes, embedding = onnxruntime.InferenceSession(tmp_path / "encoder.onnx").run(None, {"items": DIGITS[:9]})
    np.testing.assert_array_equal(codes, DIGITS[:9].reshape(9, 64))
    np.testing.assert_allclose(embedding, model.embed(torch.from_numpy(codes).long()).detach(), atol=1e-6)


def test_random_operators_are_found_in_subgraphs(tmp_path: Path) -> None:
    def branch(op: str) -> onnx.GraphProto:
        node = helper.make_node(op, [], ["y"], shape=[1]) if op == "RandomUniform" else helper.make_node(
            "Constant", [], ["y"], value=helper.make_tensor("v", onnx.TensorProto.FLOAT, [1], [0.0])
        )  # fmt: skip
        return helper.make_graph([node], op, [], [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])])

    choice = helper.make_node("If", ["c"], ["out"], then_branch=branch("Constant"), else_branch=branch("RandomUniform"))
    graph = helper.make_graph(
        [choice],
        "g",
        [helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1])],
    )
    path = tmp_path / "graph.onnx"
    onnx.save(helper.make_model(graph), path)
    assert random_operators(path) == ["RandomUniform"]


def test_a_manifest_is_sealed_by_its_digest(exported: Exported, tmp_path: Path) -> None:
    _, bundle = exported("pca")
    folder = shutil.copytree(bundle.folder, tmp_path / "bundle")
    write_manifest(folder, bundle.manifest)
    manifest = read_manifest(folder)
    assert manifest.digest == manifest.computed_digest() != ""
