"""Bundles in studies: items rebuilt by them, and the errors that the evaluation has kept."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.evaluate.results import VALUES, parse_values
from pipelines.project import StageError
from serving.bundle import Bundle

Array = np.ndarray[Any, np.dtype[Any]]


def open_bundle(folder: Path) -> Bundle:
    """Load a bundle for a worker of one CPU.

    Raises:
        BundleError: it is missing or damaged.
    """
    return Bundle.load(folder, threads=1)


def rebuilt(bundle: Bundle, items: Array) -> Array:
    """Return raw items (n, *item.shape) encoded and decoded, float32, images in 0-1.

    Raises:
        StageError: the bundle has no decoder.
    """
    if bundle.manifest.decoder is None:
        raise StageError(f"{bundle.name}: has no decoder, so it cannot rebuild items")
    return bundle.decode(bundle.encode(items))


def squared_errors(evaluation: Path) -> Array:
    """Return the squared errors of the rebuilt test items (n,), as the evaluation has kept them in its folder.

    Raises:
        StageError: they are missing or damaged.
    """
    path = evaluation / VALUES
    try:
        values = parse_values(path.read_bytes())["squared_error"]
    except OSError as error:
        raise StageError(f"{path}: {error.strerror}; {_remedy(evaluation)}") from error
    except (ValueError, KeyError) as error:
        raise StageError(
            f"{path}: no squared_error of each item can be read ({error}); {_remedy(evaluation)}"
        ) from error
    return values


def digest_of_errors(evaluation: Path) -> str:
    """Return the sha256 of :func:`squared_errors`; other columns of the file may change."""
    return hashlib.sha256(squared_errors(evaluation).tobytes()).hexdigest()


def evenly_spread(count: int, wanted: int | None) -> Array:
    """Return `wanted` places evenly spread over `count`, all of them where there are no more."""
    wanted = min(count, wanted or count)
    return np.arange(wanted) * count // wanted


def _remedy(evaluation: Path) -> str:
    return f"run `python -m pipelines.evaluate {evaluation.parent.name} --only {evaluation.name}`"
