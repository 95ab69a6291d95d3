"""evaluate: the metrics of bundles on the whole test split, through ONNX Runtime.

python -m pipelines.evaluate DATASET [--only EXPERIMENT]…
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence

from components.data.contract import SCHEMA_FILE
from components.data.schema import read_schema
from pipelines.evaluate.throughput import KEY, throughput
from pipelines.evaluate.work import DOCUMENT, evaluate
from pipelines.project import Project, model_name
from pipelines.settings.params import load_params
from pipelines.units.key import code_digest, digest_of
from pipelines.units.run import run_units
from pipelines.units.storage import Storage
from pipelines.units.unit import Unit, delete_others
from serving.bundle import Bundle
from serving.manifest import read_manifest

SECONDS, SECONDS_A_FEATURE = 3.0, 0.02  # on 55,000 training and 10,000 test items of MNIST, one core


def main(dataset: str, only: Sequence[str] = ()) -> None:
    """Evaluate the bundles of a dataset's experiments."""
    project = Project.here()
    params = load_params(project)
    names = list(params.experiments_of(dataset, only))
    run_units(project, [plan(project, dataset, name, params.seed) for name in names])
    for name in names:  # timed here, after the others have ended, so that nothing else takes the machine's time
        write_metrics(project, dataset, name)
    for place in (project.evaluation, project.metrics):
        delete_others(place(dataset, "any").parent, params.experiments_of(dataset))


def plan(project: Project, dataset: str, name: str, seed: int) -> Unit:
    """Return the unit that evaluates an experiment."""
    bundle, data = project.bundle(dataset, name), project.data(dataset)
    manifest = read_manifest(bundle)
    features = math.prod(size or 1 for size in manifest.encoder.outputs[-1].shape[1:])
    return Unit(
        name=model_name(dataset, name),
        key=digest_of(code_digest(evaluate.__module__), manifest.digest, read_schema(data / SCHEMA_FILE).digest, seed),
        work=evaluate,
        place=project.evaluation(dataset, name),
        arguments={"seed": seed},
        inputs={"bundle": bundle, "data": data},
        seconds=SECONDS + SECONDS_A_FEATURE * features,
    )


def write_metrics(project: Project, dataset: str, name: str) -> None:
    """Write metrics/<dataset>/<experiment>.json, the throughput included, where it is not there yet."""
    evaluation, path = project.evaluation(dataset, name), project.metrics(dataset, name)
    document = json.loads((evaluation / DOCUMENT).read_bytes())
    place = evaluation.with_name(f"{name}.throughput")
    document[KEY] = throughput(Bundle.load(project.bundle(dataset, name)), project.data(dataset), place)
    content = json.dumps(document, indent=1).encode()
    if not path.is_file() or path.read_bytes() != content:
        Storage(path.parent).write(path.name, content)
    shown = [f"{key} {value:.4g}" for key, value in document.items() if isinstance(value, float)]
    shown += [f"collapsed: {reason}" for reason in document["collapsed"]]
    sys.stdout.write(f"{model_name(dataset, name)}: {', '.join(shown)}\n")
