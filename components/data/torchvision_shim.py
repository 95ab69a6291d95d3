"""The one way into torchvision, which also works beside a CPU build of torch.

torchvision's wheel is built for CUDA. Beside a CPU torch its C++ library does not load, and the import stops at
`operator torchvision::nms does not exist`. With the schemas of the two operators that it looks for declared first,
its datasets, transforms and utils work; its C++ operators and torchvision.io do not.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[Any] = []  # a schema lives as long as its library


def import_torchvision(submodule: str) -> Any:
    """Return `torchvision.<submodule>`, for example `datasets`, `transforms.v2` or `utils`.

    Raises:
        ImportError: torchvision is not installed, or has no such submodule.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _forget_half_import()
        _declare_operators()
    return importlib.import_module(f"torchvision.{submodule}")


def _forget_half_import() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def _declare_operators() -> None:
    import torch.library  # here, because torch takes seconds and most who know this module never come this far

    if not _declared:
        untyped: Any = torch.library.Library
        library = untyped("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(operator + _NMS)
        _declared.append(library)
