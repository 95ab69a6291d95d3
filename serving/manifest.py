"""The bundle's contract on disk: two ONNX graphs and a manifest, checked whole before anything runs.

bundles/<experiment>/encoder.onnx   raw items in, codes out
bundles/<experiment>/decoder.onnx   codes in, items out (absent where a model cannot decode)
bundles/<experiment>/bundle.json    this manifest
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from items.errors import first_mistake
from items.pixels import Fit

MANIFEST = "bundle.json"


class BundleError(ValueError):
    """A bundle that cannot be used: says which file, what is wrong and what was expected."""


def _is_none(value: object) -> bool:
    """Return whether a field that older bundles lack is left out of the JSON, so that they keep their digests."""
    return value is None


class _Contract(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorSpec(_Contract):
    """A graph's input or output. `null` in `shape` is an axis of any length; the first is the batch."""

    name: str
    dtype: Literal["uint8", "uint16", "int32", "int64", "float32"]
    shape: tuple[int | None, ...]


class Graph(_Contract):
    """One ONNX file: its content and its face."""

    file: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class ItemContract(_Contract):
    """What the encoder takes: raw items, with nothing done to them.

    `fit` says how the image files that the model was trained on were brought to `shape`; null where items did not come
    from image files, or the bundle is older than this field.
    """

    kind: str
    shape: tuple[int | None, ...]
    dtype: str
    fit: Fit | None = Field(default=None, exclude_if=_is_none)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether an item may have this shape; null in the contract's allows any length."""
        return len(shape) == len(self.shape) and all(
            allowed in (None, size) for size, allowed in zip(shape, self.shape, strict=True)
        )


class CodeContract(_Contract):
    """What the encoder gives. `levels` is the number of values a discrete code can take, null for real codes."""

    shape: tuple[int, ...]
    dtype: str
    levels: int | None
    bits_per_item: float
    alphabets: int | None = Field(
        default=None,
        exclude_if=_is_none,
        ge=1,
        description="different codebooks, variables or bits that a discrete code's elements belong to, in turn; null "
        "for real codes, and in earlier bundles",
    )


class BatchCheck(_Contract):
    """ONNX against torch on real items, for one batch size."""

    batch: int
    items: int
    encoder_difference: float = Field(description="largest |onnx - torch| of a real code or a discrete one's embedding")
    codes_compared: int | None = Field(
        default=None,
        exclude_if=_is_none,
        description="elements of discrete codes, or units that sparse ones keep; null in earlier bundles",
    )
    codes_different: int = Field(description="those of them that differ")
    codes_different_beyond_ties: int = Field(description="those that differ where the two choices are no numeric tie")
    decoder_difference: float = Field(
        description="largest |onnx - torch| of a rebuilt value; both relative to the largest"
    )


class Certificate(_Contract):
    """Proof that the ONNX graphs compute what the trained model computes."""

    passed: bool
    failures: tuple[str, ...]
    batches: tuple[BatchCheck, ...]
    tolerance: float = Field(description="bound on encoder and decoder differences, relative to the largest value")
    tie_bound: float = Field(
        description="gap between two choices up to which they are a tie, relative to the spread of all; in bundles "
        "without `different_bound`, to their size"
    )
    different_bound: float | None = Field(
        default=None,
        exclude_if=_is_none,
        description="share of the codes compared that may differ as ties; null in earlier bundles",
    )
    random_operators: tuple[str, ...]

    @property
    def summary(self) -> str:
        """What was found, in a line: `largest difference 1e-06, 6 of 100352 codes differ (all ties)`."""
        worst = max((max(c.encoder_difference, c.decoder_difference) for c in self.batches), default=0.0)
        compared = sum(c.codes_compared or 0 for c in self.batches)
        different = sum(c.codes_different for c in self.batches)
        beyond = sum(c.codes_different_beyond_ties for c in self.batches)
        found = [f"largest difference {worst:.1g}"]
        if compared or different:
            ties = f" ({f'{beyond} of them no ties' if beyond else 'all ties'})" if different else ""
            found.append(f"{different}{f' of {compared}' if compared else ''} codes differ{ties}")
        return ", ".join(found)


class Manifest(_Contract):
    """bundle.json, version 1."""

    format: Literal["hourglass/bundle"] = "hourglass/bundle"
    version: Literal[1] = 1
    name: str
    item: ItemContract
    code: CodeContract
    encoder: Graph
    decoder: Graph | None
    certificate: Certificate
    versions: dict[str, str] = Field(description="of the libraries that made the graphs")
    data_digest: str
    settings_digest: str
    weights_digest: str
    digest: str = Field(description="sha256 of this manifest without `digest`, hence of the whole bundle")

    def computed_digest(self) -> str:
        """Return the sha256 of everything but `digest`, as canonical JSON."""
        content = self.model_dump(mode="json", exclude={"digest"})
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read and check a bundle's manifest and the digests of its files.

    Raises:
        BundleError: the folder has no manifest, it does not meet the contract, or a file's content is not what the
            manifest says.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder}: no {MANIFEST} there, so it is not a bundle")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BundleError(f"{path}: {first_mistake(error)}") from error
    if manifest.digest != manifest.computed_digest():
        raise BundleError(f"{path}: digest is {manifest.digest[:64]}, of its content {manifest.computed_digest()}")
    for graph in (manifest.encoder, manifest.decoder):
        if graph is None:
            continue
        if Path(graph.file).name != graph.file or not (folder / graph.file).is_file():
            raise BundleError(f"{folder / graph.file}: the manifest names this file, and it is not there")
        if (found := sha256_of(folder / graph.file)) != graph.sha256:
            raise BundleError(f"{folder / graph.file}: sha256 is {found}, the manifest says {graph.sha256}")
    return manifest
