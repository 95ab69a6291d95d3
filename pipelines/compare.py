"""compare: every experiment side by side, as a leaderboard, a rate-distortion picture and a report.

python -m pipelines.compare
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.data import DatasetSchema, open_dataset
from pipelines.project import Project, StageError, stage
from pipelines.rate_distortion import draw_rate_distortion
from pipelines.record import RunRecord, read_record
from pipelines.report import write_report
from pipelines.settings import load_params
from serving.manifest import Manifest, read_manifest

Row = dict[str, Any]

FIGURES = (
    "squared_error",
    "mse",
    "psnr",
    "ssim",
    "knn_accuracy",
    "probe_accuracy",
    "codebook_usage",
    "codebook_perplexity",
    "encode_items_per_second",
)


@dataclass(frozen=True)
class Entry:
    """One experiment, as its stages left it on disk."""

    record: RunRecord
    schema: DatasetSchema
    manifest: Manifest
    metrics: dict[str, Any]
    run: Path
    plots: Path

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.record.experiment

    def interval(self, figure: str) -> tuple[float, float] | None:
        """Return a figure's 95 % interval, where it is a mean over items."""
        low_high = self.metrics["intervals"].get(figure)
        return (low_high[0], low_high[1]) if low_high else None

    def row(self) -> Row:
        """Return the experiment's line in the leaderboard; what it does not have is null."""
        model = self.record.settings["model"]
        low, high = self.interval("squared_error") or (None, None)
        return {
            "experiment": self.name,
            "dataset": self.schema.name,
            "model": model["kind"],
            "network": model.get("network", {}).get("kind"),
            "bottleneck": model.get("bottleneck", {}).get("kind"),
            "bits_per_item": self.manifest.code.bits_per_item,
            **{figure: self.metrics.get(figure) for figure in FIGURES},
            "squared_error_low": low,
            "squared_error_high": high,
            "parameters": self.record.parameters,
            "trials": len(self.record.trials),
            "trial_seconds": round(self.record.trial_seconds, 1),
        }


def main() -> None:
    """Compare every experiment of params.yaml."""
    project = Project.here()
    entries = [entry_of(project, name) for name in load_params(project).experiments]
    entries.sort(key=lambda e: (e.schema.name, e.metrics.get("squared_error", float("inf")), e.name))
    write_reports(entries, project.reports)
    sys.stdout.write(f"{len(entries)} experiments compared in {project.reports / 'index.html'}\n")


def entry_of(project: Project, name: str) -> Entry:
    """Read one experiment's outputs.

    Raises:
        StageError: something is missing or damaged; names the file and what makes it anew.
    """
    path = project.metrics(name)
    try:
        metrics = json.loads(path.read_text())
        if not isinstance(metrics["intervals"], dict):
            raise TypeError("intervals is no mapping")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(f"{path}: missing or damaged ({error}); run `dvc repro evaluate@{name}`") from error
    record = read_record(project.run(name))
    return Entry(
        record=record,
        schema=open_dataset(project.data(record.dataset)).schema,
        manifest=read_manifest(project.bundle(name)),
        metrics=metrics,
        run=project.run(name),
        plots=project.plots(name),
    )


def write_reports(entries: list[Entry], folder: Path) -> None:
    """Write everything that compares experiments into `folder`: whole, or not at all."""
    rows = [entry.row() for entry in entries]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch, "reports")
        made.mkdir()
        (made / "leaderboard.json").write_text(json.dumps(rows, indent=1))
        write_csv(rows, list(rows[0]), made / "leaderboard.csv")
        rated = [row for row in rows if row["squared_error"] is not None]
        columns = ["experiment", "dataset", "bits_per_item", "squared_error"]
        write_csv(rated, columns, made / "rate_distortion.csv")
        draw_rate_distortion(rated, made / "rate_distortion.png")
        write_report(entries, rows, made)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)


def write_csv(rows: list[Row], columns: list[str], path: Path) -> None:
    """Write some columns of rows; a null is an empty field."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    stage(main)
