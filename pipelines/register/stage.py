"""register: every experiment and study in MLflow. Run it as often as you like: only what is missing is written.

python -m pipelines.register
"""

from __future__ import annotations

import sys

from pipelines.compare.summary import Summary, read_summary
from pipelines.project import Project, StageError
from pipelines.tracking.present import is_projected, tracking_uri


def main() -> None:
    """Register every experiment and study that `compare` has read.

    Raises:
        StageError: `compare` has not run, or not on what is there now; a certificate did not pass; MLflow does not
            answer.
    """
    project = Project.here()
    summary = read_summary(project)
    check_files(project, summary)
    if is_projected(summary, tracking_uri(project.home)):
        sys.stdout.write(f"nothing new, experiments: {len(summary.experiments)}, studies: {len(summary.studies)}\n")
        return
    from pipelines.register.everything import register_everything  # takes seconds to import

    register_everything(project, summary)


def check_files(project: Project, summary: Summary) -> None:
    """Check that all files are those that `compare` has read.

    Raises:
        StageError: names one that is not.
    """
    for path in summary.changed(project):
        raise StageError(
            f"{project.root / path}: has changed since `compare` read it; run `python -m pipelines.compare`"
        )
