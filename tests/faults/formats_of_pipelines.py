"""Formats that the stages after `prepare` read and write: journals, run records, metrics, studies."""

from __future__ import annotations

import json
import random
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pipelines.studies.remembered import _kept, _recalled

from components.data import DataError
from components.models import Model
from components.settings import SettingError
from components.state import State
from items.digests import sha256_of
from items.spec import ItemSpec
from pipelines.compare.experiments import read_entries, read_picture
from pipelines.compare.report import render_report, render_study
from pipelines.compare.stage import leaderboard_row, write_reports
from pipelines.project import Project, StageError
from pipelines.register.stage import dvc_stages
from pipelines.settings.params import load_params
from pipelines.studies.results import read_results
from pipelines.sweep.journal import Journal
from pipelines.sweep.record import RunRecord, read_model, read_record, write_record
from pipelines.tracking.projection import Projection
from pipelines.tracking.studied import StudyProjection
from pipelines.units.storage import Storage
from serving.bundle import BundleError
from tests.faults.damage import VALUES, Damage, damaged_bytes, damaged_document, damaged_json
from tests.faults.formats import Format, digest
from tests.pipelines.lab import MLP, Lab

STAGES = (StageError, SettingError, DataError, BundleError)  # what pipelines.project.stage turns into a line
ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")
OBJECTIVE = "validation_squared_error"
DRAWN = 5  # one of so many contents is drawn too, which takes a second


def small_model(seed: int = 0) -> Model:
    """Return a small autoencoder of 8×8 images."""
    from pydantic import TypeAdapter

    from components.models import ModelSettings

    adapter: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)
    return adapter.validate_python(MLP).build(ITEM, seed=seed)


@cache
def items() -> np.ndarray:
    """Return twelve made-up images."""
    return np.random.default_rng(0).integers(0, 256, (12, *ITEM.shape), np.uint8)


def make_journal(folder: Path) -> None:
    """Write the journal of a trial that was stopped after its second epoch."""
    from components.models import TrainingRun

    journal = Journal.of(Storage(folder), 1)
    journal.open(1, {"model.training.learning_rate": 0.002})
    attempt = journal.begin("node")
    history = []
    for epoch in small_model().fit(TrainingRun(items(), items(), epochs=3, seed=0)):
        history.append({"epoch": epoch.number, "timestamp": 1000, "seconds": 0.5, "metrics": epoch.metrics})
        best = {f"best.{name}": tensor.clone() for name, tensor in epoch.weights.items()}
        journal.save(attempt, State(epoch.state.tensors | best, epoch.state.rest | {"history": history}))
        if epoch.number == 2:
            break


def use_journal(folder: Path) -> str:
    """Go on from a journal: what the trial is, its history, its last epoch, and what its best weights compute."""
    from components.models import TrainingRun

    journal = Journal.of(Storage(folder), 1)
    journal.check()
    trial, state = journal.read(), journal.resume()
    model = small_model(seed=1)
    model.load_state_dict(state.part("best"))
    resumed = small_model(seed=1)
    (last,) = resumed.fit(TrainingRun(items(), items(), epochs=3, seed=0), state)
    metrics = {name: value for name, value in last.metrics.items() if name != "train_items_per_second"}
    best = trial.best(OBJECTIVE)
    codes = [m.eval().encode(torch.as_tensor(items())).detach().numpy() for m in (model, resumed)]
    return digest(trial.model_copy(update={"started": 0}), best, last.number, metrics, codes)


def damaged_safetensors(content: bytes, draw: random.Random) -> Damage:
    """Damage a safetensors file: half the time the JSON of its header, or its length."""
    size = int.from_bytes(content[:8], "little")
    way = draw.random()
    if way < 0.1:
        number = draw.choice((0, 1, size - 1, size + 1, 2**31, 2**40, 2**63 - 1, 2**64 - 1, len(content), 100_000_001))
        return f"header of {number} bytes", number.to_bytes(8, "little") + content[8:]
    if way < 0.6:
        what, header = damaged_document(content[8 : 8 + size], draw, json.loads, VALUES)
        return f"header: {what}", len(header).to_bytes(8, "little") + header + content[8 + size :]
    return damaged_bytes(content, draw)


def make_project(folder: Path) -> None:
    """Write a project whose stages before `compare` have run: two experiments, one with real weights; a study."""
    lab = Lab(folder)
    lab.dataset("digits")
    lab.experiment("digits-pca", squared_error=(5.0, 4.9, 5.1))
    lab.experiment("digits-deep", model=MLP, bits=128, shape=(4,))
    name = "digits-deep"
    model, run = small_model(), lab.project.run(name)
    State(dict(model.state_dict()), {"epoch": 1}).save(run / "weights.safetensors")
    record = read_json_record(run).model_copy(update={"weights_sha256": sha256_of(run / "weights.safetensors")})
    write_record(run, record)
    manifest = lab.manifest(name, record, 128, (4,))
    path = lab.project.metrics(name)
    document = json.loads(path.read_text())
    document["evidence"][0]["bundle"] = manifest.digest
    path.write_text(json.dumps(document))
    lab.study("same", "digits-pca", "digits-deep")
    for picture in folder.rglob("*.png"):
        Image.fromarray(items()[0, ..., 0]).save(picture)
    (folder / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  sweep@digits-deep:\n    cmd: python\n    outs: [{path: a}]\n"
    )


def read_json_record(run: Path) -> RunRecord:
    """Read a run record without a look at its weights."""
    return RunRecord.model_validate_json((run / "record.json").read_bytes())


def use_project(folder: Path, draws: bool = False) -> str:
    """Read a project as compare and register do."""
    project = Project(folder, folder)
    params = load_params(project)
    entries = read_entries(project, params)
    studies = read_results(project, params, entries)
    rows = [leaderboard_row(entry) for entry in entries]
    for path in (path for entry in entries for path in entry.pictures.values()):
        read_picture(path)
    stages = dvc_stages(project)
    content = digest(rows, entries, studies, stages)
    if content not in _RENDERED:  # rendering what was rendered before would show nothing new, slowly
        if draws and int(content, 16) % DRAWN == 0:
            write_reports(folder / "reports", entries, rows, studies)
        told = [render_report(entries, {}, studies), *map(render_study, studies)]
        for entry in entries:
            one = Projection(entry, project.bundle(entry.name), stages.get(entry.name, "none"))
            told += [one.content, *one.tags.values(), one._note()]
        for result in studies:
            told += [StudyProjection(result, 0).content, StudyProjection(result, 0)._note()]
        _RENDERED[content] = digest(told)
    return content


_RENDERED: dict[str, str] = {}


def use_run(folder: Path) -> str:
    """Read a run record as export, compare and register do."""
    run = Project(folder, folder).run("digits-deep")
    record = read_record(run)
    model = read_model(run, record, ITEM)
    with torch.no_grad():
        codes = model.encode(torch.as_tensor(items()))
        rebuilt = model.decode(codes).numpy()
    return digest(record, codes.numpy(), rebuilt, use_project(folder))


PART = {"row": "sparse", "mse": 0.25}


def make_part(folder: Path) -> None:
    """Write what a study keeps of a finished part."""
    folder.mkdir()
    _kept(dict, PART, folder / "part.json")


def use_part(folder: Path) -> str:
    """Read a finished part; one that is damaged is worked out again."""
    return digest(_recalled(folder / "part.json") or PART)


FORMATS = (
    Format("trial.json", "*/trial.json", make_journal, use_journal, STAGES, damaged_json),
    Format("attempt.json", "*/attempt-*.json", make_journal, use_journal, STAGES, damaged_json),
    Format("state.safetensors", "*/state-*.safetensors", make_journal, use_journal, STAGES, damaged_safetensors),
    Format("record.json", "runs/digits-deep/*.json", make_project, use_run, STAGES, damaged_json),
    Format("weights.safetensors", "runs/digits-deep/*.safetensors", make_project, use_run, STAGES, damaged_safetensors),
    Format(
        "metrics.json", "metrics/digits-deep.json", make_project, partial(use_project, draws=True), STAGES,
        damaged_json, sealed=False, named="digits-deep",
    ),
    Format(
        "study.json", "studies/*/study.json", make_project, use_project, STAGES, damaged_json, sealed=False,
        named="subspaces",
    ),
    Format("study part .json", "*.json", make_part, use_part, STAGES, damaged_json),
    Format("picture .png", "*/digits-*/*.png", make_project, use_project, STAGES, sealed=False),
    Format("dvc.lock", "dvc.lock", make_project, use_project, STAGES, sealed=False),
)  # fmt: skip
