"""What a round of fault injection found."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """One fault and what came of it.

    Attributes:
        what: the fault in words, enough to repeat it: `round 17 (seed 0): kill -9 of the raylet 3.2 s after start`.
        problems: empty where all held; each names what was lost, run twice or left behind, or which traceback came.
        kind: how the runner counts the round, such as `raylet` or `bundle.json: refused`.
    """

    what: str
    problems: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True)
class Subject:
    """A fault program.

    Attributes:
        name: what `--only` calls it.
        full: rounds of `make faults`.
        rounds: yields an outcome a round, given a seed and the number of rounds.
    """

    name: str
    full: int
    rounds: Callable[[int, int], Iterator[Outcome]]


def draws(seed: int, number: int) -> random.Random:
    """Return what round `number` draws everything from, so that it can be repeated alone."""
    return random.Random(f"{seed}-{number}")
