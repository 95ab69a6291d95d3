"""The certificate: proof on real items that a bundle computes what the trained model computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.batches import RawItems, as_tensor
from components.models import Model
from pipelines.export.graphs import random_operators
from serving.bundle import Bundle
from serving.manifest import BatchCheck, Certificate

BATCHES = {1: 64, 7: 70, 64: 512, 512: 2048}  # batch size → how many items are compared at it
TOLERANCE = 2e-5  # float32 sums in another order; a wrong graph is off by far more
TIE = 3e-5  # of the alternatives' spread; ten times what float32 sums were seen to move a gap by on MNIST
DIFFERENT = 1e-3  # as ties, far fewer choices were seen to differ; one may always
CHUNK = 64  # items whose alternatives are held at once

UNPROVEN = Certificate(
    passed=False,
    failures=("not checked yet",),
    batches=(),
    tolerance=TOLERANCE,
    tie_bound=TIE,
    different_bound=DIFFERENT,
    random_operators=(),
)

Array = np.ndarray[Any, np.dtype[Any]]


def certify(model: Model, bundle: Bundle, items: RawItems) -> Certificate:
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
        different_bound=DIFFERENT,
        random_operators=tuple(random),
    )


@torch.no_grad()
def _compare(model: Model, bundle: Bundle, items: Array, batch: int) -> BatchCheck:
    model.eval()
    codes = bundle.encode(items, batch)
    found = torch.from_numpy(codes if model.code.levels is None else codes.astype(np.int64))
    expected, embedded, counts = [], [], np.zeros(3, np.int64)
    for some, theirs in zip(torch.split(as_tensor(items), CHUNK), torch.split(found, CHUNK), strict=True):
        ours = model.encode(some)
        expected.append(ours)
        # Held against what follows from the choices that ONNX made, so that a tie counts once.
        embedded.append(model.with_choices(some, theirs).flatten(1))
        counts += _count_choices(model, some, ours, theirs)
    compared, different, beyond = (int(count) for count in counts)
    decoded = 0.0
    if bundle.manifest.decoder is not None:
        rebuilt = torch.cat([made for ours in expected if (made := model.decode(ours)) is not None])
        stored = torch.cat(expected).numpy().astype(bundle.manifest.code.dtype)
        decoded = _relative(bundle.decode(stored, batch), rebuilt.numpy())
    return BatchCheck(
        batch=batch,
        items=len(items),
        encoder_difference=_relative(bundle.embed(items, batch), torch.cat(embedded).numpy()),
        codes_compared=compared,
        codes_different=different,
        codes_different_beyond_ties=beyond,
        decoder_difference=decoded,
    )


def _count_choices(model: Model, items: Tensor, ours: Tensor, theirs: Tensor) -> tuple[int, int, int]:
    """Return how many choices there are in codes, how many differ, and how many of those are no ties.

    A discrete code's elements are one each. In a sparse one each unit that is kept is: two units that change places are
    one choice that differs. In other real codes there are none.
    """
    discrete = model.code.levels is not None
    if discrete and torch.equal(ours, theirs):
        return ours.numel(), 0, 0  # the usual case, without the distances to every vector of a codebook
    gaps = model.choice_gaps(items, theirs)
    if gaps is None:
        return 0, 0, 0
    wrong = ours != theirs if discrete else (ours != 0) != (theirs != 0)
    different, beyond = int(wrong.sum()), int((wrong & ~(gaps <= TIE)).sum())
    if discrete:
        return ours.numel(), different, beyond
    return int((ours != 0).sum()), (different + 1) // 2, (beyond + 1) // 2


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
    if check.codes_different > max(1, DIFFERENT * (check.codes_compared or 0)):
        failures.append(
            f"encoder: {check.codes_different} of {check.codes_compared} codes differ at batch {check.batch}; even as "
            f"ties, at most {DIFFERENT:.1%} may"
        )
    if check.decoder_difference > TOLERANCE:
        failures.append(
            f"decoder: items differ by {check.decoder_difference:.2g} at batch {check.batch}, at most {TOLERANCE}"
        )
    return failures
