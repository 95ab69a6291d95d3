"""A model as two ONNX graphs: raw items in, codes out, and back."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from onnxscript import ir
from torch import Tensor, nn

from components.models import Model
from items.digests import sha256_of
from serving.manifest import Graph, TensorSpec

OPSET = 20
INNER = "inner/"  # before the names of values that are neither a graph's inputs nor its outputs
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}


class EncoderGraph(nn.Module):
    """Raw items (batch, *item.shape) to `codes` in their smallest dtype, and `embedding` where codes are discrete."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model, self.dtype = model, code_dtype(model)

    def forward(self, items: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Encode."""
        codes = self.model.encode(items)
        if self.model.code.levels is None:
            return codes
        return codes.to(self.dtype), self.model.embed(codes)


class DecoderGraph(nn.Module):
    """Codes as the encoder gives them to items (batch, *item.shape), float32."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, codes: Tensor) -> Tensor | None:
        """Decode."""
        return self.model.decode(codes.long() if self.model.code.levels else codes)


def code_dtype(model: Model) -> torch.dtype:
    """Return the type of a model's stored codes."""
    dtype: torch.dtype = getattr(torch, model.code.dtype)
    return dtype


def export_encoder(model: Model, folder: Path) -> Graph:
    """Write encoder.onnx."""
    items = torch.zeros(2, *model.item.shape, dtype=getattr(torch, model.item.dtype))
    names = ["codes"] if model.code.levels is None else ["codes", "embedding"]
    return _export(EncoderGraph(model), items, "items", names, folder / "encoder.onnx")


def export_decoder(model: Model, folder: Path) -> Graph | None:
    """Write decoder.onnx; None where the model cannot decode."""
    codes = torch.zeros(2, *model.code.shape, dtype=code_dtype(model))
    graph = DecoderGraph(model)
    with torch.no_grad():
        if graph(codes) is None:
            return None
    return _export(graph, codes, "codes", ["items"], folder / "decoder.onnx")


def random_operators(path: Path) -> list[str]:
    """Return the operators of a graph, its functions and its subgraphs, that would not give the same result twice."""
    model = onnx.load(path)
    found: set[str] = set()
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while nodes:
        node = nodes.pop()
        found |= {node.op_type} & RANDOM
        nodes += [inner for attribute in node.attribute for inner in attribute.g.node]
    return sorted(found)


def _export(module: nn.Module, example: Tensor, name: str, outputs: list[str], path: Path) -> Graph:
    module.eval()
    with torch.no_grad():
        results = module(example)
    with _quiet():
        program = torch.onnx.export(
            module,
            (example,),
            input_names=[name],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "the dynamo exporter returns a program"  # noqa: S101
    _rename_inner(program.model)
    model = program.model_proto
    _strip(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    results = results if isinstance(results, tuple) else (results,)
    specs = tuple(_spec(output, result) for output, result in zip(outputs, results, strict=True))
    return Graph(file=path.name, sha256=sha256_of(path), inputs=(_spec(name, example),), outputs=specs)


def _rename_inner(model: ir.Model) -> None:
    """Rename the values inside a graph, so that none has the name of an input or an output.

    The exporter names them after their operators: with a second `embedding` the graph would be wrong.
    """
    interface = {*model.graph.inputs, *model.graph.outputs}
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if value not in interface and value.name:
                value.name = f"{INNER}{value.name}"


def _strip(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes about the machine that it ran on, so that the same model gives the same bytes."""
    graphs = [model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output]
    graphs += [*model.graph.value_info, *model.graph.initializer, *model.functions]
    graphs += [node for function in model.functions for node in function.node]
    for part in graphs:
        part.ClearField("doc_string")
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]


def _spec(name: str, example: Tensor) -> TensorSpec:
    return TensorSpec.model_validate({"name": name, "dtype": _name(example.dtype), "shape": (None, *example.shape[1:])})


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter prints off the terminal; its errors are still raised."""
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "onnx_ir")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
