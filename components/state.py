"""A training state on disk: one safetensors file, written whole or not at all, safe to read."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

SHA256 = "sha256"  # the key of the checksum, in the document on disk


class DamagedState(ValueError):  # noqa: N818
    """A file is not what :meth:`State.save` wrote."""


@dataclass(frozen=True)
class State:
    """Named tensors and a JSON document.

    Attributes:
        tensors: `model.…` for weights and buffers, `optimizer.…` for the optimizer's moments.
        rest: what is no tensor, such as the epoch. It travels in the file's header, so the two cannot come apart.
    """

    tensors: dict[str, Tensor]
    rest: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors below `name.`, without that prefix."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): tensor for key, tensor in self.tensors.items() if key.startswith(prefix)}

    def save(self, path: Path) -> None:
        """Write to `path`, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")  # a writer elsewhere has one of its own
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        # One entry of metadata: the order of several is the serializer's whim, and equal states make equal files.
        rest = json.dumps(self.rest | {SHA256: _digest(tensors, self.rest)})
        try:
            save_file(tensors, partial, metadata={"rest": rest})
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> State:
        """Read what :meth:`save` wrote.

        Raises:
            DamagedState: the file is not whole, or not the one that was written.
        """
        rest = cls.read_rest(path)
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise DamagedState(str(error)) from error
        if _digest(tensors, rest) != _known(path)[SHA256]:
            raise DamagedState(f"its content does not have the {SHA256} that it names")
        return cls(tensors, rest)

    @staticmethod
    def read_rest(path: Path) -> dict[str, Any]:
        """Return the JSON document alone, which is quick, and its checksum not looked at.

        Raises:
            DamagedState: the header cannot be read.
        """
        return {name: value for name, value in _known(path).items() if name != SHA256}


def _known(path: Path) -> dict[str, Any]:
    """Return the JSON document of a file's header, with its checksum."""
    try:
        with safe_open(path, framework="pt") as file:
            known = json.loads((file.metadata() or {}).get("rest", "null"))
    except (SafetensorError, ValueError) as error:
        raise DamagedState(str(error)) from error
    if not isinstance(known, dict) or SHA256 not in known:
        raise DamagedState("its header does not hold what a training state's does")
    return known


def _digest(tensors: dict[str, Tensor], rest: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(rest).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
