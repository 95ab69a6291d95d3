"""Search spaces: distributions beside fixed values in params.yaml, as `learning_rate: {log_uniform: [a, b]}`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from optuna import distributions

from components.settings import SettingError

Value = float | int | str | bool
Parameters = dict[str, Value]  # dotted path below the experiment → value

KINDS = ("uniform", "log_uniform", "integer", "choice")


@dataclass(frozen=True)
class Distribution:
    """One searched value: `uniform`, `log_uniform` or `integer` between two bounds, both allowed, or a `choice`."""

    kind: str
    arguments: tuple[Value, ...]

    @classmethod
    def parse(cls, path: str, kind: str, arguments: object) -> Distribution:
        """Return the distribution that params.yaml describes.

        Raises:
            SettingError: not two numbers, low and high (above 0 for `log_uniform`), or an empty choice.
        """
        key = f"{path}.{kind}"
        if not isinstance(arguments, list):
            raise SettingError(key, arguments, "must be a list")
        if kind == "choice":
            if not arguments or not all(isinstance(a, float | int | str | bool) for a in arguments):
                raise SettingError(key, arguments, "must be a list of one or more plain values")
            return cls(kind, tuple(arguments))
        allowed = int if kind == "integer" else (int, float)
        if len(arguments) != 2 or any(isinstance(a, bool) or not isinstance(a, allowed) for a in arguments):
            what = "integers" if kind == "integer" else "numbers"
            raise SettingError(key, arguments, f"must be two {what}: [low, high]")
        low, high = arguments
        if not low < high:
            raise SettingError(key, arguments, "low must be below high")
        if kind == "log_uniform" and low <= 0:
            raise SettingError(key, arguments, "low must be above 0")
        return cls(kind, (low, high))

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values at its ends; all of a choice's. If these are valid, so is what lies between."""
        return self.arguments

    @property
    def text(self) -> str:
        """For people: `1e-4 … 1e-2 (log)`, `3 … 9`, `a | b`."""
        if self.kind == "choice":
            return " | ".join(map(str, self.arguments))
        ends = " … ".join(f"{a:g}" for a in self.arguments if not isinstance(a, str))
        return f"{ends} (log)" if self.kind == "log_uniform" else ends

    def optuna(self) -> distributions.BaseDistribution:
        """Return the same for Optuna."""
        if self.kind == "choice":
            return distributions.CategoricalDistribution(self.arguments)
        low, high = (a for a in self.arguments if not isinstance(a, str))
        if self.kind == "integer":
            return distributions.IntDistribution(int(low), int(high))
        return distributions.FloatDistribution(low, high, log=self.kind == "log_uniform")


def find_space(tree: object, path: str = "") -> dict[str, Distribution]:
    """Return every distribution in a settings tree by its dotted path."""
    space: dict[str, Distribution] = {}
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        below = f"{path}.{key}" if path else str(key)
        if isinstance(child, dict) and len(child) == 1 and (kind := next(iter(child))) in KINDS:
            space[below] = Distribution.parse(below, kind, child[kind])
        else:
            space |= find_space(child, below)
    return space


def fill(tree: Any, parameters: Mapping[str, Value], path: str = "") -> Any:
    """Return the tree with the value of each path in `parameters` in place."""
    if path in parameters:
        return parameters[path]
    if isinstance(tree, dict):
        return {key: fill(child, parameters, f"{path}.{key}" if path else str(key)) for key, child in tree.items()}
    if isinstance(tree, list):
        return [fill(child, parameters, f"{path}.{number}") for number, child in enumerate(tree)]
    return tree


def corners(space: Mapping[str, Distribution], most: int = 64) -> Iterator[Parameters]:
    """Yield every combination of extremes, or where those are more than `most`, each extreme at least once."""
    if math.prod(len(distribution.extremes) for distribution in space.values()) <= most:
        for values in itertools.product(*(distribution.extremes for distribution in space.values())):
            yield dict(zip(space, values, strict=True))
        return
    first = {path: distribution.extremes[0] for path, distribution in space.items()}
    yield first
    for path, distribution in space.items():
        for value in distribution.extremes[1:]:
            yield first | {path: value}
