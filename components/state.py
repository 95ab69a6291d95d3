"""A training state as one safetensors file, safe to read."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

SHA256 = "sha256"  # the key of the checksum, in the document
LONGEST_HEADER = 100_000_000  # bytes, as safetensors itself allows


class DamagedState(ValueError):  # noqa: N818
    """A file is not what :meth:`State.to_bytes` wrote."""


@dataclass(frozen=True)
class State:
    """Named tensors and a JSON document.

    Attributes:
        tensors: `model.…` for weights and buffers, `optimizer.…` for the optimizer's moments.
        rest: what is no tensor, such as the epoch. It travels in the file's header, so the two cannot be separated.
    """

    tensors: dict[str, Tensor]
    rest: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors below `name.`, without that prefix."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): tensor for key, tensor in self.tensors.items() if key.startswith(prefix)}

    def to_bytes(self) -> bytes:
        """Return the state as a safetensors file."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        # One key of metadata: the serializer gives several any order, and equal states must make equal files.
        return save(tensors, metadata={"rest": json.dumps(self.rest | {SHA256: _digest(tensors, self.rest)})})

    @classmethod
    def from_bytes(cls, content: bytes) -> State:
        """Return the state that :meth:`to_bytes` wrote.

        Raises:
            DamagedState: the content is not whole, or not what was written.
        """
        known = _header(io.BytesIO(content))
        try:
            tensors = load(content)
        except SafetensorError as error:
            raise DamagedState(str(error)) from error
        rest = {name: value for name, value in known.items() if name != SHA256}
        if _digest(tensors, rest) != known[SHA256]:
            raise DamagedState(f"its content does not have the {SHA256} that it names")
        return cls(tensors, rest)

    @staticmethod
    def read_rest(file: BinaryIO) -> dict[str, Any]:
        """Return the JSON document alone, of an open file, which is quick: neither tensors nor checksum are looked at.

        Raises:
            DamagedState: the header cannot be read.
        """
        return {name: value for name, value in _header(file).items() if name != SHA256}


def _header(file: BinaryIO) -> dict[str, Any]:
    """Return the JSON document of a safetensors file's header, with its checksum.

    The file begins with the header's length, 8 bytes, little-endian; see the format's description.
    """
    length = int.from_bytes(file.read(8), "little")
    if not 0 < length <= LONGEST_HEADER:
        raise DamagedState(f"its header has {length} bytes, must be 1 to {LONGEST_HEADER}")
    try:
        known = json.loads(json.loads(file.read(length))["__metadata__"]["rest"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedState(f"its header cannot be read ({type(error).__name__})") from error
    if not isinstance(known, dict) or SHA256 not in known:
        raise DamagedState("its header does not hold what a training state's does")
    return known


def _digest(tensors: dict[str, Tensor], rest: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(rest).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
