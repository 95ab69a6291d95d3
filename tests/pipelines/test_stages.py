"""dvc.yaml against the code: a stage that leaves out code that it runs would keep stale results."""

from __future__ import annotations

import os
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML
from sandbox import PARAMS, REPOSITORY, Sandbox

from pipelines.settings.params import Params

STAGES = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"]

ROOMS = ("components", "items", "pipelines", "serving")

# What a stage may change without its outputs changing: where things are, how they are shown, who is told.
NEUTRAL = (
    "pipelines.project",
    "pipelines.settings.params",
    "pipelines.studies.settings",
    "pipelines.sweep.progress",
    "pipelines.cluster.session",
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


SETTINGS = Params.model_json_schema()
LEFT_OUT = {"size", "nfiles"}  # settings that the key of DVC's run cache leaves out


def settings_at(path: str) -> Any:
    """The schema of what stands in params.yaml at `experiments.${key}.dataset`."""
    node: Any = SETTINGS
    for word in path.split("."):
        node = node.get("properties", {}).get(word) or node["additionalProperties"]
        if "$ref" in node:
            node = SETTINGS["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def may_be_left_out(node: Any) -> bool:
    """Whether settings of this schema may hold a key that is left out; an object of any keys may."""
    if isinstance(node, list):
        return any(map(may_be_left_out, node))
    if not isinstance(node, dict):
        return False
    if "$ref" in node:
        return may_be_left_out(SETTINGS["$defs"][node["$ref"].rpartition("/")[2]])
    if node.get("additionalProperties") is True or LEFT_OUT & node.get("properties", {}).keys():
        return True
    return any(may_be_left_out(value) for key, value in node.items() if key not in ("default", "discriminator"))


def at_risk() -> list[str]:
    """The stages that DVC's run cache would take for done after a setting that it leaves out has changed."""
    stages = {name: stage.get("do", stage) for name, stage in STAGES.items()}
    return [
        name for name, stage in stages.items() if any(may_be_left_out(settings_at(p)) for p in stage.get("params", ()))
    ]


def test_the_rule_knows_which_settings_hold_a_size() -> None:
    assert at_risk() == ["prepare", "sweep", "sparse_table", "compare"]


@pytest.mark.parametrize("name", at_risk())
def test_a_stage_with_a_setting_that_the_run_cache_leaves_out_keeps_out_of_it(name: str) -> None:
    outs = STAGES[name].get("do", STAGES[name])["outs"]
    assert any(isinstance(out, dict) and any(options.get("persist") for options in out.values()) for out in outs)


# In the place of Python: each stage leaves the settings that it ran with.
PRETENDED = """#!/bin/sh
case $2 in
  pipelines.prepare.stage) mkdir -p data/$3 && touch data/$3/schema.json ;;
  *) mkdir -p studies/sparse_table-$3 metrics/studies && cp params.yaml studies/sparse_table-$3/ &&
     cp params.yaml metrics/studies/sparse_table-$3.json ;;
esac
"""


def test_dvc_makes_a_table_of_another_code_size_anew(sandbox: Sandbox) -> None:
    row = PARAMS["experiments"]["digits-deep"]["model"] | {"training": {}}
    budget = {"epochs": 1, "seeds": 1}
    table = {"dataset": "digits", "simple": row, "sparse": row, "quick": budget, "paper": budget}
    programs = sandbox.root / "programs"
    programs.mkdir()
    (programs / "python").write_text(PRETENDED)
    (programs / "python").chmod(0o755)
    sandbox.run("dvc", "init", "-q", "--no-scm")
    for size in (4, 16):
        table["simple"] = row | {"bottleneck": {"kind": "identity", "size": size}}
        sandbox.write_params(PARAMS | {"studies": {"sparse_table": {"digits": table}}})
        path = f"{programs}{os.pathsep}{sandbox.environment['PATH']}"
        sandbox.run("dvc", "repro", "sparse_table@digits", PATH=path)
        made = sandbox.root / "studies" / "sparse_table-digits" / "params.yaml"
        assert made.read_text() == (sandbox.root / "params.yaml").read_text()
