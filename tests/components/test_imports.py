"""Modules of components import each other at their heads alone, and in no circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from pipelines.units.key import _closure

ROOT = Path(__file__).parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "components").rglob("*.py"))
}

# A module of a package is imported after its package, so only a package or a module beside it can be the first.
IMPORT_EACH = """
import importlib, sys
for first in sorted({".".join(name.split(".")[:2]) for name in sys.argv[1:]}):
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == "components"]:
        del sys.modules[loaded]
    for name in [first, *(name for name in sys.argv[1:] if name.startswith(f"{first}."))]:
        importlib.import_module(name)
print("all imported")
"""


def imported(node: ast.AST) -> set[str]:
    """Return the modules of components that a tree imports; a name that is imported from a package may be a module."""
    found: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            found |= {alias.name for alias in part.names}
        elif isinstance(part, ast.ImportFrom) and part.module:
            names = {f"{part.module}.{alias.name}" for alias in part.names} & MODULES.keys()
            found |= names or {part.module}
    return {name for name in found if name.partition(".")[0] == "components"}


def at_the_head(tree: ast.Module) -> set[str]:
    return set().union(*(imported(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)))


def test_no_import_is_in_a_function_or_for_type_checkers_alone() -> None:
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text())
        assert imported(tree) == at_the_head(tree), name


def test_no_modules_import_each_other() -> None:
    graph = {name: imported(ast.parse(path.read_text())) for name, path in MODULES.items()}
    assert "components.contract" in graph["components.training"]
    assert graph["components.models"] > {"components.models.autoencoder", "components.contract"}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which shows the circle
    assert len(order) == len(MODULES)


def test_a_circle_would_be_found() -> None:
    tree = ast.parse("from components import training\ndef late():\n    import components.data.schema\n")
    assert imported(tree) == {"components.training", "components.data.schema"}
    assert at_the_head(tree) == {"components.training"}


@pytest.mark.parametrize("module", ["components.models", "components.training"])
def test_metrics_of_the_evaluation_decide_no_trained_weight(module: str) -> None:
    closure = _closure((module,))
    assert "components.codebook_use" in closure
    assert {name.partition(".")[0] for name in closure} == {"components", "items"}
    assert not closure & {"components.bounds", "components.samples"}


def test_each_module_can_be_the_first_one_imported() -> None:
    assert "components.training" in MODULES
    run = subprocess.run([sys.executable, "-c", IMPORT_EACH, *MODULES], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "all imported\n", run.stderr
