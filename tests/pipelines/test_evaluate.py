"""Evaluations: what is computed, what is kept, and what is computed again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trained
from PIL import Image

from components.data import PreparedDataset
from pipelines.evaluate import stage, throughput, work
from pipelines.evaluate.results import VALUES, parse_values, read_metrics, read_values
from pipelines.metrics.significance import interval
from pipelines.metrics.table import METRIC, METRICS, Metric
from pipelines.project import Project, StageError
from serving.bundle import Bundle, BundleError

DIGITS = {"kind": "digits", "validation": 100, "test": 300}
ITEMS_PER_SECOND = throughput.items_per_second
MODELS = {"pca": trained.PCA, "bits": trained.BITS}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, PreparedDataset]:
    """A project with two bundles."""
    return trained.export(tmp_path_factory.mktemp("project"), DIGITS, MODELS)


class Evaluated:
    """The project, evaluated again and again; `timed` holds the bundles whose throughput was timed."""

    def __init__(self, project: Project) -> None:
        self.project, self.done, self.timed = project, [], []  # type: tuple[Project, list[str], list[str]]

    def run(self, *only: str) -> list[str]:
        """Run the stage; return the units that were done."""
        with contextlib.chdir(self.project.root):
            stage.main("digits", only)
        done, self.done = self.done, []
        return done


@pytest.fixture(scope="module")
def patched(exported: tuple[Project, PreparedDataset]) -> Iterator[Evaluated]:
    evaluated = Evaluated(exported[0])

    def run_units(project: Project, units: Any) -> None:
        evaluated.done += trained.run_units_here(project, units)

    def timed(bundle: Bundle, items: Any) -> float:
        evaluated.timed.append(bundle.name)
        return 1234.5

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "run_units", run_units)
        patch.setattr(throughput, "items_per_second", timed)
        yield evaluated


@pytest.fixture
def evaluated(patched: Evaluated) -> Evaluated:
    patched.run()
    patched.timed.clear()
    return patched


def snapshot(project: Project) -> dict[Path, tuple[int, bytes]]:
    """Return when each file of results was written, and what it holds."""
    files = [path for of in ("evaluations", "metrics") for path in (project.root / of).rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_metrics_are_those_of_what_the_bundle_gives(
    evaluated: Evaluated, exported: tuple[Project, PreparedDataset]
) -> None:
    project, data = exported
    test = np.asarray(data.array("test"))
    for name in MODELS:
        bundle = Bundle.load(project.bundle("digits", name), threads=1)
        codes = bundle.encode(test)
        errors = ((test / 255.0 - bundle.decode(codes)) ** 2).sum((1, 2, 3))
        values, metrics = read_values(project, "digits", name), read_metrics(project, "digits", name)
        np.testing.assert_allclose(values["squared_error"], errors, rtol=1e-4)
        assert metrics.value("squared_error") == pytest.approx(errors.mean(), rel=1e-4)
        assert metrics.value("encode_items_per_second") == 1234.5
        assert {key: column.mean() for key, column in values.items()} == {
            key: pytest.approx(metrics.value(key)) for key in metrics.intervals
        }
        assert {key: interval(column, seed=0) for key, column in values.items()} == metrics.intervals
        assert set(values) == {m.key for m in METRICS if m.per_item and metrics.value(m.key) is not None}
        assert all(0.3 < values[key].mean() < 1 for key in ("knn_accuracy", "probe_accuracy"))
        (evidence,) = metrics.evidence
        assert (evidence.bundle, evidence.items) == (bundle.manifest.digest, 300)
        assert evidence.codes_sha256 == hashlib.sha256(codes.tobytes()).hexdigest()
    assert read_metrics(project, "digits", "pca").value("codebook_usage") is None
    assert read_metrics(project, "digits", "bits").bits_per_item == 12


def test_pictures_are_those_that_there_can_be(evaluated: Evaluated) -> None:
    for name, expected in (("pca", set()), ("bits", {"codebook"})):
        pictures = list(evaluated.project.evaluation("digits", name).glob("*.png"))
        assert {path.stem for path in pictures} == {"reconstructions", "units", "neighbours", "codes"} | expected
        for path in pictures:
            with Image.open(path) as image:
                assert min(image.size) > 100


def test_nothing_is_computed_twice(evaluated: Evaluated) -> None:
    before = snapshot(evaluated.project)
    assert evaluated.run() == []
    assert evaluated.timed == []
    assert snapshot(evaluated.project) == before


def test_the_throughput_is_timed_anew_on_another_machine_and_belongs_to_no_key(
    evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "encode_items_per_second" not in json.loads(
        (evaluated.project.evaluation("digits", "pca") / work.DOCUMENT).read_bytes()
    )
    monkeypatch.setattr(throughput, "available_cpus", lambda: 99)
    assert evaluated.run() == []
    assert evaluated.timed == ["digits-pca", "digits-bits"]


def test_a_lost_throughput_is_timed_anew(evaluated: Evaluated) -> None:
    folder = evaluated.project.evaluation("digits", "pca").with_name("pca.throughput")
    (folder / throughput.FILE).write_text("{}")
    assert evaluated.run() == []
    assert evaluated.timed == ["digits-pca"]


def test_the_timing_is_the_median_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 24.0])
    encoded = []
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    bundle: Any = type("Timed", (), {"encode": lambda self, items: encoded.append(len(items))})()
    assert ITEMS_PER_SECOND(bundle, np.zeros((100, 2))) == 100 / 4
    assert encoded == [1, 100, 100, 100]


def test_only_what_is_named_is_evaluated(evaluated: Evaluated) -> None:
    for name in MODELS:
        (evaluated.project.evaluation("digits", name) / "values.parquet").write_bytes(b"")
    assert evaluated.run("bits") == ["digits-bits"]
    assert evaluated.run() == ["digits-pca"]
    with pytest.raises(StageError, match="vqvae"):
        evaluated.run("vqvae")


@pytest.mark.parametrize("file", ["values.parquet", "metrics.json", "codes.png", "unit.json"])
def test_a_damaged_result_is_computed_again(evaluated: Evaluated, file: str) -> None:
    path = evaluated.project.evaluation("digits", "bits") / file
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert evaluated.run() == ["digits-bits"]
    assert path.read_bytes() == whole


def test_a_damaged_bundle_is_named(evaluated: Evaluated) -> None:
    path = evaluated.project.bundle("digits", "bits") / "decoder.onnx"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1] + b"?")
        with pytest.raises(BundleError, match=re.escape(str(path))):
            evaluated.run()
    finally:
        path.write_bytes(whole)


def test_another_seed_or_bundle_is_another_key(evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    project = evaluated.project
    unit = stage.plan(project, "digits", "pca", 0)
    assert unit.done()
    assert unit.key == stage.plan(project, "digits", "pca", 0).key
    assert not stage.plan(project, "digits", "pca", 1).done()
    manifest = stage.read_manifest(project.bundle("digits", "pca"))
    other = manifest.model_copy(update={"digest": "f" * 64})
    monkeypatch.setattr(stage, "read_manifest", lambda folder: other)
    assert not stage.plan(project, "digits", "pca", 0).done()


def test_results_of_an_experiment_that_is_gone_are_deleted(evaluated: Evaluated) -> None:
    project = evaluated.project
    extra = [project.metrics("digits", "gone"), project.evaluation("digits", "gone") / "values.parquet"]
    extra.append(project.evaluation("digits", "gone").with_name("gone.throughput") / "unit.json")
    for path in extra:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert evaluated.run("pca") == []
    assert not [path for path in extra if path.exists()]
    assert read_values(project, "digits", "bits")


def test_a_metric_added_to_the_table_is_evaluated(
    evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    darkness = Metric(
        "darkness",
        "Darkness",
        "0–1",
        "lower",
        "How dark.",
        ".1f",
        lambda c: 1 - c.scaled.mean((1, 2, 3)),
        per_item=True,
    )
    brightest = Metric("brightest", "Brightest", "", "", "The brightest.", ".1f", lambda c: c.scaled.max())
    never = replace(darkness, key="never", applies=lambda c: False)
    monkeypatch.setattr(work, "METRICS", (*METRICS, darkness, brightest, never))
    project = evaluated.project
    work.evaluate(tmp_path, bundle=project.bundle("digits", "pca"), data=project.data("digits"), seed=3)
    document = json.loads((tmp_path / work.DOCUMENT).read_bytes())
    usual = read_metrics(project, "digits", "pca")
    assert document.keys() - usual.values.keys() == {"darkness", "brightest", "collapsed", "intervals", "evidence"}
    assert document["brightest"] == 1
    assert document["intervals"].keys() - usual.intervals.keys() == {"darkness"}
    dark = parse_values((tmp_path / VALUES).read_bytes())["darkness"]
    assert document["darkness"] == dark.mean()
    assert tuple(document["intervals"]["darkness"]) == interval(dark, seed=3) != interval(dark, seed=0)


@pytest.mark.parametrize("worst", [np.nan, np.inf])
def test_a_metric_that_is_no_number_fails_by_its_name(
    evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, worst: float
) -> None:
    broken = replace(METRIC["psnr"], compute=lambda c: np.where(np.arange(len(c.items)) == 7, worst, 1.0))
    monkeypatch.setattr(work, "METRICS", (METRIC["bits_per_item"], broken))
    with pytest.raises(StageError, match=f"psnr of digits-pca is {worst}, must be a finite number for every test item"):
        work.evaluate(
            tmp_path, bundle=evaluated.project.bundle("digits", "pca"), data=evaluated.project.data("digits"), seed=0
        )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda document: document | {"squared_error": "4"}, "squared_error: "),
        (lambda document: document | {"psnr": True}, "psnr: "),
        (lambda document: document | {"ssim": float("nan")}, "ssim: "),
        (lambda document: document | {"bits_per_item": None}, "bits_per_item: "),
        (lambda document: document | {"intervals": {"psnr": [1, float("inf")]}}, "intervals.psnr.1: "),
        (lambda document: document | {"evidence": []}, "evidence"),
        (lambda document: {"bits_per_item": 3}, "collapsed: "),
        (lambda document: [], "the file: "),
    ],
)
def test_a_damaged_metrics_file_is_named_with_the_remedy(
    evaluated: Evaluated, change: Callable[[dict[str, Any]], Any], complaint: str
) -> None:
    path = evaluated.project.metrics("digits", "bits")
    path.write_text(json.dumps(change(json.loads(path.read_bytes()))))
    message = f"{path}: {complaint}.*; run `python -m pipelines.evaluate digits --only bits`"
    with pytest.raises(StageError, match=message.replace("[", r"\[")):
        read_metrics(evaluated.project, "digits", "bits")
    assert evaluated.run() == []  # the file is written anew from what is kept
    assert read_metrics(evaluated.project, "digits", "bits").bits_per_item == 12


def test_values_that_are_missing_or_damaged_are_named_with_the_remedy(evaluated: Evaluated, tmp_path: Path) -> None:
    remedy = r"; run `python -m pipelines\.evaluate digits --only bits`$"
    path = evaluated.project.evaluation("digits", "bits") / "values.parquet"
    whole = path.read_bytes()
    for content in (b"", whole[:-9], b"PAR1" + whole[4:-4] + b"PAR?"):
        path.write_bytes(content)
        with pytest.raises(StageError, match=rf"values\.parquet: is damaged: .*{remedy}"):
            read_values(evaluated.project, "digits", "bits")
    work.write_values(path, {"psnr": np.array([1.0, np.nan])})
    with pytest.raises(StageError, match=rf"psnr: must be finite numbers, float64{remedy}"):
        read_values(evaluated.project, "digits", "bits")
    path.unlink()
    with pytest.raises(StageError, match=rf"values\.parquet: No such file or directory{remedy}"):
        read_values(evaluated.project, "digits", "bits")
    assert evaluated.run() == ["digits-bits"]
