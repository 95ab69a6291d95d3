"""The model registry over SQLite, with artifacts in a folder: no server."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_bundles import write_linear, write_quantized

from serving import registry as registry_module
from serving.bundle import Bundle
from serving.registry import RegistryError, registered_models, resolve, tracking_uri


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two versions of `shades`; version 1 is the champion."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        client = MlflowClient(uri, uri)
        experiment = client.create_experiment("hourglass", artifact_location=(folder / "artifacts").as_uri())
        client.create_registered_model("shades")
        for version, write in (("1", write_quantized), ("2", write_linear)):
            run = client.create_run(experiment).info
            bundle = write(folder / version)
            (bundle / "unit.json").write_text("{}")  # as `export` leaves beside the bundle's own files
            client.log_artifacts(run.run_id, str(bundle), "model/bundle")
            tags = {"squared_error": "1.25", "bits_per_item": "13.3"} if version == "1" else {}
            client.create_model_version("shades", f"{run.artifact_uri}/model", run.run_id, tags=tags)
        client.set_registered_model_alias("shades", "champion", "1")
        shutil.rmtree(folder / "1")
    return uri


@pytest.fixture
def registry(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    return database


def test_an_alias_and_a_version_load_their_bundles(registry: str, pictures: np.ndarray) -> None:
    champion = Bundle.load("models:/shades@champion")
    assert champion.name == "quantized"
    assert champion.encode(pictures).dtype == np.uint8
    assert Bundle.load("models:/shades/2").name == "linear"


def test_models_are_listed_newest_first_with_aliases_and_tags(registry: str) -> None:
    second, first = registered_models()
    assert (first.name, first.version, first.aliases) == ("shades", 1, ("champion",))
    assert first.tags["squared_error"] == "1.25"
    assert (second.version, second.aliases, second.tags) == (2, (), {})
    assert second.created >= first.created


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("models:/shades@nobody", "nobody"),
        ("models:/shades/9", "9"),
        ("models:/others@champion", "others"),
        ("models:/shades", "not the URI of a model"),
        ("models:/shades/latest", "not the URI of a model"),
        ("models:/shades/1/../../etc", "not the URI of a model"),
    ],
)
def test_what_is_not_registered_is_named(registry: str, uri: str, complaint: str) -> None:
    with pytest.raises(RegistryError, match=complaint):
        resolve(uri)


def test_a_version_without_a_bundle_says_so(registry: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(registry, registry)
    client.create_registered_model("bare")
    client.create_model_version("bare", tmp_path.as_uri())
    try:
        with pytest.raises(RegistryError, match="version 1 has no bundle"):
            resolve("models:/bare/1")
    finally:
        client.delete_registered_model("bare")


def test_what_is_downloaded_is_the_bundles_folder(registry: str, tmp_path: Path) -> None:
    remote = write_linear(tmp_path / "remote" / "bundle")
    local = registry_module._download(remote.as_uri(), registry)
    assert local != remote
    assert Bundle.load(local).name == "linear"


def test_the_projects_database_is_found_from_a_folder_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(RegistryError, match=r"there is no .*b/mlflow\.db"):
        tracking_uri()
    (tmp_path / "params.yaml").touch()
    with pytest.raises(RegistryError, match=f"there is no {tmp_path}/mlflow.db"):
        tracking_uri()
    (tmp_path / "mlflow.db").touch()
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_asking_does_not_make_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(RegistryError, match="there is no file"):
        registered_models()
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(RegistryError, match="pip install mlflow-skinny sqlalchemy alembic"):
        resolve("models:/shades@champion")
