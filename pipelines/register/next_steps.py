"""Where everything is after a run: the report, the MLflow UI, and a command that encodes.

python -m pipelines.register.next_steps
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from components.data import open_dataset
from pipelines.compare.experiments import read_metrics
from pipelines.project import Project, stage
from pipelines.settings.params import load_params


def main() -> None:
    """Print three places to go from here, as commands to paste."""
    project = Project.here()
    params = load_params(project)
    names = list(params.experiments)
    sound = [name for name in names if not read_metrics(project.metrics(name)).collapsed]  # others have no champion
    name = (sound or names)[-1]
    dataset = open_dataset(project.data(params.experiment(name).dataset))
    items = dataset.folder / dataset.schema.splits["test"].arrays["items"].file
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    ui = server if server.startswith("http") else "make ui   (http://127.0.0.1:5000)"
    sys.stdout.write(
        f"\nReport     {shown(project.reports / 'index.html')}\n"
        f"MLflow UI  {ui}\n"
        f"Encode     .venv/bin/hourglass encode {shown(items)} --model models:/{name}@champion --out codes/{name}\n"
    )


def shown(path: Path) -> str:
    """Return a path as one would type it here."""
    return os.path.relpath(path)


if __name__ == "__main__":
    stage(main)
