"""dvc.yaml against the code: a stage that leaves out code that it runs would keep stale results."""

from __future__ import annotations

import json

import grimp
import pytest
from ruamel.yaml import YAML
from sandbox import REPOSITORY

from pipelines.record import RunRecord

STAGES = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"]

ROOMS = ("components", "items", "pipelines", "serving")

# What a stage may change without its outputs changing: where things are, how they are shown, who is told.
NEUTRAL = (
    "pipelines.project",
    "pipelines.settings",
    "pipelines.studies.settings",
    "pipelines.progress",
    "pipelines.cluster",
    "pipelines.tracking",
)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*ROOMS, cache_dir=None)


def code_of(graph: grimp.ImportGraph, module: str) -> set[str]:
    """Every module that `module` imports, directly or not, but through a neutral one."""
    seen, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name.startswith(NEUTRAL):
            continue
        seen.add(name)
        waiting += graph.find_modules_directly_imported_by(name)
    return seen


@pytest.mark.parametrize("name", [name for name, stage in STAGES.items() if not stage.get("always_changed")])
def test_a_stage_depends_on_the_code_that_it_runs(name: str, graph: grimp.ImportGraph) -> None:
    stage = STAGES[name].get("do", STAGES[name])
    listed = [dependency for dependency in stage["deps"] if dependency.startswith(ROOMS)]
    for dependency in listed:
        assert (REPOSITORY / dependency).exists()
    missing = set()
    for module in code_of(graph, stage["cmd"].split()[2]):
        path = module.replace(".", "/")
        if (REPOSITORY / path).is_dir():
            path += "/__init__"
        if not any(f"{path}.py" == d or path.startswith(f"{d}/") for d in listed):
            missing.add(f"{path}.py")
    empty = {f for f in missing if f in {f"{room}/__init__.py" for room in ROOMS}}
    assert missing - empty == set()


def test_the_run_records_schema_is_what_the_code_checks() -> None:
    schema = json.loads((REPOSITORY / "pipelines" / "run-record.schema.json").read_text())
    assert schema == RunRecord.model_json_schema()
