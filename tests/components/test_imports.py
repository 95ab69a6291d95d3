"""Modules of components import each other at their heads alone, and in no circle."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Container
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from pipelines.units.key import _closure

ROOT = Path(__file__).parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
    for path in sorted((ROOT / "components").rglob("*.py"))
}


def imported(node: ast.AST, modules: Container[str] = MODULES) -> set[str]:
    """Return the modules of components that a tree imports; a name that is imported from a package may be a module."""
    found: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            found |= {alias.name for alias in part.names}
        elif isinstance(part, ast.ImportFrom) and part.module:
            names = {name for alias in part.names if (name := f"{part.module}.{alias.name}") in modules}
            found |= names or {part.module}
    return {name for name in found if name.partition(".")[0] == "components"}


def at_the_head(tree: ast.Module) -> set[str]:
    return set().union(*(imported(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)))


def test_no_import_is_in_a_function_or_for_type_checkers_alone() -> None:
    for name, tree in MODULES.items():
        assert imported(tree) == at_the_head(tree), name


def circle(trees: dict[str, ast.Module]) -> list[str]:
    """Return modules that import each other in a circle, the first again at the end; none where there is no circle.

    An import runs the packages around a module first. That a package imports its own modules is no circle.
    """
    graph = {}
    for name, tree in trees.items():
        needed = {package for one in imported(tree, trees) for package in with_packages(one)}
        graph[name] = needed & trees.keys() - with_packages(name)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def with_packages(name: str) -> set[str]:
    """Return a module's name and those of the packages around it."""
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


def test_no_modules_import_each_other() -> None:
    """So each module can be the first that is imported."""
    assert {"components.contract", "components.codebook_use"} < imported(MODULES["components.training"])
    assert circle(MODULES) == []


def test_a_circle_is_found_even_through_a_package() -> None:
    sources = {
        "components": "",
        "components.a": "from components.a.one import x",
        "components.a.one": "import components.b",
        "components.b": "from components.a.two import y",
        "components.a.two": "",
        "components.c": "import components.a.one",
    }
    trees = {name: ast.parse(source) for name, source in sources.items()}
    assert set(circle(trees)) == {"components.a", "components.a.one", "components.b"}
    trees["components.a.one"] = ast.parse("import os")
    assert circle(trees) == []


def test_a_late_import_is_found() -> None:
    tree = ast.parse("from components import training\ndef late():\n    import components.data.schema\n")
    assert imported(tree) == {"components.training", "components.data.schema"}
    assert at_the_head(tree) == {"components.training"}


@pytest.mark.parametrize("module", ["components.models", "components.training"])
def test_metrics_of_the_evaluation_decide_no_trained_weight(module: str) -> None:
    closure = _closure((module,))
    assert "components.codebook_use" in closure
    assert {name.partition(".")[0] for name in closure} == {"components", "items"}
    assert not closure & {"components.bounds", "components.samples"}


@pytest.mark.parametrize("module", MODULES)
def test_each_module_can_be_imported(module: str) -> None:
    importlib.import_module(module)
