"""export: the best models of a dataset's experiments as bundles with passing certificates.

python -m pipelines.export DATASET [--only EXPERIMENT]…
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from components.data.contract import SCHEMA_FILE
from components.data.schema import read_schema
from pipelines.export.work import export
from pipelines.project import Project, model_name
from pipelines.settings.params import load_params
from pipelines.sweep.record import read_record
from pipelines.units.key import code_digest, digest_of
from pipelines.units.run import run_units
from pipelines.units.unit import Unit, delete_others
from serving.manifest import read_manifest


def main(dataset: str, only: Sequence[str] = ()) -> None:
    """Export the best models of a dataset's experiments."""
    project = Project.here()
    params = load_params(project)
    names = list(params.experiments_of(dataset, only))
    run_units(project, [plan(project, dataset, name) for name in names])
    for name in names:
        summary = read_manifest(project.bundle(dataset, name)).certificate.summary
        sys.stdout.write(f"{model_name(dataset, name)}: certified; {summary}\n")
    delete_others(project.bundle(dataset, "any").parent, params.experiments_of(dataset))


def plan(project: Project, dataset: str, name: str) -> Unit:
    """Return the unit that exports an experiment."""
    run, data = project.run(dataset, name), project.data(dataset)
    record, schema = read_record(run), read_schema(data / SCHEMA_FILE)
    return Unit(
        name=model_name(dataset, name),
        key=digest_of(
            code_digest(export.__module__),
            model_name(dataset, name),
            record.model,
            record.weights_sha256,
            record.data_digest,
            schema.digest,
        ),
        work=export,
        place=project.bundle(dataset, name),
        arguments={"name": model_name(dataset, name)},
        inputs={"run": run, "data": data},
        seconds=3.0,
    )
