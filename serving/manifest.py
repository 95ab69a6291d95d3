"""The bundle on disk: two ONNX graphs and a manifest, all checked before anything runs.

bundles/<dataset>/<experiment>/encoder.onnx   raw items in, codes out
bundles/<dataset>/<experiment>/decoder.onnx   codes in, items out (absent where a model cannot decode)
bundles/<dataset>/<experiment>/bundle.json    this manifest

Other files in the folder are not looked at.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from items.code import CodeSpec
from items.digests import json_digest, sha256_of
from items.errors import first_error, one_line
from items.spec import ItemSpec

MANIFEST = "bundle.json"


class BundleError(ValueError):
    """A bundle cannot be used: the message names the file, what is wrong and what was expected."""


Rebuilds = Literal["items", "chances"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorSpec(_Record):
    """An input or output of a graph. `null` in `shape` is an axis of any length; the first axis is the batch."""

    name: str
    dtype: Literal["uint8", "uint16", "int32", "int64", "float32"]
    shape: tuple[int | None, ...]


class Graph(_Record):
    """One ONNX file: its digest, its inputs and its outputs."""

    file: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class BatchCheck(_Record):
    """ONNX against torch on real items, for one batch size."""

    batch: int
    items: int
    encoder_difference: float = Field(
        description="largest |onnx - torch| of real codes, or of the embedding of discrete ones"
    )
    codes_compared: int | None = Field(
        default=None,
        description="elements of discrete codes, or units that sparse codes keep; null in earlier bundles",
    )
    codes_different: int = Field(description="number of these that differ")
    codes_different_beyond_ties: int = Field(description="number of these that differ and are no numeric tie")
    decoder_difference: float = Field(
        description="largest |onnx - torch| of rebuilt values; like `encoder_difference` relative to the largest value"
    )


class Certificate(_Record):
    """The comparison of the ONNX graphs with the trained model."""

    passed: bool
    failures: tuple[str, ...]
    batches: tuple[BatchCheck, ...]
    tolerance: float = Field(description="bound on encoder and decoder differences, relative to the largest value")
    tie_bound: float = Field(
        description="gap between two choices up to which they are a tie, relative to the spread of all choices; "
        "relative to their size in bundles without `different_bound`"
    )
    different_bound: float | None = Field(
        default=None,
        description="share of the compared codes that may differ as ties; null in earlier bundles",
    )
    random_operators: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The result in one line: `largest difference 1e-06, 6 of 100352 codes differ (all ties)`."""
        worst = max((max(c.encoder_difference, c.decoder_difference) for c in self.batches), default=0.0)
        compared = sum(c.codes_compared or 0 for c in self.batches)
        different = sum(c.codes_different for c in self.batches)
        beyond = sum(c.codes_different_beyond_ties for c in self.batches)
        found = [f"largest difference {worst:.1g}"]
        if compared or different:
            ties = f" ({f'{beyond} of them no ties' if beyond else 'all ties'})" if different else ""
            found.append(f"{different}{f' of {compared}' if compared else ''} codes differ{ties}")
        return ", ".join(found)


class Manifest(_Record):
    """bundle.json, version 1."""

    format: Literal["hourglass/bundle"] = "hourglass/bundle"
    version: Literal[1] = 1
    name: str
    item: ItemSpec
    code: CodeSpec
    encoder: Graph
    decoder: Graph | None
    rebuilds: Rebuilds = Field(
        default="items",
        exclude_if=lambda rebuilds: rebuilds == "items",
        description="what the decoder gives: items in the scale that the encoder makes of them, or of texts the "
        "chances of words; left out where it is items, as in earlier bundles",
    )
    certificate: Certificate
    versions: dict[str, str] = Field(description="of the libraries that wrote the graphs")
    data_digest: str
    settings_digest: str
    weights_digest: str
    digest: str = Field(description="sha256 of the rest of this file, which names that of the graphs' content")

    def computed_digest(self) -> str:
        """Return the digest of the file as it would be written."""
        return _digest_of(self.model_dump(mode="json"))


def read_manifest(folder: Path) -> Manifest:
    """Read and check a bundle's manifest and the digests of its files.

    Raises:
        BundleError: the folder has no manifest, the manifest is not valid, or a file's content is not the one that the
            manifest describes.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder}: has no {MANIFEST}, so it is not a bundle")
    content = path.read_bytes()
    try:
        manifest = Manifest.model_validate_json(content)
        found = _digest_of(json.loads(content))  # of the file, not the model: earlier bundles lack some of its fields
    except ValidationError as error:
        raise BundleError(f"{path}: {first_error(error)}") from error
    except ValueError as error:
        raise BundleError(f"{path}: {one_line(error)}") from error
    if manifest.digest != found:
        raise BundleError(f"{path}: digest is {manifest.digest[:64]}, of its content {found}")
    for graph in (manifest.encoder, manifest.decoder):
        if graph is None:
            continue
        if Path(graph.file).name != graph.file or not (folder / graph.file).is_file():
            raise BundleError(f"{folder / graph.file}: the manifest names this file, and it is not there")
        if (found := sha256_of(folder / graph.file)) != graph.sha256:
            raise BundleError(f"{folder / graph.file}: sha256 is {found}, the manifest says {graph.sha256}")
    return manifest


def _digest_of(document: dict[str, Any]) -> str:
    return json_digest({name: value for name, value in document.items() if name != "digest"})
