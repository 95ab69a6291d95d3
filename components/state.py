"""A training state on disk: tensors in safetensors, the rest in JSON. Written whole or not at all, read without pickle."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

TENSORS, REST = "state.safetensors", "state.json"


@dataclass(frozen=True)
class State:
    """Named tensors and a JSON document.

    Attributes:
        tensors: `model.…` for weights and buffers, `optimizer.…` for the optimizer's moments.
        rest: what is no tensor: epoch, step.
    """

    tensors: dict[str, Tensor]
    rest: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors below `name.`, without that prefix."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): tensor for key, tensor in self.tensors.items() if key.startswith(prefix)}

    def save(self, folder: Path) -> None:
        """Write both files into `folder`, the JSON last: a folder without it holds no state."""
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(self.tensors, folder / TENSORS)
        partial = folder / f"{REST}.partial"
        partial.write_text(json.dumps(self.rest, indent=1))
        partial.replace(folder / REST)

    @classmethod
    def load(cls, folder: Path) -> State:
        """Read what :meth:`save` wrote."""
        return cls(load_file(folder / TENSORS), json.loads((folder / REST).read_text()))


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors to a safetensors file, atomically."""
    partial = path.with_name(f"{path.name}.partial")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial)
    os.replace(partial, path)
