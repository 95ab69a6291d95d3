"""register: project every experiment's outputs into MLflow. Run it as often as you like: only what is missing is made.

python -m pipelines.register
"""

from __future__ import annotations

import json
import subprocess
import sys

from ruamel.yaml import YAML

from components.data import open_dataset
from pipelines.project import Project, StageError, stage
from pipelines.record import digest_of, read_record
from pipelines.settings import load_params
from pipelines.tracking.projection import Projection
from pipelines.tracking.store import Store, answered
from serving.manifest import read_manifest


def main() -> None:
    """Register every experiment of params.yaml."""
    project = Project.here()
    projections = [projection_of(project, name) for name in load_params(project).experiments]
    store = Store.of(project.home)
    with answered(store):
        for projection in projections:
            written = projection.apply(store)
            sys.stdout.write(f"{projection.record.experiment}: {', '.join(written) or 'nothing new'}\n")


def projection_of(project: Project, name: str) -> Projection:
    """Gather one experiment from disk.

    Raises:
        StageError: its bundle has no passing certificate, or something is missing or damaged.
    """
    record = read_record(project.run(name))
    manifest = read_manifest(project.bundle(name))
    if not manifest.certificate.passed:
        reasons = "; ".join(manifest.certificate.failures)
        raise StageError(f"{project.bundle(name)}: not registered, its certificate did not pass: {reasons}")
    return Projection(
        record=record,
        schema=open_dataset(project.data(record.dataset)).schema,
        manifest=manifest,
        bundle=project.bundle(name),
        metrics=json.loads(project.metrics(name).read_text()),
        pictures=tuple(sorted([*project.plots(name).glob("*.png"), *project.run(name).glob("*.png")])),
        origin={"git_commit": git_commit(project), "dvc_stage": dvc_stage(project, name)},
    )


def git_commit(project: Project) -> str:
    """Return the commit of the working copy, with `+changes` where it is not clean; `none` without one."""
    commands = (["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"])
    head, changes = (subprocess.run(c, cwd=project.root, capture_output=True, text=True) for c in commands)
    if head.returncode:
        return "none"
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


def dvc_stage(project: Project, name: str) -> str:
    """Return a digest of what dvc.lock holds of the experiment's stages: commands, dependencies, outputs."""
    path = project.root / "dvc.lock"
    stages = YAML(typ="safe").load(path.read_text())["stages"] if path.is_file() else {}
    mine = {stage: entry for stage, entry in stages.items() if stage.endswith(f"@{name}")}
    return digest_of(mine) if mine else "none"


if __name__ == "__main__":
    stage(main)
