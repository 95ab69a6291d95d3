"""One thread a process, and a worker for every CPU of ours: `make test` runs the test files side by side."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from items.cpus import available_cpus

# Set before torch is imported, and inherited by the commands that tests start: as many threads as CPUs in every worker
# would wait for each other, and tensors as small as the tests' gain nothing from a second one.
os.environ["OMP_NUM_THREADS"] = "1"

# Hypothesis fails an example that takes more than 200 ms, which on a busy machine any may.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

# The slowest files, longest first: one that starts last would run on while the other workers have nothing left.
SLOWEST = (
    "test_end_to_end.py",
    "test_interrupted_sweep.py",
    "test_cluster.py",
    "test_sweep.py",
    "test_lost_node.py",
    "test_sweep_kills.py",
    "test_export_bottlenecks.py",
    "test_tracking_store.py",
    "test_units.py",
    "test_dvc_views.py",
    "test_study_generation.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers `-n auto` starts: one more than CPUs, since tests of stages wait for other processes."""
    return min(available_cpus() + 1, 8)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first."""
    places = {name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
