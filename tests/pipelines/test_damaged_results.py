"""Damaged metrics, values and pages, and names that look like formulas: one line that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab import Lab

from pipelines.compare.summary import SUMMARY
from pipelines.evaluate.results import VALUES
from pipelines.plots.pictures import draw_codes
from pipelines.project import StageError
from pipelines.register import stage as register
from pipelines.register.everything import dvc_stages
from pipelines.studies.contract import STUDY

DAMAGE: list[Any] = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"metrics": 3}', b"3"]


@pytest.fixture
def project(lab: Lab) -> Lab:
    lab.experiment("pca")
    lab.experiment("linear")
    lab.study("one", "pca", "linear")
    return lab


@pytest.mark.parametrize("content", [*DAMAGE, b"cut"])
@pytest.mark.parametrize("which", ["metrics", "values", "study"])
def test_compare_names_a_damaged_file_and_register_one_that_compare_has_not_read(
    project: Lab, monkeypatch: pytest.MonkeyPatch, content: bytes, which: str
) -> None:
    project.compare(monkeypatch)
    path = {
        "metrics": project.project.metrics("digits", "pca"),
        "values": project.project.evaluation("digits", "pca") / VALUES,
        "study": project.project.study("digits", "one") / STUDY,
    }[which]
    path.write_bytes(path.read_bytes()[:-20] if content == b"cut" else content)
    with pytest.raises(StageError) as raised:
        project.compare(monkeypatch)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    if which != "values":  # which MLflow does not show
        with pytest.raises(StageError, match="has changed since `compare` read it"):
            register.main()


@pytest.mark.parametrize("content", [None, *DAMAGE, b"cut", b"changed"])
def test_register_names_a_summary_that_is_missing_or_damaged(
    project: Lab, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = project.compare(monkeypatch) / SUMMARY
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(
            {b"cut": whole[:-20], b"changed": whole.replace(b"finished", b"stopped")}.get(content, content)
        )
    with pytest.raises(StageError, match=r"summary\.json: .*; run `python -m pipelines\.compare`") as raised:
        register.main()
    assert "\n" not in str(raised.value)


def test_a_metric_whose_name_has_two_lines_is_refused_in_one(project: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.project.metrics("digits", "pca")
    path.write_text(path.read_text().replace('"intervals": {"squared_error"', '"intervals": {"squared\\nerror"'))
    with pytest.raises(StageError, match="squared error is not the mean of its values") as raised:
        project.compare(monkeypatch)
    assert "\n" not in str(raised.value)


def test_a_damaged_lock_of_dvc_is_named(project: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.project.root)
    for content in ("stages: 3", "[", "stages: {a@pca: &x [*x"):
        (project.project.root / "dvc.lock").write_text(content)
        with pytest.raises(StageError, match=r"dvc.lock: is damaged"):
            dvc_stages(project.project)


def test_a_class_that_looks_like_a_formula_is_drawn_as_it_is(tmp_path: Path) -> None:
    classes = (r"$\badcmd{$", "a$b$", r"\frac")
    labels = np.arange(30) % 3
    draw_codes(np.random.default_rng(0).normal(size=(30, 2)), labels, classes, tmp_path / "codes.png")
    assert (tmp_path / "codes.png").stat().st_size > 1000


def test_metrics_are_numbers(project: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.project.metrics("digits", "pca")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"squared_error": "low"}))
    with pytest.raises(StageError, match=r"pca\.json: squared_error"):
        project.compare(monkeypatch)
