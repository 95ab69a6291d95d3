"""All experiments and studies into MLflow, one by one. Importing this takes seconds."""

from __future__ import annotations

import sys
from typing import Any

from ruamel.yaml import YAML

from items.digests import json_digest
from items.errors import one_line
from pipelines.compare.experiments import ExperimentResult, read_experiment
from pipelines.compare.summary import Summary
from pipelines.project import Project, StageError
from pipelines.tracking.projection import Projection
from pipelines.tracking.store import Store, answered
from pipelines.tracking.studied import StudyProjection


def register_everything(project: Project, summary: Summary) -> None:
    """Write what MLflow lacks of the experiments and studies of a summary.

    Raises:
        StageError: an experiment's files do not belong together, or its certificate did not pass; or MLflow does not
            answer.
    """
    stages = dvc_stages(project)
    projections = []
    for one in summary.experiments:
        result = read_experiment(project, one.dataset, one.name)
        check_certificate(result)
        bundle = project.bundle(one.dataset, one.name)
        projections.append(Projection(result, one.content, bundle, stages.get(one.dataset, "none")))
    store = Store.of(project.home)
    with answered(store):
        for projection in projections:
            with store.alone():  # what another process has just written is found, and not written again
                report(projection.result.model, projection.apply(store))
        for study in summary.studies:
            trials = (t for p in projections if p.result.dataset == study.dataset for t in p.result.record.trials)
            ended = max((trial.ended for trial in trials), default=0)
            with store.alone():
                folder = project.study(study.dataset, study.name)
                report(f"{study.dataset}.{study.name}", StudyProjection(study, folder, ended).apply(store))


def report(name: str, written: list[str]) -> None:
    """Print what was written."""
    sys.stdout.write(f"{name}: {', '.join(written) or 'nothing new'}\n")


def check_certificate(result: ExperimentResult) -> None:
    """Raise StageError where a bundle's certificate did not pass."""
    certificate = result.manifest.certificate
    if not certificate.passed:
        raise StageError(
            f"{result.model}: not registered, its certificate did not pass: {'; '.join(certificate.failures)}"
        )


def dvc_stages(project: Project) -> dict[str, str]:
    """Return by dataset a digest of what dvc.lock holds of its stages: commands, dependencies, outputs.

    Raises:
        StageError: dvc.lock is damaged.
    """
    path = project.root / "dvc.lock"
    if not path.is_file():
        return {}
    try:
        stages = YAML(typ="safe").load(path.read_text(encoding="utf-8"))["stages"]
        by_dataset: dict[str, dict[str, Any]] = {}
        for name, stage in stages.items():
            by_dataset.setdefault(name.partition("@")[2], {})[name] = stage
        return {dataset: json_digest(mine) for dataset, mine in by_dataset.items()}
    except Exception as error:  # a parser, given anything at all, raises anything at all
        raise StageError(f"{path}: is damaged ({one_line(error)}); delete it and run `dvc repro`") from error
