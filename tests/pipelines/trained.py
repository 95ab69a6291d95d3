"""Run records as a sweep leaves them, of models trained in the test's own process, and units done there."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from ruamel.yaml import YAML
from safetensors.torch import save_file
from study_lab import run_here

from components.data import DatasetSettings, PreparedDataset, load, open_dataset, write_dataset
from components.models import ModelSettings, TrainingRun
from pipelines.export import stage as export_stage
from pipelines.project import Project
from pipelines.sweep.record import RECORD, WEIGHTS, EpochRecord, RunRecord, TrialRecord, sealed
from pipelines.units.unit import Unit

DATASET: TypeAdapter[Any] = TypeAdapter(DatasetSettings)
MODEL: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)

PCA: dict[str, Any] = {"kind": "pca", "size": 5}
BITS: dict[str, Any] = {
    "kind": "autoencoder",
    "network": {"kind": "mlp", "hidden": [16]},
    "bottleneck": {"kind": "binary", "size": 12},
}
BUDGETS: dict[str, Any] = {"quick": {"epochs": 1}, "paper": {"epochs": 1}}


def experiment(model: dict[str, Any]) -> dict[str, Any]:
    """Return an experiment of params.yaml with this model."""
    return {"model": model} | ({} if model["kind"] == "pca" else BUDGETS)


def write_params(project: Project, datasets: dict[str, Any], experiments: dict[str, dict[str, Any]]) -> None:
    """Write params.yaml; `experiments` holds models by dataset and name."""
    asked = {of: {name: experiment(model) for name, model in models.items()} for of, models in experiments.items()}
    with project.params.open("w") as file:
        YAML().dump({"datasets": datasets, "experiments": asked}, file)


def prepare(project: Project, name: str, settings: dict[str, Any]) -> PreparedDataset:
    """Write a prepared dataset."""
    raw = load(DATASET.validate_python(settings), name, seed=0, downloads=project.cache, root=project.root)
    write_dataset(project.data(name), name, raw.item, raw.splits, raw.classes, raw.source, raw.licence)
    return open_dataset(project.data(name))


def train(project: Project, dataset: PreparedDataset, name: str, model: dict[str, Any], epochs: int = 1) -> None:
    """Train a model and write its run record."""
    settings = MODEL.validate_python(model)
    built = settings.build(dataset.schema.item)
    run = TrainingRun(np.asarray(dataset.array("train")), np.asarray(dataset.array("validation")), epochs, seed=0)
    for epoch in built.fit(run):
        last = epoch.metrics
    folder = project.run(dataset.schema.name, name)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.contiguous() for key, tensor in built.state_dict().items()}, folder / WEIGHTS)
    history = (EpochRecord(epoch=epochs, timestamp=2000, seconds=1.0, metrics=last),)
    record = RunRecord(
        experiment=name, dataset=dataset.schema.name, data_digest=dataset.schema.digest, key="0" * 64, seed=0,
        budget="quick", epochs=epochs, objective="validation_squared_error", settings=experiment(model), space={},
        trials=(TrialRecord(number=0, parameters={}, status="finished", started=1000, history=history),),
        best_trial=0, best_epoch=epochs, model=settings.model_dump(mode="json"), parameters=1, git_commit="none",
        versions={}, weights_sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
    )  # fmt: skip
    (folder / RECORD).write_bytes(sealed(record))


def export(root: Path, digits: dict[str, Any], models: dict[str, Any]) -> tuple[Project, PreparedDataset]:
    """Return a project with bundles of models of digits."""
    project = Project(root, root)
    data = prepare(project, "digits", digits)
    for name, model in models.items():
        train(project, data, name, model)
    write_params(project, {"digits": digits}, {"digits": models})
    with contextlib.chdir(root), pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_stage, "run_units", run_units_here)
        export_stage.main("digits")
    return project, data


def run_units_here(project: Project, units: Sequence[Unit]) -> list[str]:
    """Do a stage's units in this process, in place of `run_units`; return the names of those that were not done."""
    return [name for unit in units for name in run_here(unit)]
