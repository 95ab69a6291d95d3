"""The report, the MLflow UI and a command that encodes: where to go after a run.

python -m pipelines.register.next_steps
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from components.data.contract import SCHEMA_FILE
from components.data.schema import read_schema
from pipelines.compare.summary import read_summary
from pipelines.project import Project, stage


def main() -> None:
    """Print three places to go from here, as commands to paste."""
    project = Project.here()
    experiments = read_summary(project).experiments
    one = next((one for one in experiments if not one.collapsed), experiments[0])  # a collapsed one has no champion
    schema = read_schema(project.data(one.dataset) / SCHEMA_FILE)
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    ui = server if server.startswith("http") else "make ui   (http://127.0.0.1:5000)"
    encode = f"hourglass encode {schema.encodable} --model models:/{one.model}@champion --out codes/{one.model}"
    sys.stdout.write(
        f"\nReport     {shown(project.reports / 'index.html')}\n"
        f"MLflow UI  {ui}\n"
        f"Encode     .venv/bin/{encode}\n"
    )  # fmt: skip


def shown(path: Path) -> str:
    """Return a path as it is typed in the current folder."""
    return os.path.relpath(path)


if __name__ == "__main__":
    stage(main)
