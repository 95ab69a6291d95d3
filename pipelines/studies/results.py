"""The results of the studies of params.yaml on disk, read and checked against the experiments that are there now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from items.errors import one_line
from pipelines.project import Project, StageError
from pipelines.settings.params import Params
from pipelines.studies.contract import Study, read_study, remedy
from serving.manifest import read_manifest


@dataclass(frozen=True)
class StudyResult:
    """A study with its pictures by file name, and the experiments of params.yaml that it was made from."""

    study: Study
    pictures: Mapping[str, Path]
    experiments: tuple[str, ...]

    @property
    def page(self) -> str:
        """Its page, from the report's folder."""
        return f"studies/{self.study.dataset}-{self.study.name}.html"


def read_studies(project: Project, params: Params) -> list[StudyResult]:
    """Return every study of params.yaml, in the order that it has there.

    Raises:
        StageError: a study's files are missing or damaged, or it was made from other bundles than those that are there.
        BundleError: a bundle is missing or damaged.
    """
    return [
        read_result(project, dataset, name, params.experiments.get(dataset, {}))
        for dataset, studies in params.studies.items()
        for name in studies
    ]


def read_result(project: Project, dataset: str, name: str, experiments: Mapping[str, object]) -> StudyResult:
    """Read one study of a dataset with these experiments; see :func:`read_studies`."""
    folder = project.study(dataset, name)
    study = read_study(folder)
    if (study.dataset, study.name) != (dataset, name):
        found = one_line(f"{study.dataset}.{study.name}", 100)
        raise StageError(f"{folder}: holds the study {found}, must be {dataset}.{name}; {remedy(folder)}")
    pictures = {picture.file: folder / picture.file for picture in study.pictures}
    for path in pictures.values():
        if not path.is_file():
            raise StageError(f"{path}: the study names this picture, and it is not there; {remedy(folder)}")
    for error in _stale(project, study, experiments):
        raise StageError(f"studies.{dataset}.{name}: {error}; {remedy(folder)}")
    return StudyResult(study, pictures, tuple(name for name in study.made_from if name in experiments))


def _stale(project: Project, study: Study, experiments: Mapping[str, object]) -> Iterator[str]:
    """Yield the experiments whose bundle is not the one that the study was made from."""
    for name, digest in study.made_from.items():
        if name in experiments:
            manifest = read_manifest(project.bundle(study.dataset, name))
            if digest not in (manifest.digest, manifest.weights_digest):
                yield f"was made from {name} as {digest[:12] or 'nothing'}, it is {manifest.digest[:12]} now"
