from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from components.data import DatasetSchema, write_dataset
from components.data.digits import DigitsSettings
from pipelines.compare import Entry, entry_of, write_reports
from pipelines.project import Project, StageError
from pipelines.rate_distortion import pareto
from pipelines.record import EpochRecord, RunRecord, TrialRecord
from pipelines.report import findings
from serving.manifest import BatchCheck, Certificate, CodeContract, Graph, ItemContract, Manifest, TensorSpec


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> DatasetSchema:
    folder = tmp_path_factory.mktemp("data")
    raw = DigitsSettings().load("digits", 0, folder, folder)
    return write_dataset(folder / "digits", "digits", raw.item, raw.splits, raw.classes, "<b>here</b>", "free")


def entry(schema: DatasetSchema, folder: Path, name: str, error: float, width: float, bits: float = 256) -> Entry:
    """An experiment whose squared error is `error`, give or take half of `width`."""
    history = tuple(EpochRecord(epoch=n, timestamp=1000 * n, metrics={"e": error + 3 - n}) for n in (1, 2, 3))
    path = "model.training.learning_rate"
    trial = TrialRecord(number=1, parameters={path: 0.01}, status="finished", started=0, history=history)
    settings = {
        "kind": "autoencoder",
        "network": {"kind": "mlp", "hidden": [4]},
        "bottleneck": {"kind": "identity", "size": 8},
    }
    record = RunRecord.model_validate(
        {
            "experiment": name,
            "dataset": "digits",
            "data_digest": schema.digest,
            "key": "k" * 64,
            "seed": 0,
            "budget": "quick",
            "epochs": 3,
            "objective": "e",
            "settings": {"dataset": "digits", "model": settings},
            "space": {path: "0.001 … 0.1 (log)"},
            "trials": (trial,),
            "best_trial": 1,
            "best_epoch": 3,
            "model": settings,
            "weights_sha256": "w" * 64,
            "parameters": 1234,
            "versions": {},
        }
    )
    items, codes = (TensorSpec(name=n, dtype=d, shape=s) for n, d, s in [  # type: ignore[arg-type]
        ("items", "uint8", (None, 8, 8, 1)), ("codes", "float32", (None, 8)),
    ])  # fmt: skip
    check = BatchCheck(
        batch=1,
        items=1,
        encoder_difference=1e-7,
        codes_different=0,
        codes_different_beyond_ties=0,
        decoder_difference=0,
    )
    manifest = Manifest(
        name=name,
        item=ItemContract(kind="image", shape=(8, 8, 1), dtype="uint8"),
        code=CodeContract(shape=(8,), dtype="float32", levels=None, bits_per_item=bits),
        encoder=Graph(file="encoder.onnx", sha256="", inputs=(items,), outputs=(codes,)),
        decoder=None,
        certificate=Certificate(
            passed=True, failures=(), batches=(check,), tolerance=1, tie_bound=1, random_operators=()
        ),
        versions={},
        data_digest="",
        settings_digest="",
        weights_digest="",
        digest="d" * 64,
    )
    metrics = {
        "squared_error": error,
        "encode_items_per_second": 1e5,
        "intervals": {"squared_error": [error - width / 2, error + width / 2]},
    }
    run, plots = folder / "runs" / name, folder / "plots" / name
    for made in (run / "history.png", plots / "codes.png"):
        made.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(made)
    return Entry(record, schema, manifest, metrics, run, plots)


def test_the_leaderboard_says_what_was_measured_and_null_for_the_rest(schema: DatasetSchema, tmp_path: Path) -> None:
    entries = [entry(schema, tmp_path, "a", 2.0, 0.5), entry(schema, tmp_path, "b", 3.0, 0.5, bits=128)]
    write_reports(entries, tmp_path / "reports")
    rows = json.loads((tmp_path / "reports" / "leaderboard.json").read_text())
    assert [row["experiment"] for row in rows] == ["a", "b"]
    first = rows[0]
    assert (first["squared_error"], first["squared_error_low"], first["squared_error_high"]) == (2.0, 1.75, 2.25)
    assert (first["network"], first["bottleneck"], first["parameters"]) == ("mlp", "identity", 1234)
    assert first["trial_seconds"] == 3.0
    assert first["knn_accuracy"] is None
    assert first["codebook_usage"] is None
    with (tmp_path / "reports" / "leaderboard.csv").open() as file:
        table = list(csv.DictReader(file))
    assert table[1]["bits_per_item"] == "128.0"
    assert table[1]["ssim"] == ""


def test_a_finding_is_as_sure_as_the_intervals_allow(schema: DatasetSchema, tmp_path: Path) -> None:
    apart = [entry(schema, tmp_path, "a", 2.0, 0.5), entry(schema, tmp_path, "b", 3.0, 0.5)]
    assert findings(apart)[0] == ("a loses least: squared error 2.00 at 256 bits an item, beyond the 95 % intervals.")
    level = [entry(schema, tmp_path, "a", 2.0, 0.5), entry(schema, tmp_path, "b", 2.3, 0.5)]
    assert (
        findings(level)[0] == "a loses least: squared error 2.00 at 256 bits an item; b cannot be told apart from it."
    )


def test_only_a_figure_that_is_best_beyond_doubt_is_bold(schema: DatasetSchema, tmp_path: Path) -> None:
    for width, bold in ((0.1, 1), (5.0, 0)):
        entries = [entry(schema, tmp_path, "a", 2.0, width), entry(schema, tmp_path, "b", 3.0, width)]
        write_reports(entries, tmp_path / "reports")
        table = (tmp_path / "reports" / "index.html").read_text().split("</table>")[0]
        assert table.count('class="best"') == bold


def test_the_report_needs_nothing_but_itself_and_escapes_what_it_shows(schema: DatasetSchema, tmp_path: Path) -> None:
    write_reports(
        [entry(schema, tmp_path, "a", 2.0, 0.5), entry(schema, tmp_path, "b", 3.0, 0.5)], tmp_path / "reports"
    )
    page = (tmp_path / "reports" / "index.html").read_text()
    for target in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert target.startswith(("#", "data:image/png;base64,"))
    assert "&lt;b&gt;here" in page
    assert "<b>here" not in page
    assert ".venv/bin/hourglass encode data/digits/test-items.npy --model bundles/a --out codes/a" in page
    assert page.count("<img") == page.count("alt=")


def test_the_same_experiments_give_the_same_bytes(schema: DatasetSchema, tmp_path: Path) -> None:
    entries = [entry(schema, tmp_path, "a", 2.0, 0.5), entry(schema, tmp_path, "b", 3.0, 0.5)]
    write_reports(entries, tmp_path / "one")
    write_reports(entries, tmp_path / "two")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    rows = [
        {"bits_per_item": bits, "squared_error": error, "experiment": name}
        for name, bits, error in [("a", 10, 5), ("b", 20, 6), ("c", 30, 4), ("d", 30, 3), ("e", 40, 3)]
    ]
    assert [row["experiment"] for row in pareto(rows)] == ["a", "d"]


@pytest.mark.parametrize("content", [None, "", "{}", '{"intervals": 3}'])
def test_missing_or_damaged_metrics_are_named_with_their_remedy(content: str | None, tmp_path: Path) -> None:
    project = Project(tmp_path, tmp_path)
    project.metrics("a").parent.mkdir()
    if content is not None:
        project.metrics("a").write_text(content)
    with pytest.raises(StageError, match=r"metrics/a.json: missing or damaged .* run `dvc repro evaluate@a`"):
        entry_of(project, "a")
