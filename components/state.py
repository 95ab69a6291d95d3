"""A training state on disk: one safetensors file, written whole or not at all, safe to read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor


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
        partial = path.with_name(f"{path.name}.partial")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        save_file(tensors, partial, metadata={"rest": json.dumps(self.rest)})
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> State:
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            rest = json.loads(file.metadata()["rest"])
        return cls(load_file(path), rest)
