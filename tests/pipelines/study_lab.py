"""Tiny experiments on digits, trained once a test session, for studies to compare."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file

from components.data import DatasetSettings, PreparedDataset, load, open_dataset, write_dataset
from components.models import Model, ModelSettings, TrainingRun
from pipelines.evaluate.results import VALUES, write_values
from pipelines.export.certificate import UNPROVEN
from pipelines.export.graphs import export_decoder, export_encoder
from pipelines.metrics.item_metrics import squared_errors
from pipelines.project import Project, locked, model_name
from pipelines.studies import kinds
from pipelines.studies.contract import Study, StudySettings, read_study
from pipelines.studies.plan import StudyPlan
from pipelines.sweep.record import RECORD, WEIGHTS, EpochRecord, RunRecord, TrialRecord, sealed
from pipelines.units.storage import Storage
from pipelines.units.unit import Unit, read_folder, write_result
from serving.bundle import Bundle
from serving.manifest import MANIFEST, Manifest

MODEL: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)
DATASET: TypeAdapter[Any] = TypeAdapter(DatasetSettings)


class StudyLab:
    """A project whose experiments are trained, exported and evaluated in this process, as they are asked for."""

    def __init__(self, root: Path) -> None:
        self.project = Project(root, root)
        self.storage = Storage(self.project.cache)

    @classmethod
    def shared(cls, factory: pytest.TempPathFactory) -> StudyLab:
        """Return the lab that all workers of this test session share."""
        base = factory.getbasetemp()
        root = (base.parent if base.name.startswith("popen-") else base) / "studies-of-digits"
        root.mkdir(exist_ok=True)
        return cls(root)

    def dataset(self, name: str = "digits", **settings: Any) -> PreparedDataset:
        folder = self.project.data(name)
        with locked(folder.with_suffix(".lock")):
            if not folder.exists():
                given = DATASET.validate_python({"kind": "digits"} | settings)
                raw = load(given, name, seed=0, downloads=self.project.cache, root=self.project.root)
                write_dataset(folder, name, raw.item, raw.splits, raw.classes, source=raw.source, licence=raw.licence)
        return open_dataset(folder)

    def experiment(
        self, name: str, model: dict[str, Any], epochs: int = 1, dataset: str = "digits", bundle: bool = True
    ) -> None:
        """Train an experiment, evaluate its squared errors and export it, where that was not done before."""
        folder = self.project.run(dataset, name)
        with locked(folder.with_suffix(".lock")):
            if not (self.project.evaluation(dataset, name) / VALUES).exists():
                self._train(name, model, epochs, self.dataset(dataset), bundle)

    def _train(self, name: str, model: dict[str, Any], epochs: int, data: PreparedDataset, bundle: bool) -> None:
        dataset, settings = data.schema.name, MODEL.validate_python(model)
        built = settings.build(data.schema.item, 0)
        for epoch in built.fit(TrainingRun(np.asarray(data.array("train")), data.array("validation"), epochs, 0)):
            last = epoch.metrics
        run, evaluation = self.project.run(dataset, name), self.project.evaluation(dataset, name)
        for folder in (run, evaluation):
            folder.mkdir(parents=True)
        save_file({key: tensor.contiguous() for key, tensor in built.cpu().state_dict().items()}, run / WEIGHTS)
        weights = hashlib.sha256((run / WEIGHTS).read_bytes()).hexdigest()
        history = (EpochRecord(epoch=epochs, timestamp=2000, seconds=1.0, metrics=last),)
        trial = TrialRecord(number=0, parameters={}, status="finished", started=1000, history=history)
        record = RunRecord(
            experiment=name, dataset=dataset, data_digest=data.schema.digest, key="0" * 64, seed=0, budget="quick",
            epochs=epochs, objective="validation_squared_error", settings={}, space={}, trials=(trial,), best_trial=0,
            best_epoch=epochs, model=settings.model_dump(mode="json"), weights_sha256=weights, parameters=1,
            git_commit="none", versions={},
        )  # fmt: skip
        (run / RECORD).write_bytes(sealed(record))
        if bundle:
            self._export(built.eval(), name, dataset, weights)
        test = np.asarray(data.array("test"))
        with torch.no_grad():
            rebuilt = built.eval().decode(built.encode(torch.from_numpy(test)))
        errors = None if rebuilt is None else squared_errors(data.schema.item.scaled(test), rebuilt.numpy())
        write_values(evaluation / VALUES, {} if errors is None else {"squared_error": errors})

    def _export(self, model: Model, name: str, dataset: str, weights: str) -> None:
        folder = self.project.bundle(dataset, name)
        folder.mkdir(parents=True)
        draft = Manifest(
            name=model_name(dataset, name), item=model.item, code=model.code, encoder=export_encoder(model, folder),
            decoder=export_decoder(model, folder), certificate=UNPROVEN.model_copy(update={"passed": True}),
            versions={}, data_digest="0" * 64, settings_digest="0" * 64, weights_digest=weights, digest="",
        )  # fmt: skip
        manifest = draft.model_copy(update={"digest": draft.computed_digest()})
        (folder / MANIFEST).write_text(manifest.model_dump_json())

    def bundle(self, name: str, dataset: str = "digits") -> Bundle:
        return Bundle.load(self.project.bundle(dataset, name), threads=1)

    def unit(self, name: str, settings: dict[str, Any], dataset: str = "digits", **plan: Any) -> Unit:
        """Return the unit that writes a study's page."""
        study: StudySettings = kinds()[settings.get("kind", name)].model_validate(settings)
        given = {"seed": 0, "budget": "quick", "storage": self.storage} | plan
        return study.units(StudyPlan(self.project, dataset, name, **given))

    def study(self, name: str, settings: dict[str, Any], dataset: str = "digits", **plan: Any) -> Study:
        """Run a study and return its page."""
        run_here(self.unit(name, settings, dataset, **plan))
        return self.page(name, dataset)

    def page(self, name: str, dataset: str = "digits") -> Study:
        study = read_study(self.project.study(dataset, name))
        assert study.summary.count(". ") <= 1
        assert all((self.project.study(dataset, name) / p.file).stat().st_size > 0 for p in study.pictures)
        return study


def run_here(unit: Unit) -> list[str]:
    """Do a unit in this process, after the units that it needs; return the names of those that were not done yet."""
    if unit.done():
        return []
    done = [name for need in unit.needs for name in run_here(need)]
    with tempfile.TemporaryDirectory() as folder:
        unit.work(Path(folder), **unit.arguments, **{name: _path(given) for name, given in unit.inputs.items()})
        write_result(unit.storage, unit.key, read_folder(Path(folder)))
    return [*done, unit.name]


def _path(given: Path | Unit | tuple[Unit, ...]) -> Any:
    if isinstance(given, tuple):
        return tuple(map(_path, given))
    return given.storage.local if isinstance(given, Unit) else given
