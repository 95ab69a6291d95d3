"""compare: the files that it writes, and those that it refuses."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lab import ITEMS, PER_ITEM, VQVAE, Lab, read, spread, write
from sandbox import REPOSITORY

from pipelines.compare import stage as compare
from pipelines.compare.summary import read_summary
from pipelines.evaluate.results import VALUES, write_values
from pipelines.metrics.significance import interval
from pipelines.project import StageError

OF_TEXTS = (
    "surprisal",
    "word_perplexity",
    "precision_at_1",
    "precision_at_10",
    "precision_at_100",
    "macro_precision_at_10",
    "mean_average_precision",
)


def test_a_row_holds_the_results_of_every_stage(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.experiment("vq", model=VQVAE, bits=80)
    reports = lab.compare(monkeypatch)
    (row,) = json.loads((reports / "leaderboard.json").read_text())
    intervals: dict[str, float | None] = dict.fromkeys(
        [*OF_TEXTS, *(f"{metric}_{end}" for metric in ("active_fraction", *OF_TEXTS) for end in ("low", "high"))]
    )
    for metric in ("word_perplexity", "macro_precision_at_10"):  # no means over items
        del intervals[f"{metric}_low"], intervals[f"{metric}_high"]
    for metric, given in PER_ITEM.items():
        intervals[f"{metric}_low"], intervals[f"{metric}_high"] = interval(spread(given))
    assert row == intervals | {
        "experiment": "vq",
        "dataset": "digits",
        "model": "autoencoder",
        "corruption": None,
        "network": "conv",
        "bottleneck": "vector_quantizer",
        "penalties": None,
        "bits_per_item": 80,
        "squared_error": pytest.approx(4.0),
        "mse": pytest.approx(0.0625),
        "psnr": pytest.approx(12.0),
        "ssim": pytest.approx(0.8),
        "knn_accuracy": pytest.approx(0.95),
        "probe_accuracy": pytest.approx(0.9),
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
        "dataset,experiment,bits_per_item,squared_error\ndigits,vq,80.0,4.0\n"
    )


def test_a_metric_that_does_not_apply_is_null_and_empty(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    none: dict[str, Any] = dict.fromkeys(PER_ITEM)
    lab.experiment("blind", **none)
    reports = lab.compare(monkeypatch)
    (row,) = json.loads((reports / "leaderboard.json").read_text())
    absent = {*PER_ITEM, "codebook_usage", "codebook_perplexity"}
    absent |= {f"{metric}_{end}" for metric in (*PER_ITEM, "active_fraction") for end in ("low", "high")}
    absent |= {"codebook_usage_worst", "codebook_perplexity_worst", "distinct_codes", "distinct_code_share"}
    absent |= {"entropy_per_position", "entropy_per_item", "collapsed", *OF_TEXTS}
    absent |= {f"{key}_{end}" for key in OF_TEXTS for end in ("low", "high")}
    absent -= {f"{key}_{end}" for key in ("word_perplexity", "macro_precision_at_10") for end in ("low", "high")}
    absent |= {"active_fraction", "corruption", "network", "bottleneck", "penalties"}
    assert {key for key, value in row.items() if value is None} == absent
    (line,) = csv.DictReader((reports / "leaderboard.csv").read_text().splitlines())
    assert {key for key, value in line.items() if value == ""} == absent
    assert (reports / "rate_distortion.csv").read_text().count("\n") == 1
    assert not list(reports.glob("*.png"))


def test_rows_go_by_dataset_and_then_by_error_with_those_without_one_last(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.dataset("another", classes=None)
    lab.experiment("worse", squared_error=(5.0, 0.1))
    lab.experiment("blind", squared_error=None)
    lab.experiment("better", squared_error=(3.0, 0.1))
    lab.experiment("elsewhere", "another", squared_error=(9.0, 0.1))
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
        "rate_distortion-digits.png", "studies/digits-one.html", "summary.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("{", "Invalid JSON"),
        ('{"bits_per_item": 8, "evidence": [], "collapsed": []}', "intervals: Field required"),
        ('{"bits_per_item": 8, "intervals": {}, "evidence": []}', "collapsed: Field required"),
        (
            '{"bits_per_item": 8, "intervals": {}, "evidence": [{"bundle": "", "items": 1, "codes_sha256": ""}],'
            '"collapsed": [], "mse": NaN}',
            "mse: Input should be a finite number",
        ),
    ],
)
def test_a_bad_metrics_file_is_named_and_leaves_the_old_report(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, content: str | None, reason: str
) -> None:
    lab.experiment("one")
    before = (lab.compare(monkeypatch) / "index.html").read_bytes()
    path = lab.project.metrics("digits", "one")
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(StageError) as caught:
        compare.main()
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert "run `python -m pipelines.evaluate digits --only one`" in str(caught.value)
    assert (lab.project.reports / "index.html").read_bytes() == before


def test_metrics_of_another_bundle_are_refused(lab: Lab) -> None:
    lab.experiment("one")
    path = lab.project.metrics("digits", "one")
    document = json.loads(path.read_text())
    document["evidence"][0]["bundle"] = "f" * 64
    path.write_text(json.dumps(document))
    with pytest.raises(
        StageError,
        match=r"digits\.one: evaluate worked from ffffffffffff.*run `python -m pipelines.evaluate digits --only one`",
    ):
        read(lab)


@pytest.mark.parametrize(
    "values",
    [
        {"squared_error": spread((4.1, 0.1))},
        {"squared_error": spread((4.0, 0.1))[: ITEMS // 2]},
        {},
    ],
)
def test_values_that_are_not_those_of_the_metrics_are_refused(lab: Lab, values: dict[str, Any]) -> None:
    others: dict[str, Any] = dict.fromkeys(PER_ITEM)
    lab.experiment("one", **others | {"squared_error": (4.0, 0.1)})
    read(lab)
    write_values(lab.project.evaluation("digits", "one") / VALUES, values)
    expected = r"squared_error is not the mean of its values of the 40 test items; run `python -m pipelines\.evaluate "
    with pytest.raises(StageError, match=expected):
        read(lab)


def test_the_summary_changes_with_all_that_mlflow_shows(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def contents() -> tuple[str, str]:
        lab.compare(monkeypatch)
        summary = read_summary(lab.project)
        return summary.experiments[0].content, summary.studies[0].content

    lab.experiment("one")
    lab.study("same", "one", "one")
    before = contents()
    assert contents() == before
    lab.experiment("one", knn_accuracy=(0.96, 0.01))
    metric = contents()
    lab.experiment("one", knn_accuracy=(0.96, 0.01), collapsed=("1 code for 40 different items",))
    collapsed = contents()
    write(
        lab.project.run("digits", "one") / "history.png",
        (lab.project.run("digits", "one") / "history.png").read_bytes() + b"more",
    )
    picture = contents()
    assert len({before[0], metric[0], collapsed[0], picture[0]}) == 4
    assert {metric[1], collapsed[1], picture[1]} == {before[1]}
    lab.study("same", "one", "one", summary="Hardly.")
    text = contents()
    write(lab.project.study("digits", "same") / "angles.png", b"another")
    assert len({before[1], text[1], contents()[1]}) == 3


def test_every_dataset_has_its_own_picture_where_anything_can_be_drawn(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.dataset("blank", classes=None)
    lab.dataset("other", classes=None)
    lab.experiment("one")
    lab.experiment("nothing", "blank", **dict.fromkeys(PER_ITEM))
    lab.experiment("two", "other", knn_accuracy=None, probe_accuracy=None)
    reports = lab.compare(monkeypatch)
    assert {path.name for path in reports.glob("*.png")} == {"rate_distortion-digits.png", "rate_distortion-other.png"}


def test_compare_needs_neither_mlflow_nor_ray() -> None:
    code = "import sys, pipelines.compare.stage; print(sorted({'mlflow', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
