"""Bundles in the model registry: each content once, found by its digest, the first of a name the champion."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.tracking.store import Store
from pipelines.tracking.tags import DIGEST, MODEL, alias_changes
from pipelines.units.unit import RESULT
from serving.manifest import Manifest, TensorSpec

if TYPE_CHECKING:
    from mlflow.entities import Run


def find_version(store: Store, name: str, manifest: Manifest) -> Any | None:
    """Return the version of a registered model that holds this bundle, if there is one."""
    query = f"name = '{name}' and tags.`{DIGEST}` = '{manifest.digest}'"
    found = store.client.search_model_versions(query)
    return found[0] if found else None


def log_model(store: Store, name: str, folder: Path, manifest: Manifest, run: Run, tags: dict[str, str]) -> str:
    """Log a bundle as an MLflow model of the ONNX flavour, the bundle itself beside it; return the model's id.

    One that was logged before, by a `register` that was killed before it registered it, is used as it is.
    """
    import mlflow.onnx
    import onnx
    from mlflow.entities import LoggedModelStatus
    from mlflow.models import Model

    client, experiment_id = store.client, run.info.experiment_id
    query = f"tags.`{DIGEST}` = '{manifest.digest}'"
    for logged in client.search_logged_models([experiment_id], filter_string=query):
        if logged.status == LoggedModelStatus.READY:
            return str(logged.model_id)
    tags = {**tags, DIGEST: manifest.digest}
    model = client.create_logged_model(
        experiment_id, name, source_run_id=run.info.run_id, tags=tags, model_type="encoder"
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
        shutil.copytree(folder, path / "bundle", ignore=shutil.ignore_patterns(RESULT))
        client.log_model_artifacts(model.model_id, str(path))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)


def register_version(store: Store, name: str, digest: str, model_id: str, tags: dict[str, str]) -> str:
    """Register a logged model, whose bundle has this digest, under its name; return the version."""
    from mlflow.exceptions import MlflowException

    client = store.client
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name, description="An encoder of Hourglass: it takes raw items and gives codes.")
    model = client.get_logged_model(model_id)
    tags = {**tags, DIGEST: digest, MODEL: model_id}
    source = model.artifact_location
    version = client.create_model_version(name, source, model.source_run_id, tags, model_id=model_id)
    return str(version.version)


def set_alias(store: Store, name: str, version: str, collapsed: str) -> str | None:
    """Give the version on disk the alias that it is due; see :func:`alias_changes`. Return what changed, in words.

    A version that loses an alias, because it was found collapsed, is not replaced by an earlier one: the next one on
    disk that is sound is.
    """
    aliases = {alias: str(number) for alias, number in store.client.get_registered_model(name).aliases.items()}
    changes = alias_changes(aliases, version, bool(collapsed))
    for alias, holder in changes.items():
        if holder is None:
            store.client.delete_registered_model_alias(name, alias)
        else:
            store.client.set_registered_model_alias(name, alias, holder)
    lost = [alias for alias, holder in changes.items() if holder is None]
    if lost:
        return f"no longer {' and '.join(lost)}, collapsed: {collapsed}"
    return next(iter(changes), None)


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
