"""A bundle as it is used: raw items in, codes out and back, through ONNX Runtime.

    bundle = Bundle.load("models:/mnist-vqvae@champion")
    codes = bundle.encode(images)        # (60000, 28, 28, 1) uint8 → (60000, 49) uint16
    rebuilt = bundle.decode(codes)       # → (60000, 28, 28, 1) float32, 0 to 1, unclipped

What lies in the folder is told by `serving.manifest`, whose names are also given here.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from serving.manifest import (
    MANIFEST,
    BatchCheck,
    BundleError,
    Certificate,
    CodeContract,
    Graph,
    ItemContract,
    Manifest,
    TensorSpec,
    read_manifest,
    sha256_of,
)
from serving.registry import is_registry_uri, resolve
from serving.sessions import available_cpus, open_session

__all__ = [
    "BATCH_SIZE",
    "MANIFEST",
    "BatchCheck",
    "Bundle",
    "BundleError",
    "Certificate",
    "CodeContract",
    "Graph",
    "ItemContract",
    "Manifest",
    "TensorSpec",
    "read_manifest",
    "sha256_of",
]

BATCH_SIZE = 512  # items a run of a graph; float codes are the same to the bit where batches are cut alike

Array = np.ndarray[Any, np.dtype[Any]]


class Bundle:
    """One model, ready to encode and decode. Graphs are opened at their first use; calls may come from any thread.

    Attributes:
        folder: where the bundle lies.
        manifest: what it promises.
        threads: threads of each session.
    """

    def __init__(self, folder: Path, manifest: Manifest, threads: int) -> None:
        self.folder = folder
        self.manifest = manifest
        self.threads = threads
        _check_contracts(folder / MANIFEST, manifest)

    @classmethod
    def load(cls, source: str | Path, threads: int | None = None) -> Bundle:
        """Load a bundle from a folder or from the model registry.

        Args:
            source: a folder, or `models:/name@alias`, `models:/name/version`.
            threads: of each session; by default as many as there are CPUs for this process.

        Raises:
            BundleError: the bundle is not whole or not what its manifest says.
            RegistryError: the registry cannot be reached or has no such model.
        """
        if threads is not None and threads < 1:
            raise BundleError(f"threads is {threads}, at least 1 is needed")
        folder = resolve(str(source)) if is_registry_uri(source) else Path(source)
        return cls(folder, read_manifest(folder), threads or available_cpus())

    @property
    def name(self) -> str:
        """The experiment that made the bundle."""
        return self.manifest.name

    @property
    def discrete(self) -> bool:
        """Whether codes are integers below `manifest.code.levels`."""
        return self.manifest.code.levels is not None

    @property
    def feature_dimensions(self) -> int:
        """Numbers that `embed` gives for an item."""
        if not self.discrete:
            return int(np.prod(self.manifest.code.shape))
        sizes = _output(self.manifest.encoder, "embedding").shape[1:]
        return int(np.prod([size for size in sizes if size is not None]))

    def encode(self, items: Array, batch_size: int = BATCH_SIZE) -> Array:
        """Encode raw items (n, *item shape) to codes (n, *code shape).

        Raises:
            BundleError: the items' dtype or shape is not what the bundle takes.
        """
        self._check_items(items)
        code = self.manifest.code
        return self._run(self._encoder, "codes", items, batch_size, code.shape, code.dtype)

    def embed(self, items: Array, batch_size: int = BATCH_SIZE) -> Array:
        """Encode raw items (n, *item shape) to float32 features (n, feature_dimensions).

        Real codes are their own features; for discrete codes they are the codebook vectors, one after another.

        Raises:
            BundleError: the items' dtype or shape is not what the bundle takes.
        """
        self._check_items(items)
        output = _output(self.manifest.encoder, "embedding" if self.discrete else "codes")
        features = self._run(self._encoder, output.name, items, batch_size, (self.feature_dimensions,), "float32")
        return features

    def decode(self, codes: Array, batch_size: int = BATCH_SIZE) -> Array:
        """Decode codes (n, *code shape) to items (n, *item shape), float32; images 0 to 1, unclipped.

        Raises:
            BundleError: the bundle has no decoder, or the codes' dtype, shape or values are not its own.
        """
        self._check_codes(codes)
        if self.manifest.decoder is None:
            raise BundleError(f"the bundle {self.name} has no decoder: its codes cannot be decoded")
        shape = _output(self.manifest.decoder, "items").shape[1:]
        return self._run(self._decoder, "items", codes, batch_size, shape, "float32")

    @cached_property
    def _encoder(self) -> onnxruntime.InferenceSession:
        return open_session(self.folder / self.manifest.encoder.file, self.manifest.encoder, self.threads)

    @cached_property
    def _decoder(self) -> onnxruntime.InferenceSession:
        assert self.manifest.decoder is not None  # noqa: S101 - decode has said so
        return open_session(self.folder / self.manifest.decoder.file, self.manifest.decoder, self.threads)
