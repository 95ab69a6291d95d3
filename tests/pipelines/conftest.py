"""A project of its own for each test that needs one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lab import Lab
from sandbox import PARAMS, Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """A fresh project with PARAMS as its settings."""
    made = Sandbox(tmp_path)
    made.write_params(PARAMS)
    return made


@pytest.fixture(scope="session")
def make_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Sandbox]:
    """Return a maker of projects, for fixtures that live longer than a test."""

    def make() -> Sandbox:
        made = Sandbox(tmp_path_factory.mktemp("project"))
        made.write_params(PARAMS)
        return made

    return make


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A pretended project with one dataset, `digits`."""
    made = Lab(tmp_path)
    made.dataset("digits")
    return made
