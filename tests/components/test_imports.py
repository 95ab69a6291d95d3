from __future__ import annotations

import ast
import graphlib
import importlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = ("components", "items", "pipelines", "serving")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): ast.parse(path.read_text()) for path in sorted((ROOT / "components").rglob("*.py"))}


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yield the modules that a statement may import; of `from a import b`, both a and a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    else:
        assert node.level == 0, "imports are absolute"
        yield str(node.module)
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(tree: ast.Module) -> set[str]:
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    return {name for node in nodes for name in imported(node)}


def with_packages(name: str) -> set[str]:
    """Return a module and the packages around it, whose __init__ runs before it."""
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


def test_all_modules_are_looked_at() -> None:
    assert {"components", "components.training", "components.models.pca", "components.data"} <= MODULES.keys()


def test_no_import_of_this_project_waits_inside_a_function_or_for_a_type_checker() -> None:
    late = []
    for name, tree in MODULES.items():
        at_once = {node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and node not in at_once:
                late += [(name, one) for one in imported(node) if one.partition(".")[0] in PROJECT]
    assert late == []


def test_components_know_nothing_of_stages_and_serving() -> None:
    """So no metric of an evaluation, nor a study, is in what a training run's key covers."""
    roots = {one.partition(".")[0] for tree in MODULES.values() for one in imports_of(tree)}
    assert roots & set(PROJECT) == {"components", "items"}


def circles(modules: dict[str, ast.Module]) -> list[str]:
    """Return the names of modules that import each other in a circle, the first again at the end; none where none do.

    A package may import its own modules, and its __init__ runs before them: that is no circle.
    """
    graph = {}
    for name, tree in modules.items():
        needed = {package for one in imports_of(tree) & modules.keys() for package in with_packages(one)}
        graph[name] = (needed & modules.keys()) - with_packages(name)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(MODULES) == []


def test_a_circle_is_found_even_through_a_package() -> None:
    sources = {"p": "from p.a import x", "p.a": "import q", "q": "from p.b import y", "p.b": "", "r": "import p.a"}
    modules = {name: ast.parse(source) for name, source in sources.items()}
    assert set(circles(modules)) == {"p", "p.a", "q"}
    modules["q"] = ast.parse("import os")
    assert circles(modules) == []


def test_each_module_can_be_imported() -> None:
    for name in MODULES:
        importlib.import_module(name)
