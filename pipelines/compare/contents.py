"""The summary for `register`: a digest of all that MLflow shows of each experiment and study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from components.data.contract import SCHEMA_FILE
from items.digests import json_digest, sha256_of
from pipelines.compare.experiments import ExperimentResult
from pipelines.compare.summary import ExperimentSummary, StudySummary, Summary, digests_of
from pipelines.project import Project
from pipelines.studies.contract import STUDY
from pipelines.studies.results import StudyResult
from pipelines.sweep.record import RECORD
from serving.manifest import MANIFEST


def summarize(project: Project, results: Sequence[ExperimentResult], studies: Sequence[StudyResult]) -> Summary:
    """Return the summary of the experiments and studies that were read from a project."""
    files = sorted(str(path.relative_to(project.root)) for path in _sources(project, results, studies))
    return Summary(
        experiments=tuple(map(_summary, results)),
        studies=tuple(StudySummary(s.study.dataset, s.study.name, _study_content(s)) for s in studies),
        files=digests_of(project, dict.fromkeys(files)),
    )


def _sources(project: Project, results: Sequence[ExperimentResult], studies: Sequence[StudyResult]) -> Iterator[Path]:
    for result in results:
        place = result.dataset, result.name
        yield project.data(result.dataset) / SCHEMA_FILE
        yield project.run(*place) / RECORD
        yield project.bundle(*place) / MANIFEST
        yield project.metrics(*place)
    for one in studies:
        yield project.study(one.study.dataset, one.study.name) / STUDY


def _summary(result: ExperimentResult) -> ExperimentSummary:
    pictures = {name: sha256_of(path) for name, path in result.pictures.items()}
    shown = (result.record.key, result.manifest.digest, result.metrics.values, result.metrics.collapsed, pictures)
    return ExperimentSummary(
        dataset=result.dataset,
        name=result.name,
        model=result.model,
        key=result.record.key,
        trials={str(trial.number): trial.status for trial in result.record.trials},
        content=json_digest(shown),
        bundle=result.manifest.digest,
        collapsed=bool(result.metrics.collapsed),
    )


def _study_content(one: StudyResult) -> str:
    pictures = {name: sha256_of(path) for name, path in one.pictures.items()}
    return json_digest([one.study.model_dump(mode="json"), pictures])
