"""Bundles in use: raw items to codes and back, through ONNX Runtime.

    bundle = Bundle.load("models:/mnist-vqvae@champion")
    codes = bundle.encode(images)        # (60000, 28, 28, 1) uint8 → (60000, 49) uint16
    rebuilt = bundle.decode(codes)       # → (60000, 28, 28, 1) float32, about 0 to 1, not clipped

`serving.manifest` describes the files of a bundle's folder.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from items.cpus import available_cpus
from items.sparse import SparseRows
from serving.manifest import MANIFEST, BundleError, Graph, Manifest, TensorSpec, read_manifest
from serving.registry import is_registry_uri, resolve
from serving.sessions import open_session

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["BATCH_SIZE", "Bundle", "BundleError"]

BATCH_SIZE = 512  # codes of floats are the same to the bit only in batches of the same size

Side = Literal["encoder", "decoder"]


class Bundle:
    """One model, ready to encode and decode. Graphs are opened at their first use. Any thread may call it.

    Attributes:
        folder: of the bundle's files.
        manifest: their description.
        threads: of each session.
    """

    def __init__(self, folder: Path, manifest: Manifest, threads: int) -> None:
        self.folder = folder
        self.manifest = manifest
        self.threads = threads
        _check_graphs(folder / MANIFEST, manifest)

    @classmethod
    def load(cls, source: str | Path, threads: int | None = None) -> Bundle:
        """Load a bundle from a folder or from the model registry.

        Args:
            source: a folder, or `models:/name@alias`, `models:/name/version`.
            threads: of each session; by default the number of CPUs that this process may use.

        Raises:
            BundleError: the bundle is damaged, or not as its manifest says.
            RegistryError: the registry cannot be reached or has no such model.
        """
        if threads is not None and threads < 1:
            raise BundleError(f"threads is {threads}, at least 1 is needed")
        folder = resolve(str(source)) if is_registry_uri(source) else Path(source)
        return cls(folder, read_manifest(folder), threads or available_cpus())

    @property
    def name(self) -> str:
        """The model's name, such as `mnist-deep` for the experiment `deep` of the dataset `mnist`."""
        return self.manifest.name

    @property
    def discrete(self) -> bool:
        """True if codes are integers below `manifest.code.levels`."""
        return self.manifest.code.levels is not None

    @property
    def feature_dimensions(self) -> int:
        """The length of the vector that `embed` returns for an item."""
        shape = _tensor(self.manifest, "encoder", "embedding" if self.discrete else "codes").shape
        return math.prod(size for size in shape[1:] if size is not None)

    def encode(self, items: NDArray[Any] | SparseRows, batch_size: int = BATCH_SIZE) -> NDArray[Any]:
        """Encode raw items (n, *item shape) to codes (n, *code shape); of sparse rows, a batch at a time is dense.

        Raises:
            BundleError: the items' dtype or shape is not what the bundle takes.
        """
        self._check_items(items)
        return _run(self._encoder, "codes", items, batch_size, _tensor(self.manifest, "encoder", "codes"))

    def embed(self, items: NDArray[Any] | SparseRows, batch_size: int = BATCH_SIZE) -> NDArray[Any]:
        """Encode raw items (n, *item shape) to float32 features (n, feature_dimensions).

        The features of a real code are the code itself, those of a discrete code its codebook vectors, concatenated.

        Raises:
            BundleError: the items' dtype or shape is not what the bundle takes.
        """
        self._check_items(items)
        output = _tensor(self.manifest, "encoder", "embedding" if self.discrete else "codes")
        return _run(self._encoder, output.name, items, batch_size, output).reshape(len(items), self.feature_dimensions)

    def decode(self, codes: NDArray[Any], batch_size: int = BATCH_SIZE) -> NDArray[Any]:
        """Decode codes (n, *code shape) to items (n, *item shape), float32; images about 0 to 1, not clipped.

        Raises:
            BundleError: the bundle has no decoder, or the codes' dtype, shape or values are not those of its encoder.
        """
        output = _tensor(self.manifest, "decoder", "items")
        return _run(self._decoder, "items", self._checked_codes(codes), batch_size, output)

    @cached_property
    def _encoder(self) -> onnxruntime.InferenceSession:
        return open_session(self.folder / self.manifest.encoder.file, self.manifest.encoder, self.threads)

    @cached_property
    def _decoder(self) -> onnxruntime.InferenceSession:
        graph = _graph(self.manifest, "decoder")
        return open_session(self.folder / graph.file, graph, self.threads)

    def _check_items(self, items: NDArray[Any] | SparseRows) -> None:
        item = self.manifest.item
        if items.ndim == 0 or items.shape[1:] != item.shape:
            raise BundleError(f"items have shape {items.shape[1:]}, the bundle {self.name} takes {item.shape}")
        if items.dtype != item.dtype:
            raise BundleError(f"items are {items.dtype}, the bundle {self.name} takes {item.dtype}")

    def _checked_codes(self, codes: NDArray[Any]) -> NDArray[Any]:
        code = self.manifest.code
        if codes.ndim == 0 or codes.shape[1:] != code.shape:
            raise BundleError(f"codes have shape {codes.shape[1:]}, the bundle {self.name} takes {code.shape}")
        if code.levels is None:
            if codes.dtype != code.dtype:
                raise BundleError(f"codes are {codes.dtype}, the bundle {self.name} takes {code.dtype}")
            return codes
        if codes.dtype.kind not in "ui":
            raise BundleError(f"codes are {codes.dtype}, the bundle {self.name} takes integers ({code.dtype})")
        for extreme in (codes.min(initial=0), codes.max(initial=0)):
            if not 0 <= extreme < code.levels:
                raise BundleError(f"a code is {extreme}, the bundle {self.name} takes 0 to {code.levels - 1}")
        return codes.astype(code.dtype, copy=False)


def _run(
    session: onnxruntime.InferenceSession,
    output: str,
    values: NDArray[Any] | SparseRows,
    batch_size: int,
    spec: TensorSpec,
) -> NDArray[Any]:
    """Return a graph's output (n, ...) for values (n, ...), batch after batch."""
    if batch_size < 1:
        raise BundleError(f"batch_size is {batch_size}, at least 1 is needed")
    (argument,) = session.get_inputs()
    result = np.empty((len(values), *(size or 0 for size in spec.shape[1:])), spec.dtype)
    for start in range(0, len(values), batch_size):
        batch = np.ascontiguousarray(values[start : start + batch_size])
        try:
            (part,) = session.run([output], {argument.name: batch})
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            raise BundleError(f"{output} of a batch of {len(batch)} failed: {' '.join(str(error).split())}") from error
        if start == 0:
            if len(batch) == len(values):
                return np.asarray(part)
            result = np.empty((len(values), *part.shape[1:]), part.dtype)
        result[start : start + len(batch)] = part
    return result


def _graph(manifest: Manifest, side: Side) -> Graph:
    graph = manifest.encoder if side == "encoder" else manifest.decoder
    if graph is None:
        raise BundleError(f"the bundle {manifest.name} has no decoder, its codes cannot be decoded")
    return graph


def _tensor(manifest: Manifest, side: Side, name: str) -> TensorSpec:
    """Find an input or output of a graph by its name."""
    graph = _graph(manifest, side)
    tensors = {spec.name: spec for spec in (*graph.inputs, *graph.outputs)}
    if name not in tensors:
        raise BundleError(f"the {side} of the bundle {manifest.name} has no {name}, only {sorted(tensors)}")
    return tensors[name]


def _check_graphs(path: Path, manifest: Manifest) -> None:
    """Check that the graphs' inputs and outputs in the manifest fit its items and codes."""
    item, code = manifest.item, manifest.code
    expected: list[tuple[Side, str, str, tuple[int | None, ...]]] = [
        ("encoder", "items", item.dtype, item.shape),
        ("encoder", "codes", code.dtype, code.shape),
    ]
    if manifest.decoder is not None:
        expected += [("decoder", "codes", code.dtype, code.shape), ("decoder", "items", "float32", item.shape)]
    for side, name, dtype, shape in expected:
        found = _tensor(manifest, side, name)
        if found.dtype != dtype or found.shape[1:] != shape:
            raise BundleError(
                f"{path}: {name} of the {side} is {found.dtype} {found.shape[1:]}, must be {dtype} {shape}"
            )
