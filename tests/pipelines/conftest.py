"""A project of its own for each test that needs one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.units.storage import Storage
from tests.pipelines.lab import Lab
from tests.pipelines.s3 import bucket
from tests.pipelines.sandbox import PARAMS, Sandbox


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


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of a folder on an S3 server."""
    with bucket() as url:
        yield url


@pytest.fixture(params=["path", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty folder of each kind."""
    if request.param == "path":
        return Storage(tmp_path / "folder")
    return Storage(request.getfixturevalue("s3")) / tmp_path.name
