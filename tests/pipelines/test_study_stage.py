"""The stage of studies: it does what is not done and deletes what is gone; and a kind of study in one file."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from study_lab import run_here

from components.data import DigitsSettings, load, write_dataset
from components.settings import Settings
from pipelines import studies
from pipelines.project import Project, StageError
from pipelines.settings import params as settings
from pipelines.studies import stage
from pipelines.studies.contract import read_study
from pipelines.studies.plan import StudyPlan
from pipelines.units import key
from pipelines.units.storage import Storage
from pipelines.units.unit import Unit

TABLE: dict[str, Any] = {
    "kind": "sparse_table",
    "simple": {"kind": "autoencoder", "network": {"kind": "linear"}, "bottleneck": {"kind": "identity", "size": 2}},
    "sparse": {"kind": "autoencoder", "network": {"kind": "linear"}, "bottleneck": {"kind": "identity", "size": 3}},
    "quick": {"epochs": 1, "seeds": 1},
    "paper": {"epochs": 1, "seeds": 2},
}
PRETRAINING: dict[str, Any] = {
    "layers": [4],
    "quick": {"epochs": 1, "fine_tuning": [{"labels": 20, "epochs": 1, "seeds": 1}]},
    "paper": {"epochs": 1, "fine_tuning": [{"labels": 20, "epochs": 1, "seeds": 1}]},
}
PARAMS: dict[str, Any] = {
    "datasets": {"digits": {"kind": "digits"}},
    "experiments": {"digits": {"pca": {"model": {"kind": "pca", "size": 4}}}},
    "studies": {"digits": {"table": TABLE, "pretraining": PRETRAINING}},
}


# A change to these trains nothing anew.
NO_TRAINING = tuple(f"pipelines.{part}" for part in ("compare", "evaluate", "metrics", "plots", "settings.params"))


class Runs:
    """Units done in this process instead of by Ray, and the names of those that were."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.done: list[str] = []

    def __call__(self, project: Project, units: Sequence[Unit]) -> None:
        self.asked, failed = [unit.name for unit in units], {}
        for unit in units:
            try:
                self.done += run_here(unit)
            except ArithmeticError as error:
                failed[unit.name] = error
        if failed:
            raise StageError(f"failed: {failed}")

    def taken(self) -> list[str]:
        done, self.done = self.done, []
        return done


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr(stage, "run_units", made)
    return made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path, tmp_path)
    raw = load(DigitsSettings(kind="digits"), "digits", seed=0, downloads=made.cache, root=tmp_path)
    write_dataset(
        made.data("digits"), "digits", raw.item, raw.splits, raw.classes, source=raw.source, licence=raw.licence
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    write(made, PARAMS)
    return made


def write(project: Project, params: dict[str, Any]) -> None:
    with project.params.open("w") as file:
        YAML().dump(params, file)


def test_the_stage_writes_a_page_and_metrics_of_each_study(
    project: Project, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.main("digits")
    assert [name for name in runs.taken() if "," not in name] == ["table", "pretraining"]
    for name in ("table", "pretraining"):
        study = read_study(project.study("digits", name))
        assert json.loads(project.study_metrics("digits", name).read_text()) == study.metrics
        assert f"{name}: {study.summary}\n" in capsys.readouterr().out or name == "pretraining"
    stage.main("digits")
    assert runs.taken() == []


def test_one_changed_study_is_redone_and_no_other(project: Project, runs: Runs) -> None:
    stage.main("digits")
    runs.taken()
    write(project, PARAMS | {"studies": {"digits": {"table": TABLE | {"paper": {"epochs": 9, "seeds": 9}}}}})
    stage.main("digits")
    assert runs.taken() == [], "the other budget decides nothing"
    table = TABLE | {"quick": {"epochs": 2, "seeds": 1}}
    write(project, PARAMS | {"studies": {"digits": {"table": table, "pretraining": PRETRAINING}}})
    project.study_metrics("digits", "table").unlink()
    stage.main("digits", ["table"])
    assert runs.taken() == ["table, simple, seed 0", "table, sparse, seed 0", "table"]
    assert project.study_metrics("digits", "table").exists()


def test_studies_that_are_gone_from_params_are_deleted(project: Project, runs: Runs) -> None:
    stage.main("digits")
    write(project, PARAMS | {"studies": {"digits": {"table": TABLE}}})
    stage.main("digits", ["table"])
    assert [path.name for path in project.study("digits", "x").parent.iterdir()] == ["table"]
    assert [path.name for path in project.study_metrics("digits", "x").parent.iterdir()] == ["table.json"]


def test_a_page_that_fails_costs_neither_its_parts_nor_other_studies(
    project: Project, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.studies import sparse_table

    def fail(*_: object) -> None:
        raise ArithmeticError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(sparse_table, "describe", fail)
        with pytest.raises(StageError, match="table"):
            stage.main("digits")
    assert not project.study("digits", "table").exists()
    assert read_study(project.study("digits", "pretraining")).metrics
    runs.taken()
    stage.main("digits")
    assert runs.taken() == ["table"]


def test_pages_need_no_parts_once_they_are_there(project: Project, runs: Runs) -> None:
    stage.main("digits")
    runs.taken()
    settings.load_params(project).storage_of(project).delete()
    stage.main("digits")
    assert runs.asked == []


def test_settings_that_the_prepared_data_do_not_allow_are_refused_by_name(project: Project, runs: Runs) -> None:
    few = {"epochs": 1, "fine_tuning": [{"labels": 5, "epochs": 1, "seeds": 1}]}
    write(project, PARAMS | {"studies": {"digits": {"few": PRETRAINING | {"kind": "pretraining", "quick": few}}}})
    with pytest.raises(StageError) as caught:
        stage.main("digits")
    assert "studies.digits.few.quick.fine_tuning.0.labels: 5, must be 10 (a label a class) to" in str(caught.value)
    assert not project.study("digits", "few").exists()


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (
            {"planes": {"pca": "pca", "deep": "deap"}},
            "studies.digits.planes.deep: deap, must be one of",
        ),
        ({"planes": {"pca": "pca"}}, "studies.digits.planes.deep: is missing"),
        ({"planets": {"pca": "pca"}}, "studies.digits.planets"),
        ({"denoising": {"basic": "pca", "denoising": "pca", "noises": []}}, "studies.digits.denoising.noises: []"),
        ({"pretraining": PRETRAINING | {"layers": [0]}}, "studies.digits.pretraining.layers.0: 0, must be at least 1"),
        (
            {"pretraining": PRETRAINING | {"corruption": {"kind": "masking", "share": 2}}},
            "digits.pretraining.corruption.share: 2, must be at most 1",
        ),
        ({"pretraining": PRETRAINING | {"hidden": [3]}}, "studies.digits.pretraining.hidden: "),
        (
            {
                "pretraining": PRETRAINING
                | {"quick": {"epochs": 1, "fine_tuning": [{"labels": 20, "epochs": 1, "seeds": 1}] * 2}}
            },
            "must name each number of labels once",
        ),
    ],
)
def test_an_error_in_a_study_is_named_by_its_path(project: Project, named: dict[str, Any], expected: str) -> None:
    write(project, PARAMS | {"studies": {"digits": named}})
    with pytest.raises(StageError) as refused:
        stage.main("digits")
    assert expected in str(refused.value)


def plan_of(project: Project) -> StudyPlan:
    return StudyPlan(project, "digits", "table", 0, "quick", Storage(project.cache))


NEW = '''
"""counting: a study of one file."""

from typing import Literal

from components.data import open_dataset
from pipelines.studies.contract import Study, StudySettings, write_page


class CountingSettings(StudySettings):
    """How many items?"""

    kind: Literal["counting"] = "counting"
    split: Literal["train", "test"]

    def units(self, plan):
        return plan.page(self.kind, write, {"data": plan.data}, split=self.split)


def write(out, study, split, data):
    """Write the page."""
    count = open_dataset(data).count(split)
    page = Study(**study, title="Counting", question="How many?", summary=f"{count}.", tables=(), pictures=(),
                 metrics={"items": count})
    write_page(out, page, {})
'''


@pytest.fixture
def counting(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A new kind of study: one file in the package."""
    folder = tmp_path_factory.mktemp("more")
    (folder / "counting.py").write_text(NEW)
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(folder)])
    key._source.cache_clear()
    yield folder / "counting.py"
    sys.modules.pop("pipelines.studies.counting", None)
    for cached in (key._source, key._tree, key._imports, key._meaning):
        cached.cache_clear()


def test_a_new_study_is_one_file(project: Project, counting: Path) -> None:
    assert "counting" in studies.kinds()
    study = studies.kinds()["counting"].model_validate({"split": "test"})
    unit = study.units(plan_of(project))
    run_here(unit)
    assert read_study(project.study("digits", "table")).metrics == {"items": 360}


def test_a_changed_study_redoes_its_own_page_and_a_docstring_nothing(project: Project, counting: Path) -> None:
    def keys() -> tuple[str, str]:
        for cached in (key._source, key._tree, key._imports, key._meaning):
            cached.cache_clear()
        sys.modules.pop("pipelines.studies.counting", None)
        kinds = studies.kinds()
        counted = kinds["counting"].model_validate({"split": "test"}).units(plan_of(project))
        return counted.key, kinds["sparse_table"].model_validate(TABLE).units(plan_of(project)).key

    first = keys()
    counting.write_text(NEW.replace('"""Write the page."""', '"""Write it."""  # and a comment'))
    assert keys() == first
    counting.write_text(NEW.replace('"How many?"', '"How many are there?"'))
    second = keys()
    assert second[0] != first[0]
    assert second[1] == first[1]


def test_trainings_depend_on_no_page_and_on_no_params() -> None:
    for module in ("bounds.sampling", "generation.prior", "pretraining.training", "sparse_table.training"):
        needed = key._closure((f"pipelines.studies.{module}",))
        others = {name for name in needed if name.startswith("pipelines.studies") and not name.endswith(module)}
        assert not others, module
        assert not any(name.startswith(NO_TRAINING) for name in needed), module
    for kind, model in studies.kinds().items():
        work = importlib.import_module(model.__module__)
        assert not any(
            name in key._closure((work.__name__,))
            for name in ("pipelines.settings.params", "pipelines.studies.stage", "pipelines.compare.stage")
        ), kind


def test_each_kind_is_called_as_its_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(studies.__path__)}
    assert modules - studies.SHARED == set(studies.kinds())
    assert modules >= studies.SHARED
    assert all(issubclass(model, Settings) for model in studies.kinds().values())


def test_reading_the_settings_of_studies_loads_nothing_heavy() -> None:
    import subprocess

    script = (
        "import sys; from pipelines.studies import kinds; kinds();"
        "print([m for m in ('sklearn', 'scipy.stats', 'faiss', 'matplotlib', 'ray', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
