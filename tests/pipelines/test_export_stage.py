"""The export stage: which bundles it writes, and when it writes them again."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trained
from safetensors.torch import load_file, save_file

from components.data import open_dataset
from items.digests import sha256_of
from pipelines.export import stage, work
from pipelines.project import Project, StageError
from pipelines.sweep.record import RECORD, WEIGHTS, read_record, sealed
from pipelines.units.unit import read_folder
from serving.manifest import Certificate, read_manifest

DIGITS = {"kind": "digits", "validation": 100, "test": 300}
MODELS = {"pca": trained.PCA, "bits": trained.BITS}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("project")
    project = Project(root, root)
    data = trained.prepare(project, "digits", DIGITS)
    for name, model in MODELS.items():
        trained.train(project, data, name, model)
    trained.write_params(project, {"digits": DIGITS}, {"digits": MODELS})
    return project


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture
def project(made: Project, patch: pytest.MonkeyPatch) -> Project:
    """A project with two bundles."""
    run(made, patch)
    return made


def run(project: Project, patch: pytest.MonkeyPatch, *only: str) -> list[str]:
    """Run the stage; return the units that were done."""
    done: list[str] = []
    patch.setattr(stage, "run_units", lambda project, units: done.extend(trained.run_units_here(project, units)))
    with contextlib.chdir(project.root):
        stage.main("digits", only)
    return done


def test_a_bundle_is_of_its_run_and_has_the_registered_models_name(project: Project) -> None:
    for name in MODELS:
        record, manifest = read_record(project.run("digits", name)), read_manifest(project.bundle("digits", name))
        assert manifest.name == f"digits-{name}"
        assert manifest.weights_digest == record.weights_sha256
        assert manifest.data_digest == record.data_digest == open_dataset(project.data("digits")).schema.digest
        assert manifest.certificate.passed
    assert sorted(path.name for path in project.bundle("digits", "pca").iterdir()) == [
        "bundle.json",
        "decoder.onnx",
        "encoder.onnx",
        "unit.json",
    ]


def test_nothing_is_exported_twice(project: Project, patch: pytest.MonkeyPatch) -> None:
    before = read_folder(project.bundle("digits", "bits"))
    assert run(project, patch) == []
    assert read_folder(project.bundle("digits", "bits")) == before


def test_a_damaged_bundle_is_exported_again(project: Project, patch: pytest.MonkeyPatch) -> None:
    before = read_folder(project.bundle("digits", "pca"))
    for file in ("encoder.onnx", "bundle.json"):
        (project.bundle("digits", "pca") / file).write_bytes(b"")
        assert run(project, patch) == ["digits-pca"]
        assert read_folder(project.bundle("digits", "pca")) == before


def test_other_weights_are_exported_and_no_other_experiment(project: Project, patch: pytest.MonkeyPatch) -> None:
    folder = project.run("digits", "pca")
    record, weights = read_record(folder), load_file(folder / WEIGHTS)
    save_file({name: 2 * tensor for name, tensor in weights.items()}, folder / WEIGHTS)
    other = record.model_copy(update={"weights_sha256": sha256_of(folder / WEIGHTS)})
    (folder / RECORD).write_bytes(sealed(other))
    assert run(project, patch) == ["digits-pca"]
    assert read_manifest(project.bundle("digits", "pca")).weights_digest == other.weights_sha256


def test_a_run_record_that_says_nothing_new_of_the_model_is_no_reason_to_export(
    project: Project, patch: pytest.MonkeyPatch
) -> None:
    folder = project.run("digits", "bits")
    record = read_record(folder)
    (folder / RECORD).write_bytes(sealed(record.model_copy(update={"git_commit": "another", "key": "1" * 64})))
    assert run(project, patch) == []


def test_only_what_is_named_is_exported_and_what_is_gone_is_deleted(
    project: Project, patch: pytest.MonkeyPatch
) -> None:
    for name in MODELS:
        (project.bundle("digits", name) / "bundle.json").unlink()
    gone = shutil.copytree(project.bundle("digits", "pca"), project.bundle("digits", "gone"))
    assert run(project, patch, "bits") == ["digits-bits"]
    assert not gone.exists()
    assert run(project, patch) == ["digits-pca"]


def test_a_model_of_other_data_is_refused(project: Project, tmp_path: Path) -> None:
    elsewhere = Project(tmp_path, tmp_path)
    trained.prepare(elsewhere, "digits", DIGITS | {"test": 50})
    with pytest.raises(StageError, match=r"digits-pca was trained on data .*; run `python -m pipelines.sweep digits"):
        work.export(tmp_path, run=project.run("digits", "pca"), data=elsewhere.data("digits"), name="digits-pca")


def test_a_bundle_without_a_certificate_is_not_written(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(*given: Any) -> Certificate:
        return work.UNPROVEN.model_copy(update={"failures": ("encoder: wrong", "decoder: wrong too")})

    monkeypatch.setattr(work, "certify", refused)
    with pytest.raises(StageError, match="no certificate: encoder: wrong; decoder: wrong too"):
        work.export(tmp_path, run=project.run("digits", "pca"), data=project.data("digits"), name="digits-pca")
    assert not (tmp_path / "bundle.json").exists()


def test_a_missing_run_is_named(project: Project, patch: pytest.MonkeyPatch) -> None:
    folder = project.run("digits", "pca")
    folder.rename(folder.with_name("away"))
    try:
        with pytest.raises(
            StageError, match=r"pca/record.json: No such file or directory; run `python -m pipelines.sweep"
        ):
            run(project, patch)
    finally:
        folder.with_name("away").rename(folder)
