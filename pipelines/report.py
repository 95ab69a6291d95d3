"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.search import Value

if TYPE_CHECKING:
    from pipelines.compare import Entry

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard: which way is better, how it is written, and what it means."""

    key: str
    title: str
    better: int  # 1 higher, -1 lower, 0 neither
    form: str
    meaning: str


COLUMNS = (
    Column("bits_per_item", "bits", -1, "{:,.0f}", "What one item's code costs; a float code counts 32 bits a number."),
    Column(
        "squared_error", "squared error", -1, "{:.2f}", "Rebuilding error of one item, summed over its values (0-1)."
    ),
    Column("psnr", "PSNR", 1, "{:.1f}", "Peak signal-to-noise ratio in dB, mean over images."),
    Column("ssim", "SSIM", 1, "{:.3f}", "Structural similarity, 1 is identical, mean over images."),
    Column("knn_accuracy", "k-NN", 1, "{:.1%}", "Test items whose 5 nearest training codes vote for their class."),
    Column("probe_accuracy", "probe", 1, "{:.1%}", "Test items that logistic regression on codes gets right."),
    Column("codebook_usage", "codebook", 0, "{:.0%}", "Share of the codebook that the test split uses."),
    Column(
        "codebook_perplexity", "perplexity", 0, "{:.0f}", "As many codebook entries, evenly used, would say as much."
    ),
    Column("parameters", "parameters", 0, "{:,}", "Numbers in the model."),
    Column("trial_seconds", "training s", 0, "{:,.0f}", "Seconds of all trials of the sweep, summed."),
    Column(
        "encode_items_per_second", "items/s", 0, "{:,.0f}", "Encoded in memory through ONNX Runtime, on this machine."
    ),
)


def write_report(entries: list[Entry], rows: list[Row], folder: Path) -> None:
    """Write index.html into the reports' folder, its pictures inside it."""
    datasets = []
    pairs = zip(entries, rows, strict=True)
    for _, group in groupby(pairs, key=lambda pair: pair[0].schema.name):
        mine = list(group)
        columns = [c for c in COLUMNS if any(row[c.key] is not None for _, row in mine)]
        datasets.append(
            {
                "schema": mine[0][0].schema,
                "findings": findings([entry for entry, _ in mine]),
                "columns": columns,
                "table": [(entry, [cell(entry, row, c, mine) for c in columns]) for entry, row in mine],
                "entries": [entry for entry, _ in mine],
            }
        )
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"picture": picture, "shown": shown, "command": encode_command, "worst": worst}
    page = environment.get_template("report.html.j2").render(
        datasets=datasets, count=len(entries), rate_distortion=folder / "rate_distortion.png", meanings=COLUMNS
    )
    (folder / "index.html").write_text(page)


def cell(entry: Entry, row: Row, column: Column, group: list[tuple[Entry, Row]]) -> dict[str, Any]:
    """Return one cell: its text, its interval in words, and whether it is best beyond doubt."""
    value = row[column.key]
    if value is None:
        return {"text": "–", "interval": "", "best": False}
    interval = entry.interval(column.key)
    words = f"95 % interval {column.form.format(interval[0])} to {column.form.format(interval[1])}" if interval else ""
    rivals = [(e, r[column.key]) for e, r in group if e is not entry and r[column.key] is not None]
    best = bool(rivals) and column.better != 0 and all(apart(entry, value, column, *rival) for rival in rivals)
    return {"text": column.form.format(value), "interval": words, "best": best}


def apart(entry: Entry, value: float, column: Column, rival: Entry, other: float) -> bool:
    """Return whether a figure is better than a rival's beyond their 95 % intervals."""
    mine, theirs = entry.interval(column.key) or (value, value), rival.interval(column.key) or (other, other)
    return mine[1] < theirs[0] if column.better < 0 else mine[0] > theirs[1]


def findings(entries: list[Entry]) -> list[str]:
    """Say in plain words who is best at what, and only as sure as the intervals allow."""
    said = []
    for key, verb, form in (
        ("squared_error", "loses least", "squared error {:.2f}"),
        ("knn_accuracy", "keeps classes closest together", "{:.1%} by nearest neighbours"),
        ("probe_accuracy", "is easiest to read for a linear classifier", "{:.1%} by a linear probe"),
    ):
        column = next(c for c in COLUMNS if c.key == key)
        able = [entry for entry in entries if key in entry.metrics]
        ranked = sorted(able, key=lambda entry: -column.better * entry.metrics[key])
        if len(ranked) < 2:
            continue
        first, *rest = ranked
        level = [e.name for e in rest if not apart(first, first.metrics[key], column, e, e.metrics[key])]
        figure = form.format(first.metrics[key])
        cost = f"{first.manifest.code.bits_per_item:,.0f} bits"
        doubt = f"; {_list(level)} cannot be told apart from it" if level else ", beyond the 95 % intervals"
        said.append(f"{first.name} {verb}: {figure} at {cost} an item{doubt}.")
    cheapest = min(entries, key=lambda entry: entry.manifest.code.bits_per_item)
    raw = cheapest.schema.item.bits
    bits = cheapest.manifest.code.bits_per_item
    said.append(
        f"{cheapest.name} has the smallest code: {bits:,.0f} bits, {raw / bits:.1f} times less than a raw item."
    )
    return said


def picture(path: Path) -> str:
    """Return a PNG as a data URI; empty where there is none."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" if path.exists() else ""


def shown(value: Value) -> str:
    """Return a searched value as a person would write it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def encode_command(entry: Entry) -> str:
    """Return the command that encodes with an experiment's bundle."""
    items = entry.schema.splits["test"].arrays["items"].file
    data = f"data/{entry.schema.name}/{items}"
    return f".venv/bin/hourglass encode {data} --model bundles/{entry.name} --out codes/{entry.name}"


def worst(entry: Entry) -> str:
    """Return what the certificate found, in words."""
    checks = entry.manifest.certificate.batches
    difference = max(max(check.encoder_difference, check.decoder_difference) for check in checks)
    different = sum(check.codes_different for check in checks)
    sizes = ", ".join(str(check.batch) for check in checks)
    codes = f", {different} codes differ" if entry.manifest.code.levels else ""
    return f"largest relative difference {difference:.1g}{codes}, over batches of {sizes}"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
