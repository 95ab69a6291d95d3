"""The code that stands for one item: numbers of one shape and type, and what they cost in bits."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

CodeType = Literal["uint8", "uint16", "int32", "float32"]
LARGEST: dict[CodeType, int] = {"uint8": 0xFF, "uint16": 0xFFFF, "int32": 0x7FFF_FFFF}  # of discrete codes


def _smallest_type(known: dict[str, Any]) -> CodeType:
    levels: int | None = known["levels"]
    if levels is None:
        return "float32"
    return next((dtype for dtype, largest in LARGEST.items() if levels - 1 <= largest), "int32")


def _bits(known: dict[str, Any]) -> float:
    shape: tuple[int, ...] = known["shape"]
    levels: int | None = known["levels"]
    return math.prod(shape) * (32.0 if levels is None else math.log2(levels))


class CodeSpec(BaseModel):
    """The code of one item as an encoder gives it.

    Attributes:
        shape: of the numbers.
        levels: how many values each element of a discrete code can take, from 0 on; None for real codes.
        dtype: of the numbers; by default the smallest that holds them, float32 for real codes.
        bits_per_item: the cost of one item's code; by default log2(levels) bits an element, 32 of a real code.
        alphabets: how many different codebooks, variables or bits the elements of a discrete code belong to, in turn:
            elements 0, alphabets, 2 * alphabets and so on share the first. Only within one can levels be counted
            together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: tuple[Annotated[int, Field(ge=1)], ...]
    levels: Annotated[int, Field(ge=1)] | None
    dtype: CodeType = Field(default_factory=_smallest_type)
    bits_per_item: float = Field(default_factory=_bits, ge=0, allow_inf_nan=False)
    alphabets: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if (self.levels is None) != (self.dtype == "float32"):
            raise ValueError(f"dtype is {self.dtype}, must be float32 for real codes and an integer for discrete ones")
        if self.levels is not None and self.levels - 1 > LARGEST[self.dtype]:
            raise ValueError(f"dtype is {self.dtype}, which cannot hold {self.levels} levels")
        if math.prod(self.shape) % self.alphabets:
            raise ValueError(f"alphabets is {self.alphabets}, must divide {math.prod(self.shape)}, the code's elements")
        return self
