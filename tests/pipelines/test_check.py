"""`hourglass check`: all errors of params.yaml at once, by path, value and what is allowed."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from pipelines.project import StageError
from pipelines.settings import check
from tests.pipelines.sandbox import PARAMS, REPOSITORY

Tree = dict[str, Any]
SIZE = "experiments.digits.deep.model.bottleneck.size"
PLANE = {"bottleneck": {"kind": "identity", "size": 2}}
FEW_LABELS = {"epochs": 1, "fine_tuning": [{"labels": 5, "epochs": 1, "seeds": 1}]}


@pytest.fixture
def errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Tree], list[str]]:
    """Return a function that checks settings and returns its errors, none where all is well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)

    def run(tree: Tree) -> list[str]:
        with Path("params.yaml").open("w") as file:
            YAML().dump({"studies": {}} | tree, file)
        try:
            check.main()
        except StageError as error:
            first, *lines = str(error).splitlines()
            assert first == "params.yaml:"
            return [line.strip() for line in lines]
        return []

    return run


def with_study(kind: str, **settings: Any) -> Tree:
    tree = copy.deepcopy(PARAMS)
    experiments = tree["experiments"]["digits"]
    experiments["plane"] = experiments["deep"] | {"model": experiments["deep"]["model"] | PLANE}
    return tree | {"studies": {"digits": {"one": {"kind": kind, **settings}}}}


def test_all_errors_are_named_at_once(errors: Callable[[Tree], list[str]]) -> None:
    tree = with_study("planes", pca="pca", deep="vqvae")
    tree["budget"] = "fast"
    tree["datasets"]["mine"] = {"kind": "images", "source": "inputs/none"}
    tree["datasets"]["digits"]["test"] = 1700
    tree["datasets"]["digits"]["validation"] = 10
    tree["experiments"]["digits"]["deep"]["model"]["bottleneck"]["size"] = {"integer": [2, 65]}
    tree["experiments"]["digits"]["pca"]["model"]["sise"] = 3
    assert [line.split(":")[0] for line in errors(tree)] == [
        "budget", "experiments.digits.pca.model.sise", "datasets.mine.source", SIZE, "studies.digits.one.deep",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("planes", {"pca": "pca"}, "deep: is missing"),
        (
            "planes",
            {"pca": "pca", "deep": "nobody"},
            "deep: nobody, must be one of the experiments of digits: pca, deep",
        ),
        ("planes", {"pca": "pca", "deep": "deep"}, "deep: deep, must have a code of two real"),
        ("planes", {"pca": "vqvae", "deep": "plane"}, "pca: vqvae, must have a code of two real numbers"),
        ("subspaces", {"pca": "pca", "linear": "plane"}, "linear: plane, must have a linear decoder"),
        ("invariance", {"basic": "plane", "contractive": "pca"}, "contractive: pca, must have an encoder"),
        ("retrieval", {"real": "plane", "binary": "vqvae"}, "binary: vqvae, must have a code of bits"),
        ("retrieval", {"real": "plane", "binary": "plane", "neighbours": 9999}, "neighbours: 9999, must be at most"),
        ("bounds", {"gaussian": "plane", "categorical": "plane"}, "gaussian: plane, must have the bottleneck gaussian"),
        (
            "generation",
            {"plane": "plane", "vae_plane": "plane", "vae": "plane", "quantizer": "plane"},
            "quantizer: plane, must have a discrete code; it is autoencoder, identity with a code of 2 real numbers",
        ),
        (
            "pretraining",
            {"layers": [8], "quick": FEW_LABELS, "paper": FEW_LABELS},
            "quick.fine_tuning.0.labels: 5, must be 10",
        ),
    ],
)
def test_a_study_that_cannot_work_is_named(
    errors: Callable[[Tree], list[str]], kind: str, settings: Tree, expected: str
) -> None:
    lines = errors(with_study(kind, **settings))
    assert any(line.startswith(f"studies.digits.one.{expected}") for line in lines), lines


def test_params_without_studies_say_so(errors: Callable[[Tree], list[str]], tmp_path: Path) -> None:
    assert errors(PARAMS) == []
    with (tmp_path / "params.yaml").open("w") as file:
        YAML().dump(PARAMS, file)
    with pytest.raises(StageError, match=r"studies: is missing; without studies write `studies: \{\}`"):
        check.main()


def test_items_of_ones_own_are_looked_at_before_they_are_prepared(
    errors: Callable[[Tree], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "inputs").mkdir()
    for number in range(20):
        Image.new("L", (9, 7)).save(tmp_path / "inputs" / f"{number}.png")
    np.save(tmp_path / "vectors.npy", np.zeros((30, 6)))
    model = {"kind": "pca", "size": 17}
    tree = {
        "datasets": {
            "photos": {"kind": "images", "source": "inputs", "size": 4},
            "vectors": {"kind": "array", "source": "vectors.npy"},
        },
        "experiments": {name: {"pca": {"model": model}} for name in ("photos", "vectors")},
    }
    assert errors(tree) == [
        f"experiments.{name}.pca.model.size: 17, must be at most {values}, the numbers in one item"
        for name, values in (("photos", 16), ("vectors", 6))
    ]


def test_the_projects_own_settings_have_no_error_and_neither_ray_nor_mlflow_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pipelines.settings.check import check; check(); "
        "assert not {'ray', 'mlflow', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("params.yaml: no errors; datasets: 2, experiments: 24, studies: 10")


@pytest.mark.parametrize("hidden", [10**30, 10**12])
def test_a_model_that_is_too_large_to_be_built_is_named(errors: Callable[[Tree], list[str]], hidden: int) -> None:
    tree = copy.deepcopy(PARAMS)
    tree["experiments"]["digits"]["deep"]["model"]["network"]["hidden"] = [hidden]
    (error,) = errors(tree)
    assert error.startswith("experiments.digits.deep.model: ")
    assert error.endswith(", must be a model that can be built")
