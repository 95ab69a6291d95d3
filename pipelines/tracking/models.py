"""Bundles in the model registry: each content once, found by its digest, the first of a name its champion."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.tracking.store import Store
from serving.manifest import Manifest, TensorSpec

if TYPE_CHECKING:
    from mlflow.entities import Run

CONTENT_TAG, MODEL_TAG = "content_sha256", "model_id"
CHAMPION, CHALLENGER = "champion", "challenger"


def find_version(store: Store, manifest: Manifest) -> Any | None:
    """Return the registered version that holds this bundle, if there is one."""
    query = f"name = '{manifest.name}' and tags.`{CONTENT_TAG}` = '{manifest.digest}'"
    found = store.client.search_model_versions(query)
    return found[0] if found else None


def log_model(store: Store, folder: Path, manifest: Manifest, run: Run, tags: dict[str, str]) -> str:
    """Log a bundle as an MLflow model of the ONNX flavour, the bundle itself beside it; return the model's id.

    One that was logged before, by a register that did not live to register it, is taken as it is.
    """
    import mlflow.onnx
    import onnx
    from mlflow.entities import LoggedModelStatus
    from mlflow.models import Model

    client, experiment_id = store.client, run.info.experiment_id
    query = f"tags.`{CONTENT_TAG}` = '{manifest.digest}'"
    for logged in client.search_logged_models([experiment_id], filter_string=query):
        if logged.status == LoggedModelStatus.READY:
            return str(logged.model_id)
    tags = {**tags, CONTENT_TAG: manifest.digest}
    model = client.create_logged_model(
        experiment_id, manifest.name, source_run_id=run.info.run_id, tags=tags, model_type="encoder"
    )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "model")
        mlflow.onnx.save_model(
            onnx.load(folder / manifest.encoder.file),
            str(path),
            mlflow_model=Model(run_id=run.info.run_id, model_id=model.model_id),
            signature=signature(manifest),
            pip_requirements=[f"onnxruntime=={manifest.versions['onnxruntime']}", "numpy"],
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
        )
        shutil.copytree(folder, path / "bundle")
        client.log_model_artifacts(model.model_id, str(path))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)


def register_version(store: Store, manifest: Manifest, model_id: str, tags: dict[str, str]) -> str:
    """Register a logged model under its experiment's name and return the version."""
    from mlflow.exceptions import MlflowException

    client = store.client
    try:
        client.get_registered_model(manifest.name)
    except MlflowException:
        client.create_registered_model(manifest.name, description="Takes raw items, gives codes; made by Hourglass.")
    model = client.get_logged_model(model_id)
    tags = {**tags, CONTENT_TAG: manifest.digest, MODEL_TAG: model_id}
    source = model.artifact_location
    version = client.create_model_version(manifest.name, source, model.source_run_id, tags, model_id=model_id)
    return str(version.version)


def crown(store: Store, name: str, version: str, collapsed: str) -> str | None:
    """Give the version on disk its alias: champion where there is none, challenger to another; return it if new.

    A version that was found collapsed gets none, and loses those that an earlier register gave it: `@champion` then
    gives an error, not codes that say next to nothing. No earlier version takes its place by itself; the next one on
    disk that is sound does.
    """
    aliases = store.client.get_registered_model(name).aliases
    holder = {alias: str(number) for alias, number in aliases.items()}
    if collapsed:
        lost = [alias for alias in (CHAMPION, CHALLENGER) if holder.get(alias) == version]
        for alias in lost:
            store.client.delete_registered_model_alias(name, alias)
        return f"no longer {' and '.join(lost)}, collapsed: {collapsed}" if lost else None
    alias = CHALLENGER if CHAMPION in holder else CHAMPION
    if version in (holder.get(CHAMPION), holder.get(alias)):
        return None
    store.client.set_registered_model_alias(name, alias, version)
    return alias


def signature(manifest: Manifest) -> Any:
    """Return MLflow's signature of a bundle's encoder."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema
    from mlflow.types import TensorSpec as Tensor

    def schema(tensors: tuple[TensorSpec, ...]) -> Any:
        return Schema(
            [Tensor(np.dtype(t.dtype), tuple(-1 if s is None else s for s in t.shape), t.name) for t in tensors]
        )

    return ModelSignature(inputs=schema(manifest.encoder.inputs), outputs=schema(manifest.encoder.outputs))
