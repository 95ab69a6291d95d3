"""A pickle runs code when it is loaded: no package may read or write one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
CALLS = {"torch.load", "torch.save", "pd.read_pickle", "pandas.read_pickle"}


def pickling(source: str) -> list[str]:
    """Return what in the code (not in its comments) loads or saves a pickle."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if MODULES & set(name.name.split("."))]
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{name.name}" for name in node.names}
            found += [name for name in names if MODULES & set(name.split(".")) or name in CALLS]
        elif isinstance(node, ast.Attribute | ast.keyword):
            code = ast.unparse(node)
            if code in CALLS or (code.startswith("allow_pickle=") and code != "allow_pickle=False"):
                found.append(code)
    return found


@pytest.mark.parametrize("package", ["components", "items", "pipelines", "serving"])
def test_no_package_touches_a_pickle(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    assert {str(file): pickling(file.read_text()) for file in files if pickling(file.read_text())} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import a, joblib as j",
        "from joblib import load",
        "from ray import cloudpickle",
        "torch.load('x')",
        "from torch import save",
        "np.load('x', allow_pickle=True)",
    ],
)
def test_the_search_finds_each_way_of_pickling(source: str) -> None:
    assert pickling(source)
