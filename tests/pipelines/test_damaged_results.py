"""Damaged figures and pages, and names that look like formulas: one line that names the file, or nothing at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab import Lab

from pipelines.plots.pictures import draw_codes
from pipelines.project import StageError
from pipelines.register import stage as register
from pipelines.studies.contract import STUDY

DAMAGE: list[Any] = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"figures": 3}', b"3"]


@pytest.fixture
def project(lab: Lab) -> Lab:
    lab.experiment("pca")
    lab.experiment("linear")
    lab.study("one", "pca", "linear")
    return lab


@pytest.mark.parametrize("content", [*DAMAGE, b"cut"])
@pytest.mark.parametrize("which", ["metrics", "study"])
def test_compare_and_register_name_a_damaged_file(
    project: Lab, monkeypatch: pytest.MonkeyPatch, content: bytes, which: str
) -> None:
    path = project.project.metrics("pca") if which == "metrics" else project.project.study("subspaces", "one") / STUDY
    path.write_bytes(path.read_bytes()[:-20] if content == b"cut" else content)
    monkeypatch.chdir(project.project.root)
    for run in (lambda: project.compare(monkeypatch), register.main):
        with pytest.raises(StageError) as raised:
            run()
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_damaged_lock_of_dvc_is_named(project: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.project.root)
    for content in ("stages: 3", "[", "stages: {a@pca: &x [*x"):
        (project.project.root / "dvc.lock").write_text(content)
        with pytest.raises(StageError, match=r"dvc.lock: is damaged"):
            register.dvc_stages(project.project)


def test_a_class_that_looks_like_a_formula_is_drawn_as_it_is(tmp_path: Path) -> None:
    classes = (r"$\badcmd{$", "a$b$", r"\frac")
    labels = np.arange(30) % 3
    draw_codes(np.random.default_rng(0).normal(size=(30, 2)), labels, classes, tmp_path / "codes.png")
    assert (tmp_path / "codes.png").stat().st_size > 1000


def test_figures_of_a_metrics_file_are_numbers(project: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.project.metrics("pca")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"squared_error": "low"}))
    with pytest.raises(StageError, match=r"pca\.json: squared_error"):
        project.compare(monkeypatch)
