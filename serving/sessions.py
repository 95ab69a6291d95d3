"""ONNX Runtime sessions on the CPU: opened from bytes whose digest was checked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.manifest import BundleError, Graph, TensorSpec

if TYPE_CHECKING:  # a fifth of a second, and what only reads settings or manifests opens no graph
    import onnxruntime

ONNX_TYPES = {f"tensor({name})": name for name in ("uint8", "uint16", "int32", "int64")} | {"tensor(float)": "float32"}


def open_session(path: Path, graph: Graph, threads: int) -> onnxruntime.InferenceSession:
    """Open one graph of a bundle.

    The digest is checked on the bytes that run. A graph that is opened from bytes cannot read other files.

    Raises:
        BundleError: the file is not what the manifest says, is not an ONNX graph, or has other inputs or outputs.
    """
    import onnxruntime

    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != graph.sha256:
        raise BundleError(f"{path}: sha256 is {found}, the manifest says {graph.sha256}")
    try:
        session = onnxruntime.InferenceSession(content, _options(graph, threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no base class of their own
        raise BundleError(f"{path}: ONNX Runtime cannot open it: {' '.join(str(error).split())}") from error
    _check_tensors(path, "inputs", graph.inputs, session.get_inputs())
    _check_tensors(path, "outputs", graph.outputs, session.get_outputs())
    return session


def _options(graph: Graph, threads: int) -> onnxruntime.SessionOptions:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads would take the CPUs from the threads that read items and write shards.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The arena keeps the largest buffers that it has needed: fast for equal batches, wasteful where lengths vary.
    options.enable_cpu_mem_arena = all(size is not None for spec in graph.inputs for size in spec.shape[1:])
    return options


def _check_tensors(path: Path, side: str, expected: tuple[TensorSpec, ...], found: list[Any]) -> None:
    actual = {node.name: (ONNX_TYPES.get(node.type, node.type), tuple(node.shape)) for node in found}
    if missing := {spec.name for spec in expected} ^ set(actual):
        raise BundleError(
            f"{path}: its {side} are {sorted(actual)}, the manifest's {sorted(spec.name for spec in expected)}: "
            f"{sorted(missing)} differ"
        )
    for spec in expected:
        dtype, shape = actual[spec.name]
        if dtype != spec.dtype or not _same_shape(spec.shape, shape):
            raise BundleError(f"{path}: {spec.name} is {dtype} {shape}, the manifest says {spec.dtype} {spec.shape}")


def _same_shape(expected: tuple[int | None, ...], found: tuple[int | str | None, ...]) -> bool:
    """Compare axis by axis. An axis that the graph leaves open fits any size: exporters do not state all of them."""
    return len(expected) == len(found) and all(
        not isinstance(size, int) or size == wanted for wanted, size in zip(expected, found, strict=True)
    )
