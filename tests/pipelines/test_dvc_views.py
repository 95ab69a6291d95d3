"""DVC's own commands on a whole project of two datasets, whose stages are pretended."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.pipelines.sandbox import PARAMS, Sandbox

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
    mkdir -p metrics/studies/$3; echo '{"angle": 1.5}' > metrics/studies/$3/sparse_table.json ;;
  pipelines.compare)
    mkdir -p reports; printf 'bits_per_item,squared_error,name\\n1,2,deep\\n' > reports/rate_distortion.csv
    cat runs/*/* bundles/*/* studies/*/* > reports/index.html ;;
esac
"""

ROW = PARAMS["experiments"]["digits"]["deep"]["model"] | {"training": {}}
SHORT = {"epochs": 1, "seeds": 1}
DATASETS: dict[str, Any] = PARAMS | {
    "datasets": {"digits": {"kind": "digits"}, "more": {"kind": "digits", "test": 20}},
    "experiments": {"digits": PARAMS["experiments"]["digits"], "more": {"pca": {"model": {"kind": "pca", "size": 8}}}},
    "studies": {"digits": {"sparse_table": {"simple": ROW, "sparse": ROW, "quick": SHORT, "paper": SHORT}}},
}


def repro(sandbox: Sandbox) -> list[str]:
    """Run `dvc repro`; return the stages that ran, in order."""
    (sandbox.root / "ran").unlink(missing_ok=True)
    sandbox.run("dvc", "repro")
    lines = (sandbox.root / "ran").read_text().splitlines()
    return [line.removeprefix("pipelines.").strip() for line in lines]


@pytest.fixture(scope="module")
def pretended(make_sandbox: Callable[[], Sandbox]) -> Sandbox:
    """A committed project of two datasets whose stages have run."""
    sandbox = make_sandbox()
    sandbox.write_params(DATASETS)
    programs = sandbox.root.parent / f"{sandbox.root.name}-programs"
    programs.mkdir()
    (programs / "python").write_text(PRETENDED)
    (programs / "python").chmod(0o755)
    sandbox.environment["PATH"] = f"{programs}{os.pathsep}{sandbox.environment['PATH']}"
    sandbox.git()
    assert sorted(repro(sandbox)) == [
        "compare", "evaluate digits", "evaluate more", "export digits", "export more", "prepare digits", "prepare more",
        "register", "studies digits", "sweep digits", "sweep more",
    ]  # fmt: skip
    return sandbox


def test_nothing_runs_twice_but_register(pretended: Sandbox) -> None:
    assert repro(pretended) == ["register"]


def test_dvc_shows_metrics_stages_and_plots(pretended: Sandbox) -> None:
    metrics = json.loads(pretended.run("dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert {name: entry["data"] for name, entry in metrics.items()} == {
        "metrics/digits/deep.json": {"mse": 0.25},
        "metrics/more/deep.json": {"mse": 0.25},
        "metrics/studies/digits/sparse_table.json": {"angle": 1.5},
    }
    dag = pretended.run("dvc", "dag", "--dot").stdout
    for first, second in (
        ("prepare@more", "sweep@more"), ("sweep@digits", "export@digits"), ("export@more", "evaluate@more"),
        ("prepare@digits", "study@digits"), ("sweep@digits", "study@digits"), ("export@digits", "study@digits"),
        ("evaluate@digits", "study@digits"), ("study@digits", "compare"), ("evaluate@more", "compare"),
        ("compare", "register"),
    ):  # fmt: skip
        assert f'"{first}" -> "{second}"' in dag
    (plot,) = json.loads(pretended.run("dvc", "plots", "show", "--json").stdout)["data"]["rate-distortion"]
    assert plot["content"]["data"]["values"] == [
        {"bits_per_item": "1", "squared_error": "2", "name": "deep", "rev": "workspace"}
    ]


def test_a_changed_setting_is_seen_and_runs_the_stages_that_it_decides_alone(pretended: Sandbox) -> None:
    """The settings that change are called `size`, which the key of DVC's run cache leaves out."""
    all_but_data = ["sweep digits", "export digits", "evaluate digits", "studies digits", "compare", "register"]
    table, code = copy.deepcopy(DATASETS), copy.deepcopy(DATASETS)
    table["studies"]["digits"]["sparse_table"]["simple"] = ROW | {"bottleneck": {"kind": "identity", "size": 9}}
    code["experiments"]["digits"]["pca"]["model"]["size"] = 9
    pretended.write_params(code)
    difference = json.loads(pretended.run("dvc", "params", "diff", "--json").stdout)["params.yaml"]
    assert difference == {"experiments.digits.pca.model.size": {"old": 8, "new": 9, "diff": 1}}
    assert repro(pretended) == all_but_data
    for params, expected in ((DATASETS, all_but_data), (table, ["studies digits", "compare", "register"])):
        pretended.write_params(params)
        assert repro(pretended) == expected
    assert (pretended.root / "studies/digits/study.json").read_text() == (pretended.root / "params.yaml").read_text()
