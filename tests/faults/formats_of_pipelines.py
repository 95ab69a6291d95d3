"""Formats that the stages after `prepare` read and write: journals, run records, metrics, studies, the summary."""

from __future__ import annotations

import json
import random
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import TypeAdapter

from components.data import DataError
from components.models import Model, ModelSettings, TrainingRun
from components.settings import SettingError
from components.state import State
from items.digests import sha256_of
from items.spec import ItemSpec
from pipelines.compare.contents import summarize
from pipelines.compare.experiments import read_experiments, read_picture
from pipelines.compare.leaderboard import row
from pipelines.compare.report import render_report, render_study
from pipelines.compare.stage import write_reports
from pipelines.compare.summary import read_summary
from pipelines.project import Project, StageError
from pipelines.register.everything import dvc_stages
from pipelines.register.stage import check_files
from pipelines.settings.params import load_params
from pipelines.studies.results import read_studies
from pipelines.sweep.journal import Journal
from pipelines.sweep.record import RunRecord, read_record, sealed
from pipelines.sweep.trained import read_model
from pipelines.tracking.projection import Projection
from pipelines.tracking.studied import note
from pipelines.units.storage import Storage
from pipelines.units.unit import read_folder, result_key, write_result
from serving.bundle import BundleError
from tests.faults.damage import VALUES, Damage, damaged_bytes, damaged_document, damaged_json
from tests.faults.formats import Format, digest
from tests.faults.formats_of_serving import damaged_parquet
from tests.pipelines.lab import MLP, Lab

STAGES = (StageError, SettingError, DataError, BundleError)  # what pipelines.project.stage turns into a line
ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")
OBJECTIVE = "validation_squared_error"
DRAWN = 5  # one of so many contents is drawn too, which takes a second


def small_model(seed: int = 0) -> Model:
    """Return a small autoencoder of 8×8 images."""
    adapter: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)
    return adapter.validate_python(MLP).build(ITEM, seed=seed)


@cache
def items() -> np.ndarray:
    """Return twelve made-up images."""
    return np.random.default_rng(0).integers(0, 256, (12, *ITEM.shape), np.uint8)


def make_journal(folder: Path, ended: bool = False) -> None:
    """Write the journal of a trial that was stopped after its second epoch, or cut off there."""
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
    if ended:
        journal.close("stopped", attempt=attempt)


def use_journal(folder: Path) -> str:
    """Go on from a journal: what the trial is, its history, its last epoch, and what its best weights compute."""
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
    """Write a project whose stages before `register` have run: two experiments, one with real weights; a study."""
    lab = Lab(folder)
    lab.dataset("digits")
    lab.experiment("pca", squared_error=(5.0, 0.1))
    lab.experiment("deep", model=MLP, bits=128, shape=(4,))
    model, run = small_model(), lab.project.run("digits", "deep")
    weights = run / "weights.safetensors"
    weights.write_bytes(State(dict(model.state_dict()), {"epoch": 1}).to_bytes())
    record = RunRecord.model_validate_json((run / "record.json").read_bytes())
    record = record.model_copy(update={"weights_sha256": sha256_of(weights)})
    (run / "record.json").write_bytes(sealed(record))
    manifest = lab.manifest("deep", record, 128, (4,), passed=True)
    path = lab.project.metrics("digits", "deep")
    document = json.loads(path.read_text())
    document["evidence"][0]["bundle"] = manifest.digest
    path.write_text(json.dumps(document))
    lab.study("same", "pca", "deep")
    for picture in folder.rglob("*.png"):
        Image.fromarray(items()[0, ..., 0]).save(picture)
    (folder / "dvc.lock").write_text("stages:\n  sweep@digits:\n    cmd: python\n    outs: [{path: a}]\n")
    params = load_params(lab.project)
    results, studies = read_experiments(lab.project, params.experiments), read_studies(lab.project, params)
    write_reports(lab.project.reports, results, studies, summarize(lab.project, results, studies))


def use_project(folder: Path, draws: bool = False) -> str:
    """Read a project as compare and register do."""
    project = Project(folder, folder)
    params = load_params(project)
    results, studies = read_experiments(project, params.experiments), read_studies(project, params)
    summary = summarize(project, results, studies)
    for path in (path for result in results for path in result.pictures.values()):
        read_picture(path)
    stages = dvc_stages(project)
    content = digest(results, studies, summary.experiments, summary.studies, stages)
    if content not in _RENDERED:  # rendering what was rendered before would show nothing new, slowly
        if draws and int(content, 16) % DRAWN == 0:
            write_reports(folder / "drawn", results, studies, summary)
        shown = [render_report(results, {}, studies), *map(render_study, studies), str([*map(row, results)])]
        for result, one in zip(results, summary.experiments, strict=True):
            bundle = project.bundle(result.dataset, result.name)
            projection = Projection(result, one.content, bundle, stages.get(result.dataset, "none"))
            shown += [projection.content, *projection.tags.values(), projection._note()]
        shown += [note(study.study.model_dump(mode="json")) for study in studies]
        _RENDERED[content] = digest(shown)
    return content


_RENDERED: dict[str, str] = {}


def use_run(folder: Path) -> str:
    """Read a run record as export, compare and register do."""
    run = Project(folder, folder).run("digits", "deep")
    record = read_record(run)
    model = read_model(run, record, ITEM)
    with torch.no_grad():
        codes = model.encode(torch.as_tensor(items()))
        rebuilt = model.decode(codes).numpy()
    return digest(record, codes.numpy(), rebuilt, use_project(folder))


def use_summary(folder: Path) -> str:
    """Read the summary as register does."""
    project = Project(folder, folder)
    summary = read_summary(project)
    check_files(project, summary)
    return digest(summary)


KEY = "a" * 64
RESULT = {"metrics.json": b'{"mse": 0.25}', "values.bin": bytes(range(256))}


def make_unit(folder: Path) -> None:
    """Write the result of a unit."""
    write_result(Storage(folder), KEY, RESULT)


def use_unit(folder: Path) -> str:
    """Read a unit's result as its stage does, which does the unit again where the result is damaged."""
    if result_key(Storage(folder)) != KEY:
        make_unit(folder)
    return digest({name: content for name, content in read_folder(folder).items() if name in RESULT})


Journaled = partial(Format, make=make_journal, use=use_journal, refusals=STAGES)
InProject = partial(Format, make=make_project, use=use_project, refusals=STAGES)
Unit = partial(Format, make=make_unit, use=use_unit, refusals=(), copied=True)

FORMATS = (
    Journaled("trial.json", "*/trial.json", damage=damaged_json),
    Journaled("attempt.json", "*/attempt-*.json", damage=damaged_json),
    Journaled("end.json", "*/end-*.json", make=partial(make_journal, ended=True), damage=damaged_json),
    Journaled("state.safetensors", "*/state-*.safetensors", damage=damaged_safetensors),
    InProject("record.json", "runs/*/deep/*.json", use=use_run, damage=damaged_json),
    InProject("weights.safetensors", "runs/*/deep/*.safetensors", use=use_run, damage=damaged_safetensors),
    InProject(
        "metrics.json", "metrics/*/deep.json", use=partial(use_project, draws=True), damage=damaged_json, sealed=False,
        named="deep",
    ),
    InProject("values.parquet", "evaluations/*/deep/*.parquet", damage=damaged_parquet, sealed=False, named="deep"),
    InProject("study.json", "studies/*/*/study.json", damage=damaged_json, sealed=False, named="same"),
    InProject("summary.json", "reports/summary.json", use=use_summary, damage=damaged_json),
    InProject("picture .png", "[er]*/digits/*/*.png", sealed=False),
    InProject("dvc.lock", "dvc.lock", sealed=False),
    Unit("unit.json", "unit.json", damage=damaged_json),
    Unit("a unit's files", "[mv]*"),
)  # fmt: skip
