"""compare: what it writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lab import MEASURED, VQVAE, Lab, read
from sandbox import REPOSITORY

from pipelines.compare import stage as compare
from pipelines.project import StageError


def test_a_row_holds_what_each_stage_measured(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.experiment("vq", model=VQVAE, bits=80)
    reports = lab.compare(monkeypatch)
    (row,) = json.loads((reports / "leaderboard.json").read_text())
    assert row == {
        "experiment": "vq",
        "dataset": "digits",
        "model": "autoencoder",
        "corruption": None,
        "network": "conv",
        "bottleneck": "vector_quantizer",
        "penalties": None,
        "bits_per_item": 80,
        "squared_error": 4.0,
        "squared_error_low": 3.9,
        "squared_error_high": 4.1,
        "mse": 0.0625,
        "psnr": 12.0,
        "ssim": 0.8,
        "knn_accuracy": 0.95,
        "probe_accuracy": 0.9,
        "codebook_usage": 0.75,
        "codebook_usage_worst": 0.5,
        "codebook_perplexity": 20.5,
        "codebook_perplexity_worst": 0.5,
        "distinct_codes": 5,
        "distinct_code_share": 5 / 6,
        "entropy_per_position": 2.0,
        "entropy_per_item": 32.0,
        "active_fraction": None,
        "encode_items_per_second": 1234.5,
        "collapsed": None,
        "parameters": 321,
        "trials": 2,
        "trial_seconds": 2.5,
    }
    assert (reports / "rate_distortion.csv").read_text() == (
        "experiment,dataset,bits_per_item,squared_error\nvq,digits,80.0,4.0\n"
    )


def test_what_was_not_measured_is_null_and_empty(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    unmeasured: dict[str, Any] = dict.fromkeys(MEASURED)
    lab.experiment("blind", **unmeasured)
    reports = lab.compare(monkeypatch)
    (row,) = json.loads((reports / "leaderboard.json").read_text())
    absent = {*MEASURED, "squared_error_low", "squared_error_high", "codebook_usage", "codebook_perplexity"}
    absent |= {"codebook_usage_worst", "codebook_perplexity_worst", "distinct_codes", "distinct_code_share"}
    absent |= {"entropy_per_position", "entropy_per_item", "collapsed"}
    absent |= {"active_fraction", "corruption", "network", "bottleneck", "penalties"}
    assert {key for key, value in row.items() if value is None} == absent
    (line,) = csv.DictReader((reports / "leaderboard.csv").read_text().splitlines())
    assert {key for key, value in line.items() if value == ""} == absent
    assert (reports / "rate_distortion.csv").read_text().count("\n") == 1
    assert not list(reports.glob("*.png"))


def test_rows_go_by_dataset_and_then_by_error_with_the_unmeasured_last(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.dataset("another", classes=None)
    lab.experiment("worse", squared_error=(5.0, 4.9, 5.1))
    lab.experiment("blind", squared_error=None)
    lab.experiment("better", squared_error=(3.0, 2.9, 3.1))
    lab.experiment("elsewhere", "another", squared_error=(9.0, 8.9, 9.1))
    rows = json.loads((lab.compare(monkeypatch) / "leaderboard.json").read_text())
    assert [row["experiment"] for row in rows] == ["elsewhere", "better", "worse", "blind"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_inputs_give_the_same_bytes(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lab.experiment("one")
    lab.experiment("two", model=VQVAE, bits=80)
    lab.study("one", "one", "two")
    first = contents(lab.compare(monkeypatch))
    elsewhere = Path(shutil.copytree(tmp_path, tmp_path.with_name("elsewhere")))
    shutil.rmtree(elsewhere / "reports")
    monkeypatch.chdir(elsewhere)
    compare.main()
    assert contents(elsewhere / "reports") == first
    assert set(first) == {
        "index.html", "leaderboard.csv", "leaderboard.json", "rate_distortion.csv",
        "rate_distortion-digits.png", "studies/subspaces-one.html",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("{", "Invalid JSON"),
        ('{"bits_per_item": 8, "evidence": []}', "intervals: Field required"),
        ('{"bits_per_item": 8, "intervals": {}, "evidence": []}', "collapsed: Field required"),
        (
            '{"bits_per_item": 8, "intervals": {}, "evidence": [], "collapsed": [], "mse": NaN}',
            "mse: Input should be a finite number",
        ),
    ],
)
def test_a_bad_metrics_file_is_named_and_leaves_the_old_report(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, content: str | None, reason: str
) -> None:
    lab.experiment("one")
    before = (lab.compare(monkeypatch) / "index.html").read_bytes()
    path = lab.project.metrics("one")
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(StageError) as caught:
        compare.main()
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert "run `python -m pipelines.evaluate one`" in str(caught.value)
    assert (lab.project.reports / "index.html").read_bytes() == before


def test_figures_of_another_bundle_are_refused(lab: Lab) -> None:
    lab.experiment("one")
    path = lab.project.metrics("one")
    document = json.loads(path.read_text())
    document["evidence"][0]["bundle"] = "f" * 64
    path.write_text(json.dumps(document))
    with pytest.raises(
        StageError, match=r"one: evaluate worked from ffffffffffff.*run `python -m pipelines.evaluate one`"
    ):
        read(lab)


def test_every_dataset_has_its_own_picture_where_anything_can_be_drawn(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.dataset("blank", classes=None)
    lab.dataset("other", classes=None)
    lab.experiment("one")
    lab.experiment("nothing", "blank", **dict.fromkeys(MEASURED))
    lab.experiment("two", "other", knn_accuracy=None, probe_accuracy=None)
    reports = lab.compare(monkeypatch)
    assert {path.name for path in reports.glob("*.png")} == {"rate_distortion-digits.png", "rate_distortion-other.png"}


def test_compare_needs_neither_mlflow_nor_ray() -> None:
    code = "import sys, pipelines.compare.stage; print(sorted({'mlflow', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
