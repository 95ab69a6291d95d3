"""Each codebook, variable and bit is counted by itself: by hand, for every discrete bottleneck."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from components.bottlenecks import BottleneckSettings
from components.codebook_use import code_counts, codebook_metrics, entropies
from items.spec import ItemSpec

ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")
QUANTIZER = {"codebook_size": 4, "size": 2, "positions": 2}

# Settings, the codes of four items, and how often each vector of each codebook is used, by hand.
BY_HAND: dict[str, tuple[dict[str, Any], list[list[int]], list[list[int]]]] = {
    "one codebook for both positions": (
        {"kind": "vector_quantizer", **QUANTIZER},
        [[0, 1], [0, 1], [0, 1], [0, 3]],
        [[4, 3, 0, 1]],
    ),
    "one implicit codebook for both positions": (
        {"kind": "finite_scalar", "levels": [2, 2], "positions": 2},
        [[0, 1], [0, 1], [2, 1], [0, 1]],
        [[3, 4, 1, 0]],
    ),
    "a codebook for each stage": (  # a position's stages lie beside each other
        {"kind": "residual_quantizer", "depth": 2, **QUANTIZER},
        [[0, 3, 1, 3], [0, 3, 1, 3], [0, 3, 1, 3], [0, 3, 2, 3]],
        [[4, 3, 1, 0], [0, 0, 0, 8]],
    ),
    "an alphabet for each variable": (
        {"kind": "categorical", "variables": 2, "classes": 4},
        [[0, 1], [0, 2], [0, 3], [0, 0]],
        [[4, 0, 0, 0], [1, 1, 1, 1]],
    ),
    "two values for each bit": (
        {"kind": "binary", "size": 3},
        [[0, 1, 0], [0, 1, 0], [0, 1, 1], [0, 1, 1]],
        [[4, 0], [0, 4], [2, 2]],
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_every_alphabet_is_counted_by_itself(name: str) -> None:
    settings, codes, expected = BY_HAND[name]
    code = TypeAdapter(BottleneckSettings).validate_python(settings).build(ITEM, 1).code
    assert (len(codes[0]),) == code.shape
    counts = code_counts(np.array(codes, np.uint8), code.levels, code.alphabets)
    assert counts.tolist() == expected


def test_bits_that_never_change_are_half_used_and_carry_nothing() -> None:
    code = TypeAdapter(BottleneckSettings).validate_python({"kind": "binary", "size": 64}).build(ITEM, 1).code
    codes = np.tile(np.arange(64) % 2, (393, 1))  # counted together, both values would be used, and evenly
    assert codebook_metrics(code_counts(codes, code.levels, code.alphabets)) == {
        "codebook_usage": 0.5, "codebook_usage_worst": 0.5, "codebook_perplexity": 1, "codebook_perplexity_worst": 1,
    }  # fmt: skip


def test_entropies_by_hand() -> None:
    counts = np.array([[4, 4, 4, 4], [0, 9, 0, 0], [1, 1, 2, 0]])  # 1/4, 1/4, 1/2: half a bit and half a bit and half
    np.testing.assert_allclose(entropies(counts), [2, 0, 1.5])
    assert entropies(np.full((1, 12), 7))[0] == pytest.approx(np.log2(12))


def test_usage_and_perplexity_are_of_each_codebook_by_itself() -> None:
    metrics = codebook_metrics(np.array([[1, 1, 2, 0], [0, 8, 0, 0]]))
    assert metrics == pytest.approx({
        "codebook_usage": (3 / 4 + 1 / 4) / 2, "codebook_usage_worst": 1 / 4,
        "codebook_perplexity": (2**1.5 + 1) / 2, "codebook_perplexity_worst": 1,
    })  # fmt: skip
