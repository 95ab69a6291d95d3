"""The certificate: proof on real items that a bundle computes what the trained model computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from components.models import Model
from components.training import as_tensor
from pipelines.graphs import random_operators
from serving.bundle import Bundle
from serving.manifest import BatchCheck, Certificate

BATCHES = {1: 64, 7: 70, 64: 512, 512: 2048}  # batch size → how many items are compared at it
TOLERANCE = 2e-5  # float32 sums in another order; a wrong graph is off by far more
TIE = 1e-5

UNPROVEN = Certificate(
    passed=False, failures=("not checked yet",), batches=(), tolerance=TOLERANCE, tie_bound=TIE, random_operators=()
)

Array = np.ndarray[Any, np.dtype[Any]]


def certify(model: Model, bundle: Bundle, items: Array) -> Certificate:
    """Compare a bundle with the model that it was made from.

    Args:
        model: the trained model, on the CPU.
        bundle: through ONNX Runtime, as it will be served.
        items: real raw items (n, *item.shape); the first are used, again and again where there are too few.
    """
    checks = [_compare(model, bundle, items[np.arange(n) % len(items)], batch) for batch, n in BATCHES.items()]
    graphs = [bundle.manifest.encoder, *([bundle.manifest.decoder] if bundle.manifest.decoder else [])]
    random = sorted({operator for graph in graphs for operator in random_operators(bundle.folder / graph.file)})
    failures = [failure for check in checks for failure in _failures(check)]
    failures += [f"operator {operator} gives another result each time" for operator in random]
    return Certificate(
        passed=not failures,
        failures=tuple(failures),
        batches=tuple(checks),
        tolerance=TOLERANCE,
        tie_bound=TIE,
        random_operators=tuple(random),
    )


@torch.no_grad()
def _compare(model: Model, bundle: Bundle, items: Array, batch: int) -> BatchCheck:
    model.eval()
    tensor = as_tensor(items)
    expected = model.encode(tensor)
    found = bundle.encode(items, batch)
    difference, different, beyond = 0.0, 0, 0
    if model.code.levels is None:
        difference = _relative(found, expected.numpy())
    else:
        chosen = torch.from_numpy(found.astype(np.int64))
        regrets = model.regrets(tensor, chosen)
        assert regrets is not None, "a discrete code has regrets"  # noqa: S101
        wrong = chosen != expected
        different, beyond = int(wrong.sum()), int((wrong & ~(regrets <= TIE)).sum())
        # Embeddings are held against those of the codes that ONNX chose, so that a tie counts once.
        embedded = model.embed(chosen).flatten(1).numpy()
        difference = _relative(bundle.embed(items, batch), embedded)
    decoded = 0.0
    if bundle.manifest.decoder is not None:
        rebuilt = model.decode(expected)
        assert rebuilt is not None, "a bundle with a decoder comes from a model that decodes"  # noqa: S101
        codes = expected.numpy().astype(bundle.manifest.code.dtype)
        decoded = _relative(bundle.decode(codes, batch), rebuilt.numpy())
    return BatchCheck(
        batch=batch,
        items=len(items),
        encoder_difference=difference,
        codes_different=different,
        codes_different_beyond_ties=beyond,
        decoder_difference=decoded,
    )


def _relative(found: Array, expected: Array) -> float:
    """Return the largest difference, relative to the largest value; infinite where one of them is no number."""
    difference = float(np.abs(found - expected).max() / max(1e-12, float(np.abs(expected).max())))
    return difference if np.isfinite(difference) else float("inf")


def _failures(check: BatchCheck) -> list[str]:
    failures = []
    if check.encoder_difference > TOLERANCE:
        failures.append(
            f"encoder: outputs differ by {check.encoder_difference:.2g} at batch {check.batch}, at most {TOLERANCE}"
        )
    if check.codes_different_beyond_ties:
        failures.append(
            f"encoder: {check.codes_different_beyond_ties} codes differ that are no ties at batch {check.batch}"
        )
    if check.decoder_difference > TOLERANCE:
        failures.append(
            f"decoder: items differ by {check.decoder_difference:.2g} at batch {check.batch}, at most {TOLERANCE}"
        )
    return failures
