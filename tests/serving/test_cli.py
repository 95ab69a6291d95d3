from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_bundles import write_linear

from serving import cli
from serving.shards import read_codes


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hourglass", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_linear(tmp_path / "model")


@pytest.fixture
def array(tmp_path: Path, pictures: np.ndarray) -> Path:
    np.save(tmp_path / "pictures.npy", pictures)
    return tmp_path / "pictures.npy"


def test_encode_and_decode_give_the_pictures_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path, model: Path, array: Path, pictures
) -> None:
    assert run(monkeypatch, "encode", array, "--model", model, "--out", tmp_path / "codes", "--batch-size", 7) == 0
    assert "23 items in" in one_line(capsys.readouterr().out)
    assert run(monkeypatch, "decode", tmp_path / "codes", "--model", model, "--out", tmp_path / "out") == 0
    for row, picture in enumerate(pictures):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / f"{row}.png")), picture[..., 0])


def test_skipped_items_are_counted_and_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path, model: Path, folder_of, pictures
) -> None:
    folder = folder_of(pictures)
    (folder / "a" / "000.png").write_bytes(b"")
    arguments = ("encode", folder, "--model", model, "--out", tmp_path / "codes")
    assert run(monkeypatch, *arguments) == 1
    assert "a/000.png: it is empty" in one_line(capsys.readouterr().err)
    assert run(monkeypatch, *arguments, "--on-error", "skip") == 0
    assert "1 skipped" in capsys.readouterr().out
    skipped = json.loads((tmp_path / "codes" / "manifest.json").read_text())["skipped"]
    assert skipped == [{"id": "a/000.png", "reason": "it is empty"}]


def test_resize_and_overwrite_reach_the_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path, array: Path
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("L", (9, 9), 51).save(tmp_path / "in" / "a.png")
    arguments = ("encode", tmp_path / "in", "--model", model, "--out", tmp_path / "codes")
    assert run(monkeypatch, *arguments) == 1
    assert run(monkeypatch, *arguments, "--resize", "--overwrite", "--threads", 1) == 0
    ((ids, codes),) = read_codes(tmp_path / "codes")
    assert ids == ["a.png"]
    assert np.linalg.norm(codes) == pytest.approx(4 * 0.2, rel=1e-5)  # 16 pixels of 51 / 255, turned


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["encode", "nowhere", "--model", "{model}", "--out", "o"], "nowhere: no such file or folder"),
        (["encode", "{array}", "--model", "nowhere", "--out", "o"], "nowhere: has no bundle.json"),
        (["encode", "{array}", "--model", "models:/x@y", "--out", "o"], "no model registry"),
        (["encode", "{array}", "--model", "{model}", "--out", "{array}"], "pictures.npy"),
        (["decode", ".", "--model", "{model}", "--out", "o"], "has no manifest.json"),
        (["models"], "no model registry"),
    ],
)
def test_what_can_be_expected_to_fail_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path, model, array, arguments, complaint
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *(argument.format(model=model, array=array) for argument in arguments)) == 1
    line = one_line(capsys.readouterr().err)
    assert line.startswith("hourglass: ")
    assert complaint in line


@pytest.mark.parametrize("arguments", [["encode"], ["encode", "x", "--model", "y", "--out", "z", "--batch-size", "0"]])
def test_wrong_usage_is_exit_code_2(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    assert run(monkeypatch, *arguments) == 2


def test_models_shows_the_registry(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    from datetime import UTC, datetime

    from serving.registry import RegisteredModel

    made = datetime(2026, 1, 2, tzinfo=UTC)
    listed = [RegisteredModel("mnist", 3, ("champion",), {"squared_error": "1.5", "bits_per_item": "64"}, made)]
    monkeypatch.setattr(cli, "registered_models", lambda: listed)
    assert run(monkeypatch, "models") == 0
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("mnist", "3", "champion", "1.5", "64", "2026-01"))


def test_serving_starts_without_torch() -> None:
    check = "import serving.cli, sys; assert not {'torch', 'mlflow', 'dvc', 'ray'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=Path(cli.__file__).parents[1]).returncode == 0


def test_the_module_runs_as_a_command() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "serving.cli", "--version"],
        cwd=Path(cli.__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith("hourglass")


def test_names_are_whole_in_a_pipe_and_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from datetime import UTC, datetime

    from serving.registry import RegisteredModel

    name = "photos-of-the-whole-warehouse-vector-quantized-64"
    monkeypatch.setattr(
        cli,
        "registered_models",
        lambda: [RegisteredModel(name, 3, ("champion",), {}, datetime(2026, 1, 2, tzinfo=UTC))],
    )
    monkeypatch.setenv("COLUMNS", "40")
    assert run(monkeypatch, "models") == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split("\t")[:3] == ["model", "version", "aliases"]
    assert row.split("\t")[:3] == [name, "3", "champion"]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    assert run(monkeypatch, "models") == 0
    assert "…" not in capsys.readouterr().out


def test_a_command_of_a_package_that_is_not_installed_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from importlib.metadata import EntryPoint

    cli._add(EntryPoint("missing", "torch_is_not_here.check:check", "hourglass.commands"))
    try:
        assert run(monkeypatch, "missing") == 1
    finally:
        cli.app.registered_commands.pop()
    assert "missing needs the package torch_is_not_here, which the extra `train` installs" in one_line(
        capsys.readouterr().err
    )
