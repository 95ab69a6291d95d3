"""Keys: they change with what code does, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.units.key import code_digest, digest_of

PLACE = "components/example.py"
CODE = '''"""What it is."""

import math

from components.other import two


def area(r: float) -> float:
    """Return the area."""
    # by the formula
    return math.pi * r**two
'''


@pytest.fixture
def digest(tmp_path: Path) -> Callable[..., str]:
    """Return a function that gives the digest of components.example, from files that it is given."""

    def computed(code: str = CODE, other: str = "two = 2\n", module: str = "components.example") -> str:
        root = tmp_path / digest_of(code, other)[:8]
        (root / "components").mkdir(parents=True, exist_ok=True)
        (root / "components" / "__init__.py").touch()
        (root / "components" / "example.py").write_text(code)
        (root / "components" / "other.py").write_text(other)
        repository = Path(__file__).parents[2]
        program = (
            f"import importlib.util, sys; sys.path.insert(0, {str(root)!r})\n"
            f"spec = importlib.util.spec_from_file_location('key', {str(repository / 'pipelines/units/key.py')!r})\n"
            "key = importlib.util.module_from_spec(spec); spec.loader.exec_module(key)\n"
            f"print(key.code_digest({module!r}))"
        )
        done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    return computed


def test_comments_docstrings_and_layout_change_no_key(digest: Callable[..., str]) -> None:
    other = CODE.replace("Return the area", "Give what a circle covers").replace("# by the formula", "# as Archimedes")
    other = other.replace('"""What it is."""', '"""Circles."""').replace("r**two", "r ** two")
    assert digest(other) == digest()
    assert digest(other='"""Numbers."""\n\ntwo = 2  # not three\n') == digest()


def test_what_code_does_changes_the_key_and_so_does_what_it_imports(digest: Callable[..., str]) -> None:
    assert digest(CODE.replace("math.pi", "3")) != digest()
    assert digest(other="two = 3\n") != digest()


def test_what_is_imported_for_type_checkers_alone_does_not_count(digest: Callable[..., str]) -> None:
    guarded = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from components.other import two\n"
    assert digest(guarded) == digest(guarded, other="two = 3\n")


def test_training_depends_on_no_metric_study_report_or_server() -> None:
    program = (
        "from pipelines.units.key import _closure; from pipelines.sweep.plan import DECISIVE\n"
        "print(*sorted(_closure(DECISIVE)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "components.training" in modules
    away = ("pipelines.metrics", "pipelines.studies", "pipelines.compare", "pipelines.evaluate", "serving")
    assert not [name for name in modules if name.startswith(away)]


def test_an_unknown_module_has_no_digest() -> None:
    with pytest.raises(ModuleNotFoundError, match="json"):
        code_digest("json")
