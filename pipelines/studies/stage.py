"""studies: the questions of a dataset's studies, each answered on a page; see :mod:`pipelines.studies.contract`.

python -m pipelines.studies DATASET [--only STUDY]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from components.data.contract import SCHEMA_FILE
from components.data.raw import Outline
from components.data.schema import read_schema
from items.atomic import write_file
from pipelines.cluster.confined import keep_forkable
from pipelines.project import Project, StageError
from pipelines.settings.params import Params, load_params
from pipelines.studies.contract import StudySettings, read_study
from pipelines.studies.plan import StudyPlan
from pipelines.units.run import run_units
from pipelines.units.unit import Unit, delete_others


def main(dataset: str, only: Sequence[str] = ()) -> None:
    """Run the studies of a dataset, or some of them.

    Raises:
        StageError: the settings of a study do not fit the dataset, or a study failed; the others are kept.
    """
    keep_forkable()
    project = Project.here()
    params = load_params(project)
    studies = params.studies_of(dataset, only)
    check(project, dataset, studies)
    pages = [page_unit(project, params, dataset, name, study) for name, study in studies.items()]
    run_units(project, [page for page in pages if not page.done()])
    for name in studies:
        study = read_study(project.study(dataset, name))
        write_file(project.study_metrics(dataset, name), (json.dumps(study.metrics, indent=1) + "\n").encode())
        sys.stdout.write(f"{name}: {study.summary}\n")
    for folder in (project.study(dataset, "any").parent, project.study_metrics(dataset, "any").parent):
        delete_others(folder, params.studies_of(dataset))


def check(project: Project, dataset: str, studies: Mapping[str, StudySettings]) -> None:
    """Check the settings of studies against the prepared dataset.

    Raises:
        StageError: some do not fit; a line each.
        DataError: the dataset is missing or damaged.
    """
    if not studies:
        return
    schema = read_schema(project.data(dataset) / SCHEMA_FILE)
    outline = Outline(schema.item, len(schema.classes) if schema.classes else None, schema.splits["train"].count)
    errors = [
        str(error.under(f"studies.{dataset}.{name}"))
        for name, study in studies.items()
        for error in study.errors(outline)
    ]
    if errors:
        raise StageError("params.yaml:\n  " + "\n  ".join(errors))


def page_unit(project: Project, params: Params, dataset: str, name: str, study: StudySettings) -> Unit:
    """Return the unit that writes the page of a study."""
    plan = StudyPlan(project, dataset, name, params.seed, params.budget, params.storage_of(project))
    return study.units(plan)
