"""Pydantic's errors in this project's words: a line for each, with the key's path as params.yaml has it."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Union

from pydantic import BaseModel
from pydantic_core import ErrorDetails

TYPES = {
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number",
    "int": "an integer",
    "list": "a list",
    "model": "a mapping",
    "string": "text",
    "tuple": "a list",
}


def readable(errors: Iterable[ErrorDetails], raw: Any, model: Any, prefix: str = "") -> list[str]:
    """Put errors of `model` about the tree `raw`, which stands at the path `prefix`, into words."""
    return [_line(one, raw, model, prefix) for one in errors]


def _line(error: ErrorDetails, raw: Any, model: Any, prefix: str) -> str:
    path = _path(error["loc"], raw)
    where = ".".join([*([prefix] if prefix else []), *map(str, path)])
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key; allowed here: {', '.join(_keys(model, error['loc'][:-1]))}"
        case "missing":
            return f"{where}: is missing"
        case "union_tag_not_found":
            return f"{where}.kind: is missing, must be one of {context['discriminator'] and _tags(model, error['loc'])}"
        case "union_tag_invalid":
            return f"{where}.kind: {context['tag']}, must be one of {context['expected_tags']}"
        case "greater_than_equal":
            allowed = f"must be at least {context['ge']}"
        case "greater_than":
            allowed = f"must be more than {context['gt']}"
        case "less_than_equal":
            allowed = f"must be at most {context['le']}"
        case "less_than":
            allowed = f"must be less than {context['lt']}"
        case "literal_error":
            allowed = f"must be one of {context['expected']}"
        case "too_short":
            allowed = f"must have at least {context['min_length']}"
        case kind if kind.partition("_")[0] in TYPES:
            allowed = f"must be {TYPES[kind.partition('_')[0]]}"
        case _:
            message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            allowed = message[0].lower() + message[1:]
    return f"{where}: {error['input']}, {allowed}"


def _path(location: Sequence[int | str], raw: Any) -> Iterator[int | str]:
    """Yield a location's keys as the file has them: without the tags that pydantic puts in for unions."""
    node = raw
    for key in location:
        if isinstance(node, dict) and key not in node and node.get("kind") == key:
            continue
        yield key
        if isinstance(node, dict):
            node = node.get(key)
        elif isinstance(node, list | tuple) and isinstance(key, int) and key < len(node):
            node = node[key]


def _members(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the settings models that an annotation holds: itself, a union's members, a container's values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) is typing.Annotated:
        yield from _members(typing.get_args(annotation)[0])
    elif typing.get_origin(annotation) in (Union, types.UnionType, dict, tuple, list):
        for argument in typing.get_args(annotation):
            yield from _members(argument)


def _models_at(annotation: Any, location: Sequence[int | str]) -> list[type[BaseModel]]:
    models = list(_members(annotation))
    for key in location:
        tagged = [m for m in models if "kind" in m.model_fields and m.model_fields["kind"].default == key]
        fields = [m.model_fields[key] for m in models if isinstance(key, str) and key in m.model_fields]
        if tagged:
            models = tagged
        elif fields:
            models = [m for field in fields for m in _members(field.annotation)]
    return models


def _keys(annotation: Any, location: Sequence[int | str]) -> list[str]:
    return list(dict.fromkeys(key for model in _models_at(annotation, location) for key in model.model_fields))


def _tags(annotation: Any, location: Sequence[int | str]) -> str:
    return ", ".join(repr(m.model_fields["kind"].default) for m in _models_at(annotation, location))
