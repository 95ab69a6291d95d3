"""params.yaml as a tree of plain values, not yet checked."""

from __future__ import annotations

import json
from typing import Any

from ruamel.yaml import YAML

from items.errors import one_line
from pipelines.project import Project, StageError

MOST_VALUES = 100_000


def read_tree(project: Project) -> Any:
    """Read params.yaml.

    Raises:
        StageError: it is not UTF-8, or not valid YAML, or too large.
    """
    path = project.params
    try:
        content = path.read_bytes()
        tree = YAML(typ="safe").load(content.decode("utf-8-sig"))
        _check_size(tree)
        json.dumps(tree, default=str)  # refuses keys that are lists, and what is nested too deep
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte {error.start} is 0x{content[error.start]:02x}"
        raise StageError(f"{path}: line {line}, {found}: is not UTF-8; save the file as UTF-8") from error
    except Exception as error:  # a parser, given anything at all, raises anything at all
        raise StageError(f"{path}: {one_line(error)}") from error
    return tree


def mapping_at(tree: object, *keys: object) -> dict[Any, Any]:
    """Return the mapping below some keys of a tree, an empty one where there is none."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else {}


def _check_size(tree: Any) -> None:
    """Raise ValueError where a tree holds itself, or by aliases of aliases more values than there is memory for."""
    waiting, count = [tree], 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            raise ValueError(f"holds more than {MOST_VALUES} values, or itself, by its aliases")
        waiting += node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple | set) else ()
