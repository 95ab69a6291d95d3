"""Files that stages read, damaged: refused in one short line that names the file; never used."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import MLP, Lab, read
from pydantic import TypeAdapter
from safetensors.torch import save_file

from components.models import ModelSettings
from items.spec import ItemSpec
from pipelines.compare.experiments import read_picture
from pipelines.project import Project, StageError, stage
from pipelines.register.everything import dvc_stages
from pipelines.settings.params import load_params
from pipelines.studies.contract import read_study
from pipelines.sweep.record import RunRecord, read_record
from pipelines.sweep.trained import read_model
from serving.bundle import BundleError
from serving.manifest import read_manifest

ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")


@pytest.fixture
def studied(lab: Lab) -> Lab:
    lab.experiment("pca", pictures=False)
    lab.experiment("deep", model=MLP, shape=(4,))
    lab.study("same", "pca", "deep")
    return lab


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("values", [{"parameters": 7}, {"seed": 1}, {"model": {"kind": "pca", "size": 4}}])
def test_a_changed_run_record_is_refused(studied: Lab, values: dict[str, Any]) -> None:
    folder = studied.project.run("digits", "deep")
    changed(folder / "record.json", **values)
    with pytest.raises(StageError, match=r"record\.json: .*damaged.*; run `python -m pipelines\.sweep digits"):
        read_record(folder)


def test_weights_of_another_model_are_refused_in_one_line(studied: Lab) -> None:
    folder = studied.project.run("digits", "deep")
    settings: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)
    wider = settings.validate_python(MLP | {"network": {"kind": "mlp", "hidden": [17]}})
    save_file(wider.build(ITEM).state_dict(), folder / "weights.safetensors")
    record = RunRecord.model_validate_json((folder / "record.json").read_bytes())
    with pytest.raises(StageError, match=r"weights\.safetensors does not fit the model of record\.json: ") as refused:
        read_model(folder, record, ITEM)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["x" * 10_000, "a\nb"])
def test_a_refusal_is_one_short_line_whatever_the_file_holds(studied: Lab, key: str) -> None:
    project = studied.project
    run, bundle, study = (
        project.run("digits", "deep"),
        project.bundle("digits", "deep"),
        project.study("digits", "same"),
    )
    readers: dict[Path, Callable[[], object]] = {
        run / "record.json": lambda: read_record(run),
        project.metrics("digits", "deep"): lambda: read(studied),
        study / "study.json": lambda: read_study(study),
        bundle / "bundle.json": lambda: read_manifest(bundle),
    }
    for path, reader in readers.items():
        whole = path.read_text()
        changed(path, **{"intervals" if path.name == "deep.json" else key: {key: 1}})
        with pytest.raises((StageError, BundleError)) as refused:
            reader()
        assert str(refused.value).startswith(f"{path}: ")
        assert len(str(refused.value).splitlines()) == 1
        assert len(str(refused.value)) < 1000
        path.write_text(whole)


def test_a_damaged_picture_is_named(studied: Lab) -> None:
    path = studied.project.evaluation("digits", "deep") / "codes.png"  # the lab's holds no more than a header
    with pytest.raises(StageError, match=r"codes\.png: .*; run `python -m pipelines\.evaluate digits --only deep`"):
        read_picture(path)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"stages: 1", b"stages: {a@deep: {b: 2020-01-01}}", b"\xff", b"{", b"a: !!float ''"]
)
def test_a_damaged_lock_file_is_named(studied: Lab, content: bytes) -> None:
    (studied.project.root / "dvc.lock").write_bytes(content)
    with pytest.raises(StageError, match=r"dvc\.lock: is damaged .*; delete it and run `dvc repro`"):
        dvc_stages(studied.project)


def test_what_the_system_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        raise PermissionError(13, "Permission denied", "data/mnist")

    monkeypatch.setattr(sys, "argv", ["made-up"])
    with pytest.raises(SystemExit) as left:
        stage(main)
    assert left.value.code == "error: [Errno 13] Permission denied: 'data/mnist'"


BOMB = f"seed: [&n0 [x, x, x], {', '.join(f'&n{n + 1} [*n{n}, *n{n}, *n{n}]' for n in range(30))}]"


@pytest.mark.parametrize(
    "text", ["seed: !!float ''", BOMB, "seed: &a [*a]", "seed: " + "[" * 3000, f"seed: {'x' * 9999}"]
)
def test_settings_that_no_parser_takes_are_refused_in_short_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(StageError, match=r"params\.yaml:") as refused:
        load_params(Project(tmp_path, tmp_path))
    assert max(map(len, str(refused.value).splitlines())) < 1000
