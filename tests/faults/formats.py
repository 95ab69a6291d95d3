"""A file format under test: a sample of it, what reads it, and what may come of reading a damaged one."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from tests.faults.damage import Damage, damaged_bytes


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        name: what it is called, as `bundle.json`.
        file: pattern of the files to damage, below the sample's folder.
        make: writes a sample into an empty folder, and all that is needed to read it.
        use: reads it as the commands do, and returns a digest of what came of it.
        refusals: the errors that the commands turn into one line.
        damage: changes the file.
        sealed: whether a digest seals its content, so that any other content must be refused. Where none does,
            only what cannot be right by its structure is: a changed number is another number.
        peer: what another reader makes of the same file, where there is one: the content must be equal.
        several: whether a refusal may have several lines, one for each error.
        copied: whether reading changes the folder, so that each round needs a copy.
        named: text that a refusal must have; by default the file's name.
    """

    name: str
    file: str
    make: Callable[[Path], None]
    use: Callable[[Path], str]
    refusals: tuple[type[Exception], ...]
    damage: Callable[[bytes, random.Random], Damage] = damaged_bytes
    sealed: bool = True
    peer: Callable[[Path], str] | None = None
    several: bool = False
    copied: bool = False
    named: str | None = None


def digest(*parts: Any) -> str:
    """Return a digest of what was read: arrays bit for bit, models and the rest by their values."""
    made = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            made.update(f"{part.dtype} {part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        elif isinstance(part, BaseModel):
            made.update(digest(part.model_dump()).encode())
        elif isinstance(part, Mapping):
            made.update(digest(*(x for key in sorted(part) for x in (key, part[key]))).encode())
        elif isinstance(part, list | tuple):
            made.update(digest(len(part), *part).encode())
        elif isinstance(part, bytes):
            made.update(part)
        elif is_dataclass(part):
            made.update(digest(*vars(part).values()).encode())
        else:
            made.update(repr(part).encode("utf-8", "backslashreplace") + b";")
    return made.hexdigest()
