"""What the studies of params.yaml have left on disk, read and checked against the experiments that are there now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from items.errors import one_line
from pipelines.compare.experiments import Entry
from pipelines.project import Project, StageError
from pipelines.settings.params import Params
from pipelines.studies.contract import Study, read_study


@dataclass(frozen=True)
class Result:
    """A study with its pictures by file name, and the experiments of params.yaml among what it was made from."""

    study: Study
    pictures: Mapping[str, Path]
    experiments: tuple[str, ...]

    @property
    def page(self) -> str:
        """Where its page is, from the report's folder."""
        return f"studies/{self.study.place}.html"


def read_results(project: Project, params: Params, entries: Sequence[Entry]) -> list[Result]:
    """Return every study of params.yaml, in the order that it has there.

    Raises:
        StageError: a study's files are missing or damaged, or it measured other bundles than those of `entries`.
    """
    by_name = {entry.name: entry for entry in entries}
    places = [place.partition(".") for place in params.studies.all()]
    return [read_result(project, kind, name, by_name) for kind, _, name in places]


def read_result(project: Project, kind: str, name: str, entries: Mapping[str, Entry]) -> Result:
    """Read one study; see :func:`read_results`."""
    folder = project.study(kind, name)
    study = read_study(folder)
    remedy = f"run `python -m pipelines.studies.{kind} {name}`"
    if (study.kind, study.name) != (kind, name):
        held = one_line(f"{study.kind}.{study.name}", 100)
        raise StageError(f"{folder}: holds the study {held}, not {kind}.{name}; {remedy}")
    pictures = {picture.file: folder / picture.file for picture in study.pictures}
    for path in pictures.values():
        if not path.is_file():
            raise StageError(f"{path}: the study names this picture, and it is not there; {remedy}")
    measured = [experiment for experiment in study.made_from if experiment in entries]
    for experiment in measured:
        given, manifest = study.made_from[experiment], entries[experiment].manifest
        if given not in (manifest.digest, manifest.weights_digest):
            raise StageError(
                f"studies.{kind}.{name}: worked from {experiment} as {given[:12] or 'nothing'}, what is there now is "
                f"{manifest.digest[:12]}; {remedy}"
            )
    return Result(study, pictures, tuple(measured))
