from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from items.code import CodeSpec
from items.spec import ItemSpec


@pytest.mark.parametrize(
    ("levels", "dtype", "bits"),
    [
        (None, "float32", 6 * 32),
        (1, "uint8", 0),
        (2, "uint8", 6),
        (256, "uint8", 6 * 8),
        (257, "uint16", 6 * np.log2(257)),
        (65536, "uint16", 6 * 16),
        (65537, "int32", 6 * np.log2(65537)),
        (2**31, "int32", 6 * 31),
    ],
)
def test_a_code_has_the_smallest_type_and_costs_its_elements(levels: int | None, dtype: str, bits: float) -> None:
    code = CodeSpec(shape=(2, 3), levels=levels)
    assert code.dtype == dtype
    assert code.bits_per_item == pytest.approx(bits)


def test_a_code_is_the_same_from_its_json() -> None:
    for code in (
        CodeSpec(shape=(4,), levels=None, bits_per_item=17.5),
        CodeSpec(shape=(4,), levels=9, alphabets=2, dtype="uint16"),
    ):
        assert CodeSpec.model_validate_json(code.model_dump_json()) == code


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shape": [0]}, "greater than or equal to 1"),
        ({"shape": [-2, -3]}, "greater than or equal to 1"),
        ({"levels": 0}, "greater than or equal to 1"),
        ({"levels": 2**31 + 1}, "cannot hold 2147483649 levels"),
        ({"dtype": "float64"}, "Input should be"),
        ({"dtype": "float32"}, "must be float32 for real codes and an integer for discrete ones"),
        ({"levels": None, "dtype": "uint8"}, "must be float32 for real codes and an integer for discrete ones"),
        ({"levels": 300, "dtype": "uint8"}, "dtype is uint8, which cannot hold 300 levels"),
        ({"bits_per_item": -1}, "greater than or equal to 0"),
        ({"bits_per_item": float("nan")}, "finite number"),
        ({"alphabets": 0}, "greater than or equal to 1"),
        ({"alphabets": 4}, "alphabets is 4, must divide 6, the code's elements"),
        ({"price": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_code_that_cannot_be_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        CodeSpec.model_validate({"shape": [6], "levels": 5} | changes)


def test_an_items_bits_are_those_of_its_numbers() -> None:
    assert ItemSpec(kind="image", shape=(4, 5, 3), dtype="uint8").bits == 60 * 8
    assert ItemSpec(kind="vector", shape=(7,), dtype="float32").bits == 7 * 32


def test_items_are_scaled_to_what_models_rebuild() -> None:
    pixels = np.array([[0, 51, 255]], np.uint8)
    np.testing.assert_allclose(ItemSpec(kind="vector", shape=(3,), dtype="uint8").scaled(pixels), [[0, 0.2, 1]])
    numbers = np.array([[-1.5, 300]], np.float32)
    assert ItemSpec(kind="vector", shape=(2,), dtype="float32").scaled(numbers) is numbers


@pytest.mark.parametrize(
    "changes", [{"shape": [0]}, {"shape": [None]}, {"kind": "smell"}, {"dtype": "float64"}, {"colour": True}]
)
def test_an_item_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ItemSpec.model_validate({"kind": "vector", "shape": [3], "dtype": "uint8"} | changes)
