"""`hourglass check`: every mistake of params.yaml at once, by path, value and what is allowed."""

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
from sandbox import PARAMS, REPOSITORY, Sandbox

from pipelines.project import StageError
from pipelines.settings.params import STUDIES, check

Tree = dict[str, Any]
AT = "experiments.digits-deep.model.bottleneck.size"
DEEP_2D = PARAMS["experiments"]["digits-deep"]["model"] | {"bottleneck": {"kind": "identity", "size": 2}}

FEW_LABELS = {"epochs": 1, "fine_tuning": [{"labels": 5, "epochs": 1, "seeds": 1}]}


@pytest.fixture
def complaints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Tree], list[str]]:
    """Return a function that checks settings and returns the mistakes that are named, none where all is well."""
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
    tree["experiments"]["plane"] = tree["experiments"]["digits-deep"] | {"model": DEEP_2D}
    return tree | {"studies": {kind: {"one": settings}}}


def test_every_mistake_is_named_at_once(complaints: Callable[[Tree], list[str]]) -> None:
    tree = with_study("planes", pca="digits-pca", deep="digits-vqvae")
    tree["budget"] = "fast"
    tree["datasets"]["mine"] = {"kind": "images", "source": "inputs/none"}
    tree["datasets"]["digits"]["test"] = 1700
    tree["datasets"]["digits"]["validation"] = 10
    tree["experiments"]["digits-deep"]["model"]["bottleneck"]["size"] = {"integer": [2, 65]}
    tree["experiments"]["digits-pca"]["model"]["sise"] = 3
    assert [line.split(":")[0] for line in complaints(tree)] == [
        "budget", "experiments.digits-pca.model.sise", "datasets.mine.source", AT, "studies.planes.one.deep",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "settings", "told"),
    [
        ("planes", {"pca": "digits-pca"}, "deep: is missing"),
        ("planes", {"pca": "digits-pca", "deep": "nobody"}, "deep: nobody, must be one of digits-pca, digits-deep"),
        ("planes", {"pca": "digits-pca", "deep": "digits-deep"}, "deep: digits-deep, must have a code of two real"),
        ("planes", {"pca": "digits-vqvae", "deep": "plane"}, "pca: digits-vqvae, must have a code of two real numbers"),
        ("subspaces", {"pca": "digits-pca", "linear": "plane"}, "linear: plane, must have a linear decoder"),
        (
            "invariance",
            {"basic": "plane", "contractive": "digits-pca"},
            "contractive: digits-pca, must have an encoder",
        ),
        ("retrieval", {"real": "plane", "binary": "digits-vqvae"}, "binary: digits-vqvae, must have a code of bits"),
        ("retrieval", {"real": "plane", "binary": "plane", "neighbours": 9999}, "neighbours: 9999, must be at most"),
        ("bounds", {"gaussian": "plane", "categorical": "plane"}, "gaussian: plane, must have the bottleneck gaussian"),
        (
            "generation",
            {"plane": "plane", "vae_plane": "plane", "vae": "plane", "quantizer": "plane"},
            "quantizer: plane, must have a discrete code; it is autoencoder, identity with a code of 2 real numbers",
        ),
        (
            "pretraining",
            {"dataset": "digits", "layers": [8]}
            | {
                key: {"epochs": 1, "fine_tuning": [{"labels": 5, "epochs": 1, "seeds": 1}]}
                for key in ("quick", "paper")
            },
            "quick.fine_tuning.0.labels: 5, must be 10",
        ),
    ],
)
def test_a_study_that_would_die_is_named(
    complaints: Callable[[Tree], list[str]], kind: str, settings: Tree, told: str
) -> None:
    lines = complaints(with_study(kind, **settings))
    assert any(line.startswith(f"studies.{kind}.one.{told}") for line in lines), lines


def test_items_of_ones_own_are_looked_at_before_they_are_prepared(
    complaints: Callable[[Tree], list[str]], tmp_path: Path
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
        "experiments": {name: {"dataset": name, "model": model} for name in ("photos", "vectors")},
    }
    assert complaints(tree) == [
        f"experiments.{name}.model.size: 17, must be at most {values}, the numbers in one item"
        for name, values in (("photos", 16), ("vectors", 6))
    ]


def test_all_is_well_with_the_projects_own_settings_and_neither_ray_nor_mlflow_is_asked(tmp_path: Path) -> None:
    code = (
        "import sys; from pipelines.settings.check import check; check(); "
        "assert not {'ray', 'mlflow', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("params.yaml: no mistakes; datasets 1, experiments 19, studies 9")


@pytest.mark.parametrize("hidden", [10**30, 10**12])
def test_a_model_that_is_too_large_to_be_built_is_named(complaints: Callable[[Tree], list[str]], hidden: int) -> None:
    tree = copy.deepcopy(PARAMS)
    tree["experiments"]["digits-deep"]["model"]["network"]["hidden"] = [hidden]
    (complaint,) = complaints(tree)
    assert complaint.startswith("experiments.digits-deep.model: ")
    assert complaint.endswith(", must be a model that can be built")


def test_dvc_asks_for_no_kind_of_study_that_is_left_out(sandbox: Sandbox) -> None:
    given = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["vars"][0]["studies"]
    assert given == {kind: {} for kind in STUDIES}
    with (sandbox.root / "params.yaml").open("w") as file:
        YAML().dump(PARAMS | {"studies": {"planes": {"one": {"pca": "digits-pca", "deep": "digits-pca"}}}}, file)
    sandbox.run("git", "init", "-q")
    sandbox.run("dvc", "init", "-q")
    listed = sandbox.run("dvc", "stage", "list", "--name-only").stdout.split()
    assert "planes@one" in listed
    assert "sweep@digits-pca" in listed
