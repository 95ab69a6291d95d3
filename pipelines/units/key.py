"""Keys: a digest of all that decides a result, the code included, and of nothing else."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROOMS = ("components", "items", "pipelines", "serving")

# Where work is done, what is printed of it and where it is logged decide no result.
INDIFFERENT = ("pipelines.cluster", "pipelines.project", "pipelines.tracking", "pipelines.units")


def digest_of(*parts: object) -> str:
    """Return the sha256 of JSON-able parts in canonical form."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def code_digest(*modules: str) -> str:
    """Return a digest of modules and of all modules of this project that they import, directly or not.

    It covers what the code does: comments, docstrings and layout may change.
    """
    return digest_of(*((name, _meaning(name)) for name in sorted(_closure(modules))))


def _closure(modules: tuple[str, ...]) -> set[str]:
    found, waiting = set[str](), list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imports(name)
    return found


@functools.cache
def _source(name: str) -> Path | None:
    """Return a module's file, without importing it; None where there is no such module of this project."""
    if name.partition(".")[0] not in ROOMS or any(name == one or name.startswith(f"{one}.") for one in INDIFFERENT):
        return None
    for place in _places(name.rpartition(".")[0]) if "." in name else ():
        path = Path(place, name.rpartition(".")[2])
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                return file
    return None


def _places(package: str) -> list[str]:
    """Return the folders of a package's modules, without importing it."""
    if package in sys.modules:
        return list(getattr(sys.modules[package], "__path__", ()))
    above, _, name = package.rpartition(".")
    if above:
        return [str(Path(place, name)) for place in _places(above)]
    spec = importlib.util.find_spec(package)
    return list(spec.submodule_search_locations or ()) if spec else []


@functools.cache
def _tree(name: str) -> ast.Module:
    path = _source(name)
    if path is None:
        raise ModuleNotFoundError(f"{name}: no module of {', '.join(ROOMS)}")
    return ast.parse(path.read_bytes())


@functools.cache
def _imports(name: str) -> list[str]:
    """Return the modules of this project that a module imports while it runs."""
    return [module for module in dict.fromkeys(_named(_tree(name))) if _source(module)]


def _named(node: ast.AST) -> Iterator[str]:
    """Yield what a tree imports, functions included, but not what it imports for type checkers alone."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        for other in node.orelse:
            yield from _named(other)
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _named(child)


@functools.cache
def _meaning(name: str) -> str:
    """Return a module's syntax tree as text, without its docstrings."""
    tree = _tree(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
