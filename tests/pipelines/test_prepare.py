from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.data import SPLITS, open_dataset
from components.settings import SettingError
from pipelines.prepare import stage as prepare
from pipelines.project import StageError, stage
from tests.pipelines.sandbox import PARAMS, REPOSITORY, Sandbox

TEXT = """
seed: {seed}
datasets:
  small: {{kind: digits, validation: {validation}, test: 20}}
  mine: {{kind: array, source: own.npy}}
experiments:
  small: {{linear: {{model: {{kind: pca, size: 2}}}}}}
"""


def project(folder: Path, seed: int = 0, validation: int = 10) -> Path:
    (folder / "params.yaml").write_text(TEXT.format(seed=seed, validation=validation))
    return folder


def run(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.prepare", name],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_prepare_writes_the_dataset_and_says_what_it_wrote(tmp_path: Path) -> None:
    done = run(project(tmp_path), "small")
    assert done.returncode == 0, done.stderr
    dataset = open_dataset(tmp_path / "data" / "small", verify=True)
    assert [dataset.count(split) for split in ("train", "validation", "test")] == [1767, 10, 20]
    assert "1767 train, 10 validation, 20 test items (image 8×8×1 uint8)" in done.stdout
    assert dataset.schema.digest in done.stdout


def test_data_that_is_not_there_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(tmp_path))
    monkeypatch.setattr(sys, "argv", ["", "mine"])
    with pytest.raises(SystemExit) as raised:
        stage(prepare.main)
    assert raised.value.code == f"error: dataset mine: {tmp_path / 'own.npy'} is not there"
    assert not (tmp_path / "data").exists()


def test_the_seed_of_params_decides_the_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for seed in (1, 1, 2):
        monkeypatch.chdir(project(tmp_path, seed))
        prepare.main("small")
        digests.append(open_dataset(tmp_path / "data" / "small").schema.digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_wrong_size_is_named_by_its_key_in_params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(tmp_path, validation=5000))
    with pytest.raises(SettingError, match=r"datasets\.small\.validation: 5000, "):
        prepare.main("small")


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(tmp_path))
    with pytest.raises(StageError, match=r"datasets\.smal: not in params.yaml; it has small, mine"):
        prepare.main("smal")


def test_a_changed_file_of_the_users_own_is_prepared_again(sandbox: Sandbox) -> None:
    items = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    params = copy.deepcopy(PARAMS)
    params["datasets"] = {"digits": {"kind": "array", "source": "inputs/mine.npy"}}
    sandbox.write_params(params)
    np.save(sandbox.root / "inputs" / "mine.npy", items)
    sandbox.run("dvc", "init", "-q", "--no-scm")
    for kept in (items, items[:50]):
        np.save(sandbox.root / "inputs" / "mine.npy", kept)
        sandbox.run("dvc", "repro", "prepare@digits")
        dataset = open_dataset(sandbox.root / "data" / "digits")
        assert sum(dataset.count(split) for split in SPLITS) == len(kept)


def test_a_file_that_dvc_does_not_watch_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "own.npy", np.zeros((60, 8, 8), np.uint8))
    monkeypatch.chdir(project(tmp_path))
    prepare.main("mine")
    note, *_ = capsys.readouterr().out.splitlines()
    assert note.startswith("note: own.npy is not below inputs/")
    assert note.endswith("`dvc repro -f prepare@mine`")
