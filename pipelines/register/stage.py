"""register: project every experiment and study into MLflow. Run it as often as you like: only what is missing is made.

python -m pipelines.register
"""

from __future__ import annotations

import sys
from typing import Any

from ruamel.yaml import YAML

from items.errors import one_line
from pipelines.compare.experiments import read_entries
from pipelines.project import Project, StageError
from pipelines.settings.params import load_params
from pipelines.studies.results import read_results
from pipelines.sweep.record import digest_of
from pipelines.tracking.projection import Projection
from pipelines.tracking.store import Store, answered
from pipelines.tracking.studied import StudyProjection


def main() -> None:
    """Register every experiment and every study of params.yaml.

    Raises:
        StageError: an experiment's or a study's files do not belong together, or a certificate did not pass; or MLflow
            is away.
    """
    project = Project.here()
    params = load_params(project)
    entries = read_entries(project, params)
    studies = read_results(project, params, entries)
    for entry in entries:
        if not entry.manifest.certificate.passed:
            reasons = "; ".join(entry.manifest.certificate.failures)
            raise StageError(f"{entry.name}: not registered, its certificate did not pass: {reasons}")
    stages = dvc_stages(project)
    store = Store.of(project.home)
    with answered(store):
        for entry in entries:
            with store.alone():  # what another register has just made is found, and not made again
                written = Projection(entry, project.bundle(entry.name), stages.get(entry.name, "none")).apply(store)
            sys.stdout.write(f"{entry.name}: {', '.join(written) or 'nothing new'}\n")
        measured = max(trial.ended for entry in entries for trial in entry.record.trials)
        for result in studies:
            with store.alone():
                written = StudyProjection(result, measured).apply(store)
            sys.stdout.write(f"{result.study.place}: {', '.join(written) or 'nothing new'}\n")


def dvc_stages(project: Project) -> dict[str, str]:
    """Return by experiment a digest of what dvc.lock holds of its stages: commands, dependencies, outputs.

    Raises:
        StageError: dvc.lock is damaged.
    """
    path = project.root / "dvc.lock"
    if not path.is_file():
        return {}
    try:
        stages = YAML(typ="safe").load(path.read_text(encoding="utf-8"))["stages"]
        mine: dict[str, dict[str, Any]] = {}
        for stage_name, entry in stages.items():
            mine.setdefault(stage_name.partition("@")[2], {})[stage_name] = entry
        return {name: digest_of(entries) for name, entries in mine.items()}
    except Exception as error:  # a parser, given anything at all, raises anything at all
        raise StageError(f"{path}: is damaged ({one_line(error)}); delete it and run `dvc repro`") from error
