"""compare: all experiments side by side: a leaderboard, rate-distortion pictures, and a report with the studies.

python -m pipelines.compare
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from items.atomic import written_whole
from pipelines.compare.contents import summarize
from pipelines.compare.experiments import ExperimentResult, read_experiments
from pipelines.compare.leaderboard import Row, row
from pipelines.compare.rate_distortion import draw_rate_distortion, panels_of
from pipelines.compare.report import render_report, render_study
from pipelines.compare.summary import Summary
from pipelines.project import Project
from pipelines.settings.params import load_params
from pipelines.studies.results import StudyResult, read_studies


def main() -> None:
    """Compare all experiments of params.yaml, and show its studies."""
    project = Project.here()
    params = load_params(project)
    results = read_experiments(project, params.experiments)
    studies = read_studies(project, params)
    write_reports(project.reports, results, studies, summarize(project, results, studies))
    sys.stdout.write(f"{project.reports / 'index.html'}: experiments: {len(results)}, studies: {len(studies)}\n")


def write_reports(
    folder: Path, results: Sequence[ExperimentResult], studies: Sequence[StudyResult], summary: Summary
) -> None:
    """Write reports/: whole, or not at all."""
    rows = [row(result) for result in results]
    with written_whole(folder) as partial:
        (partial / "leaderboard.json").write_text(json.dumps(rows, indent=1) + "\n")
        write_table(partial / "leaderboard.csv", list(rows[0]), rows)
        points = [row for row in rows if row["squared_error"] is not None]
        write_table(
            partial / "rate_distortion.csv", ["dataset", "experiment", "bits_per_item", "squared_error"], points
        )
        pictures = dict(draw_pictures(results, partial))
        (partial / "index.html").write_text(render_report(results, pictures, studies), encoding="utf-8")
        for one in studies:
            page = partial / one.page
            page.parent.mkdir(exist_ok=True)
            page.write_text(render_study(one), encoding="utf-8")
        summary.write(partial)


def draw_pictures(results: Sequence[ExperimentResult], folder: Path) -> Iterator[tuple[str, Path]]:
    """Draw each dataset's rate-distortion picture where there is anything to draw; yield the dataset and the file."""
    for dataset, group in groupby(results, key=lambda result: result.dataset):
        if panels_of(shown := list(group)):
            draw_rate_distortion(shown, path := folder / f"rate_distortion-{dataset}.png")
            yield dataset, path


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write rows as CSV; None is an empty cell."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
