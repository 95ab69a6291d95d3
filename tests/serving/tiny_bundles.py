"""Tiny bundles, made by hand with onnx.helper: what they compute can be worked out with numpy in one line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from items.code import CodeSpec
from items.spec import ItemSpec
from serving.manifest import MANIFEST, Certificate, Graph, Manifest, TensorSpec

DTYPES = {"uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16, "float32": TensorProto.FLOAT}
PASSED = Certificate(passed=True, failures=(), batches=(), tolerance=0, tie_bound=0, random_operators=())
SHAPE = (4, 4, 1)
CODEBOOK = np.linspace(0, 1, 10, dtype=np.float32)[:, None].repeat(4, axis=1)  # 10 shades of a row of 4 pixels


def write_graph(path: Path, nodes: list, constants: dict, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> Graph:
    def values(specs):
        return [helper.make_tensor_value_info(s.name, DTYPES[s.dtype], ["batch", *s.shape[1:]]) for s in specs]

    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, path.stem, values(inputs), values(outputs), tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Graph(file=path.name, sha256=sha256, inputs=tuple(inputs), outputs=tuple(outputs))


def write_manifest(folder: Path, **content) -> Manifest:
    draft = Manifest(
        **content, certificate=PASSED, versions={}, data_digest="", settings_digest="", weights_digest="", digest=""
    )
    manifest = draft.model_copy(update={"digest": draft.computed_digest()})
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    return manifest


def write_linear(folder: Path, shape=SHAPE, dtype="uint8", weights=None, name="linear", kind="image") -> Path:
    """codes = items / 255 @ weights (items themselves where they are float32); items = codes @ weights.T."""
    folder.mkdir(parents=True, exist_ok=True)
    size = int(np.prod(shape))
    if weights is None:  # orthogonal: decoding gives back what was encoded
        weights = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    weights = weights.astype(np.float32)
    items = TensorSpec(name="items", dtype=dtype, shape=(None, *shape))
    codes = TensorSpec(name="codes", dtype="float32", shape=(None, weights.shape[1]))
    encoder = write_graph(
        folder / "encoder.onnx",
        [
            helper.make_node("Cast", ["items"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["floats", "scale"], ["scaled"]),
            helper.make_node("Flatten", ["scaled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["codes"]),
        ],
        {"scale": np.float32(255 if dtype == "uint8" else 1), "weights": weights},
        [items],
        [codes],
    )
    decoder = write_graph(
        folder / "decoder.onnx",
        [
            helper.make_node("MatMul", ["codes", "weights"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["items"]),
        ],
        {"weights": weights.T.copy(), "shape": np.array([-1, *shape], np.int64)},
        [codes],
        [items.model_copy(update={"dtype": "float32"})],
    )
    width = weights.shape[1]
    write_manifest(
        folder,
        name=name,
        item=ItemSpec(kind=kind, shape=shape, dtype=dtype),
        code=CodeSpec(shape=(width,), dtype="float32", levels=None, bits_per_item=32 * width),
        encoder=encoder,
        decoder=decoder,
    )
    return folder


def write_quantized(folder: Path, dtype="uint8", name="quantized") -> Path:
    """A row of four pixels is coded by the nearest of CODEBOOK's ten shades."""
    folder.mkdir(parents=True, exist_ok=True)
    items = TensorSpec(name="items", dtype="uint8", shape=(None, *SHAPE))
    codes = TensorSpec(name="codes", dtype=dtype, shape=(None, 4))
    embedding = TensorSpec(name="embedding", dtype="float32", shape=(None, 4, 4))
    encoder = write_graph(
        folder / "encoder.onnx",
        [
            helper.make_node("Cast", ["items"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["floats", "scale"], ["scaled"]),
            helper.make_node("Reshape", ["scaled", "rows"], ["vectors"]),
            helper.make_node("MatMul", ["vectors", "minus_twice"], ["products"]),
            helper.make_node("Add", ["products", "norms"], ["distances"]),
            helper.make_node("ArgMin", ["distances"], ["nearest"], axis=-1, keepdims=0),
            helper.make_node("Cast", ["nearest"], ["codes"], to=DTYPES[dtype]),
            helper.make_node("Gather", ["codebook", "nearest"], ["embedding"]),
        ],
        {
            "scale": np.float32(255),
            "rows": np.array([-1, 4, 4], np.int64),
            "minus_twice": -2 * CODEBOOK.T,
            "norms": (CODEBOOK**2).sum(1),
            "codebook": CODEBOOK,
        },
        [items],
        [codes, embedding],
    )
    decoder = write_graph(
        folder / "decoder.onnx",
        [
            helper.make_node("Cast", ["codes"], ["indices"], to=TensorProto.INT64),
            helper.make_node("Gather", ["codebook", "indices"], ["vectors"]),
            helper.make_node("Reshape", ["vectors", "shape"], ["items"]),
        ],
        {"codebook": CODEBOOK, "shape": np.array([-1, *SHAPE], np.int64)},
        [codes],
        [items.model_copy(update={"dtype": "float32"})],
    )
    write_manifest(
        folder,
        name=name,
        item=ItemSpec(kind="image", shape=SHAPE, dtype="uint8"),
        code=CodeSpec(shape=(4,), dtype=dtype, levels=10, bits_per_item=4 * np.log2(10)),
        encoder=encoder,
        decoder=decoder,
    )
    return folder
