"""dvc.yaml: against the code, since a stage that leaves out code that it runs would keep stale results; and in DVC."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from tests.pipelines.sandbox import PARAMS, REPOSITORY, Sandbox

TEXT = (REPOSITORY / "dvc.yaml").read_text()
STAGES = {name: stage.get("do", stage) for name, stage in YAML(typ="safe").load(TEXT)["stages"].items()}
FOREACH = {name: stage.get("foreach") for name, stage in YAML(typ="safe").load(TEXT)["stages"].items()}

ROOMS = ("components", "items", "pipelines", "serving")

# Code whose changes change no outputs: where things are and run, how settings are read, what is shown and logged.
NEUTRAL = ("pipelines.project", "pipelines.cluster", "pipelines.tracking", "pipelines.units")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*ROOMS, cache_dir=None)


def code_of(graph: grimp.ImportGraph, module: str) -> set[str]:
    """Every module that `module` imports, directly or not, but not through a neutral one or through all settings."""
    seen, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name.startswith(NEUTRAL):
            continue
        seen.add(name)
        if name != "pipelines.settings.params":
            waiting += graph.find_modules_directly_imported_by(name)
    return seen - {"pipelines.settings.params"}


@pytest.mark.parametrize("name", [name for name, stage in STAGES.items() if not stage.get("always_changed")])
def test_a_stage_depends_on_the_code_that_it_runs(name: str, graph: grimp.ImportGraph) -> None:
    stage = STAGES[name]
    listed = [dependency for dependency in stage["deps"] if dependency.startswith(ROOMS)]
    for dependency in listed:
        assert (REPOSITORY / dependency).exists()
    package = stage["cmd"].split()[2]
    missing = set()
    for module in code_of(graph, f"{package}.__main__") - set(ROOMS):
        path = module.replace(".", "/")
        if not any(f"{path}.py" == one or f"{path}/".startswith(f"{one}/") for one in listed):
            missing.add(module)
    assert missing == set()


def test_dvc_yaml_is_a_table_of_contents() -> None:
    assert len(TEXT.splitlines()) <= 110
    assert list(STAGES) == ["prepare", "sweep", "export", "evaluate", "study", "compare", "register"]
    assert FOREACH == {
        "prepare": "${datasets}", "sweep": "${experiments}", "export": "${experiments}", "evaluate": "${experiments}",
        "study": "${studies}", "compare": None, "register": None,
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in STAGES if name != "register"])
def test_what_a_stage_writes_persists(name: str) -> None:
    """Else DVC would delete the results of unchanged experiments, and take stages for done by a key without `size`."""
    for written in [*STAGES[name]["outs"], *STAGES[name].get("metrics", [])]:
        (options,) = written.values()
        assert options["persist"] is True


def test_what_decides_no_result_runs_no_stage() -> None:
    assert all("storage" not in params for stage in STAGES.values() for params in stage.get("params", ()))


# In the place of Python: each stage notes that it ran, and makes its outputs of what it depends on.
PRETENDED = """#!/bin/sh
echo "$2 $3" >> ran
made() { mkdir -p "$1"; cat "$2" > "$1/$3"; }
case $2 in
  pipelines.prepare) made data/$3 params.yaml schema.json ;;
  pipelines.sweep) made runs/$3 params.yaml record.json ;;
  pipelines.export) made bundles/$3 runs/$3/record.json bundle.json ;;
  pipelines.evaluate)
    made evaluations/$3 bundles/$3/bundle.json metrics.json
    mkdir -p metrics/$3; echo '{"mse": 0.25}' > metrics/$3/deep.json ;;
  pipelines.studies)
    made studies/$3 params.yaml study.json
    mkdir -p metrics/studies/$3; echo '{"angle": 1.5}' > metrics/studies/$3/subspaces.json ;;
  pipelines.compare)
    mkdir -p reports; printf 'bits_per_item,squared_error,name\\n1,2,deep\\n' > reports/rate_distortion.csv
    cat runs/*/* bundles/*/* studies/*/* > reports/index.html ;;
esac
"""

DATASETS: dict[str, Any] = PARAMS | {
    "datasets": {"digits": {"kind": "digits"}, "more": {"kind": "digits", "test": 20}},
    "experiments": {"digits": PARAMS["experiments"]["digits"], "more": {"pca": {"model": {"kind": "pca", "size": 8}}}},
    "studies": {"digits": {"subspaces": {"pca": "pca", "linear": "pca"}}},
}


@pytest.fixture(scope="module")
def pretended(make_sandbox: Callable[[], Sandbox]) -> Sandbox:
    """A committed project of two datasets whose stages have run, pretended."""
    sandbox = make_sandbox()
    sandbox.write_params(DATASETS)
    programs = sandbox.root.parent / f"{sandbox.root.name}-programs"
    programs.mkdir()
    (programs / "python").write_text(PRETENDED)
    (programs / "python").chmod(0o755)
    sandbox.environment["PATH"] = f"{programs}{os.pathsep}{sandbox.environment['PATH']}"
    sandbox.git()
    assert set(repro(sandbox)) == {
        "prepare digits", "prepare more", "sweep digits", "sweep more", "export digits", "export more",
        "evaluate digits", "evaluate more", "studies digits", "compare", "register",
    }  # fmt: skip
    return sandbox


def repro(sandbox: Sandbox) -> list[str]:
    """Run `dvc repro`; return the stages that ran, in order."""
    (sandbox.root / "ran").unlink(missing_ok=True)
    sandbox.run("dvc", "repro")
    lines = (sandbox.root / "ran").read_text().splitlines()
    return [line.removeprefix("pipelines.").strip() for line in lines]


def shown(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_nothing_runs_twice_but_register(pretended: Sandbox) -> None:
    assert repro(pretended) == ["register"]


def test_the_views_of_dvc_work(pretended: Sandbox) -> None:
    metrics = shown(pretended.run("dvc", "metrics", "show", "--json"))[""]["data"]
    assert {name: entry["data"] for name, entry in metrics.items()} == {
        "metrics/digits/deep.json": {"mse": 0.25},
        "metrics/more/deep.json": {"mse": 0.25},
        "metrics/studies/digits/subspaces.json": {"angle": 1.5},
    }
    dag = pretended.run("dvc", "dag", "--dot").stdout
    for first, second in (
        ("prepare@more", "sweep@more"), ("sweep@digits", "export@digits"), ("export@more", "evaluate@more"),
        ("prepare@digits", "study@digits"), ("sweep@digits", "study@digits"), ("export@digits", "study@digits"),
        ("evaluate@digits", "study@digits"), ("study@digits", "compare"), ("evaluate@more", "compare"),
        ("compare", "register"),
    ):  # fmt: skip
        assert f'"{first}" -> "{second}"' in dag
    assert 'sweep@digits" -> "sweep@more' not in dag
    (plot,) = shown(pretended.run("dvc", "plots", "show", "--json"))["data"]["rate-distortion"]
    assert plot["content"]["data"]["values"] == [
        {"bits_per_item": "1", "squared_error": "2", "name": "deep", "rev": "workspace"}
    ]


def test_a_changed_size_runs_the_stages_of_its_dataset_alone(pretended: Sandbox) -> None:
    changed = copy.deepcopy(DATASETS)
    changed["experiments"]["digits"]["pca"]["model"]["size"] = 9
    pretended.write_params(changed)
    difference = shown(pretended.run("dvc", "params", "diff", "--json"))["params.yaml"]
    assert difference["experiments.digits.pca.model.size"] == {"old": 8, "new": 9, "diff": 1}
    assert repro(pretended) == [
        "sweep digits", "export digits", "evaluate digits", "studies digits", "compare", "register",
    ]  # fmt: skip

    changed["studies"]["digits"]["again"] = {"kind": "subspaces", "pca": "pca", "linear": "pca"}
    pretended.write_params(changed)
    assert repro(pretended) == ["studies digits", "compare", "register"]

    pretended.write_params(DATASETS)  # as before, but not out of the run cache
    assert repro(pretended)[0] == "sweep digits"
