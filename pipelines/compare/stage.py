"""compare: every experiment side by side: leaderboard, rate-distortion pictures, and a report with the studies' pages.

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
from pipelines.compare.experiments import Entry, read_entries
from pipelines.compare.rate_distortion import draw_rate_distortion, panels_of
from pipelines.compare.report import render_report, render_study
from pipelines.project import Project
from pipelines.settings.params import load_params
from pipelines.studies.results import Result, read_results

Row = dict[str, str | float | None]

FIGURES = ("mse", "psnr", "ssim", "knn_accuracy", "probe_accuracy", "codebook_usage", "codebook_usage_worst",
           "codebook_perplexity", "codebook_perplexity_worst", "distinct_codes", "distinct_code_share",
           "entropy_per_position", "entropy_per_item", "active_fraction", "encode_items_per_second")  # fmt: skip


def main() -> None:
    """Compare every experiment of params.yaml, and show its studies."""
    project = Project.here()
    params = load_params(project)
    entries = read_entries(project, params)
    studies = read_results(project, params, entries)
    rows = [leaderboard_row(entry) for entry in entries]
    write_reports(project.reports, entries, rows, studies)
    for row in rows:
        error = "" if row["squared_error"] is None else f", squared error {row['squared_error']:.4g}"
        sys.stdout.write(f"{row['experiment']}: {row['bits_per_item']:g} bits an item{error}\n")


def leaderboard_row(entry: Entry) -> Row:
    """Return an experiment's row; what was not measured is None."""
    low, high = entry.interval("squared_error") or (None, None)
    return {
        "experiment": entry.name,
        "dataset": entry.dataset,
        **entry.kinds,
        "bits_per_item": entry.metrics.bits_per_item,
        "squared_error": entry.figure("squared_error"),
        "squared_error_low": low,
        "squared_error_high": high,
        **{key: entry.figure(key) for key in FIGURES},
        "collapsed": entry.collapsed or None,
        "parameters": entry.record.parameters,
        "trials": len(entry.record.trials),
        "trial_seconds": entry.record.trial_seconds,
    }


def write_reports(folder: Path, entries: Sequence[Entry], rows: Sequence[Row], studies: Sequence[Result]) -> None:
    """Write reports/: whole, or not at all."""
    with written_whole(folder) as made:
        (made / "leaderboard.json").write_text(json.dumps(rows, indent=1) + "\n")
        write_table(made / "leaderboard.csv", list(rows[0]), rows)
        rebuilt = [row for row in rows if row["squared_error"] is not None]
        write_table(made / "rate_distortion.csv", ["experiment", "dataset", "bits_per_item", "squared_error"], rebuilt)
        pictures = dict(draw_pictures(entries, made))
        (made / "index.html").write_text(render_report(entries, pictures, studies), encoding="utf-8")
        for result in studies:
            page = made / result.page
            page.parent.mkdir(exist_ok=True)
            page.write_text(render_study(result), encoding="utf-8")


def draw_pictures(entries: Sequence[Entry], folder: Path) -> Iterator[tuple[str, Path]]:
    """Draw each dataset's rate-distortion picture where there is anything to draw; yield the dataset and the file."""
    for dataset, group in groupby(entries, key=lambda entry: entry.dataset):
        if panels_of(shown := list(group)):
            draw_rate_distortion(shown, path := folder / f"rate_distortion-{dataset}.png")
            yield dataset, path


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write rows as CSV; None is an empty cell."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
