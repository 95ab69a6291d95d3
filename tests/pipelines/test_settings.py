from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sandbox import PARAMS, REPOSITORY

from components.settings import SettingError
from items.spec import ItemSpec
from pipelines.project import Project, StageError
from pipelines.settings.params import Params, load_params, parse_params
from pipelines.studies.contract import Study, publish

Tree = dict[str, Any]
DIGIT = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")


def deep(tree: Tree) -> Tree:
    found: Tree = tree["experiments"]["digits-deep"]
    return found


MISTAKES: list[tuple[Callable[[Tree], Any], str]] = [
    (lambda t: deep(t)["model"]["bottleneck"].update(size=-3), "experiments.digits-deep.model.bottleneck.size: -3, must be at least 1"),
    (lambda t: deep(t)["model"]["bottleneck"].update(sise=3), "experiments.digits-deep.model.bottleneck.sise: is no known key; allowed here: kind, size"),
    (lambda t: deep(t)["model"]["bottleneck"].update(kind="x"), "model.bottleneck.kind: x, must be one of 'identity', 'vector_quantizer'"),
    (lambda t: deep(t)["model"]["bottleneck"].pop("kind"), "model.bottleneck.kind: is missing, must be one of 'identity'"),
    (lambda t: deep(t)["model"]["network"].update(hidden=[10, 0]), "model.network.hidden.1: 0, must be at least 1"),
    (lambda t: deep(t)["model"].update(penalties=[{"kind": "l1", "wieght": 1}]), "model.penalties.0.wieght: is no known key; allowed here: kind, weight"),
    (lambda t: deep(t)["model"].update(penalties=[{"kind": "l2"}]), "model.penalties.0.kind: l2, must be one of 'l1'"),
    (lambda t: deep(t)["model"].update(penalties={"kind": "l1", "weight": 1}), "must be list"),
    (lambda t: deep(t)["model"].update(penalties=[{"kind": "l1", "weight": {"uniform": [-1, 1]}}]), "model.penalties.0.weight: -1, must be more than 0"),
    (lambda t: deep(t)["model"].update(corruption={"kind": "masking", "share": 2}), "model.corruption.share: 2, must be at most 1"),
    (lambda t: deep(t)["model"]["training"].update(learning_rate={"log_uniform": [0, 1]}), "learning_rate.log_uniform: [0, 1], must be above 0"),
    (lambda t: deep(t)["model"]["training"].update(learning_rate={"uniform": [2, 1]}), "learning_rate.uniform: [2, 1], must rise"),
    (lambda t: deep(t)["model"]["training"].update(learning_rate={"uniform": [-1, 1]}), "model.training.learning_rate: -1, must be more than 0"),
    (lambda t: deep(t)["model"]["training"].update(learning_rate={"choice": []}), "learning_rate.choice: [], must be a list of one or more"),
    (lambda t: deep(t)["model"].pop("network"), "experiments.digits-deep.model.network: is missing"),
    (lambda t: deep(t)["model"].update(kind="x"), "experiments.digits-deep.model.kind: x, must be one of 'pca', 'autoencoder'"),
    (lambda t: deep(t).update(dataset="digit"), "experiments.digits-deep.dataset: digit, must be one of digits"),
    (lambda t: deep(t).update(x=1), "experiments.digits-deep.x: is no known key; allowed here: dataset, model"),
    (lambda t: deep(t).pop("quick"), "experiments.digits-deep: quick must be given"),
    (lambda t: deep(t)["quick"].update(epochs=0), "experiments.digits-deep.quick.epochs: 0, must be at least 1"),
    (lambda t: deep(t)["model"]["training"].update(learning_rate=0.1), "experiments.digits-deep: more than one trial, and nothing to search"),
    (lambda t: t["experiments"]["digits-pca"].update(quick={"epochs": 2}), "experiments.digits-pca.quick: has no use here"),
    (lambda t: t["experiments"].update({"Bad Name": t["experiments"]["digits-pca"]}), "experiments.Bad Name: must be lower-case"),
    (lambda t: t["datasets"]["digits"].update(kind="x"), "datasets.digits.kind: x, must be one of 'mnist', 'fashion_mnist', 'digits', 'array', 'images'"),
    (lambda t: t["datasets"]["digits"].update(x=1), "datasets.digits.x: is no known key"),
    (lambda t: t.update(budget="fast"), "budget: fast, must be one of 'quick' or 'paper'"),
    (lambda t: t.update(seed=-1), "seed: -1, must be at least 0"),
    (lambda t: t.pop("datasets"), "datasets: is missing"),
    (lambda t: t.update(experiments=None), "experiments: None, must be"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "expected"), MISTAKES, ids=[expected for _, expected in MISTAKES])
def test_a_mistake_is_named_by_path_value_and_what_is_allowed(mistake: Callable[[Tree], Any], expected: str) -> None:
    tree = copy.deepcopy(PARAMS)
    mistake(tree)
    with pytest.raises(StageError) as raised:
        parse_params(tree)
    assert expected in str(raised.value)


def test_every_mistake_is_told_at_once() -> None:
    tree = copy.deepcopy(PARAMS)
    deep(tree)["model"]["bottleneck"]["size"] = 0
    tree["experiments"]["digits-vqvae"]["model"]["bottleneck"]["entries"] = 1
    tree["budget"] = "fast"
    with pytest.raises(StageError) as raised:
        parse_params(tree)
    assert len(str(raised.value).splitlines()) == 1 + 3


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\nseed: 1\n")
    with pytest.raises(StageError, match='duplicate key "seed"'):
        load_params(Project(tmp_path, tmp_path))


def test_the_projects_own_settings_are_valid_and_swept() -> None:
    params = load_params(Project(REPOSITORY, REPOSITORY))
    assert len(params.experiments) >= 12
    assert sum(bool(experiment.space) for experiment in params.experiments.values()) >= 2
    for experiment in params.experiments.values():
        assert experiment.paper.trials >= (3 if experiment.space else 1)
    kinds = {place.partition(".")[0] for place in params.studies.all()}
    assert kinds == set(type(params.studies).model_fields), "a kind of study that nobody sees run"


def test_a_code_larger_than_the_input_is_named_before_the_sweep() -> None:
    tree = copy.deepcopy(PARAMS)
    deep(tree)["model"]["bottleneck"]["size"] = {"integer": [2, 65]}
    with pytest.raises(SettingError) as raised:
        parse_params(tree).experiment("digits-deep").check("digits-deep", DIGIT)
    assert str(raised.value) == (
        "experiments.digits-deep.model.bottleneck.size: 65, must be at most 64, the numbers in one item"
    )


def test_searched_values_are_filled_in() -> None:
    experiment = parse_params(PARAMS).experiment("digits-deep")
    assert set(experiment.space) == {"model.training.learning_rate"}
    settings = experiment.model_settings({"model.training.learning_rate": 0.005})
    assert settings.kind == "autoencoder"
    assert settings.training.learning_rate == 0.005
    assert settings.network.kind == "mlp"


def test_the_budget_chooses_epochs_and_trials() -> None:
    quick, paper = (Params.model_validate({**PARAMS, "budget": budget}) for budget in ("quick", "paper"))
    assert quick.budget_of(quick.experiment("digits-deep")).trials == 3
    assert paper.budget_of(paper.experiment("digits-deep")).epochs == 8


def test_an_unknown_experiment_is_answered_with_the_known_ones() -> None:
    with pytest.raises(StageError, match=r"experiments.nope: not in params.yaml; it has digits-pca, digits-deep"):
        parse_params(PARAMS).experiment("nope")


def test_a_dvc_experiments_copy_keeps_its_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_of_it, real = tmp_path / "copy", tmp_path / "real"
    for folder in (copy_of_it, real):
        folder.mkdir()
        (folder / "params.yaml").write_text("")
    monkeypatch.chdir(copy_of_it)
    monkeypatch.setenv("DVC_ROOT", str(real))
    project = Project.here()
    assert project.data("digits") == copy_of_it / "data" / "digits"
    assert project.cache == real / ".hourglass"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "seed: 0\nbudget: quick # schön\n".encode("latin-1"),
            r"params.yaml: line 2, byte [0-9]+ is 0xf6: is not UTF-8",
        ),
        ("seed: 0\n".encode("utf-16"), r"line 1, byte 0 is 0xff: is not UTF-8; save the file as UTF-8"),
        (b"seed: 0\n\0\n", "unacceptable character #x0000"),
        (b"seed: !!int x\n", "invalid literal for int"),
        (b"seed: &a [*a]\n", "or itself, by its aliases"),
        (b"? [1, 2]\n: 3\n", "keys must be str"),
        (b"[" * 3000, "recursion"),
    ],
)
def test_a_file_that_is_no_settings_is_refused_in_one_line(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(StageError, match=expected) as raised:
        load_params(Project(tmp_path, tmp_path))
    assert str(raised.value).count("\n") == 0


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    text = (REPOSITORY / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8-sig")
    assert load_params(Project(tmp_path, tmp_path)) == load_params(Project(REPOSITORY, REPOSITORY))


OUTSIDE = ("../../evil", "..", "", "/evil", "a/b", "A")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_studys_name_is_checked_as_an_experiments_is(name: str) -> None:
    tree = copy.deepcopy(PARAMS)
    tree["studies"] = {"planes": {name: {"pca": "digits-pca", "deep": "digits-deep"}}}
    with pytest.raises(StageError, match=r"must be lower-case letters, digits, - and _") as raised:
        parse_params(tree)
    assert f"studies.planes.{name}: " in str(raised.value)


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_path_of_a_project_leads_out_of_it(tmp_path: Path, name: str) -> None:
    project = Project(tmp_path, tmp_path)
    for path in (project.data, project.run, project.bundle, project.metrics, project.plots):
        with pytest.raises(StageError, match="must be lower-case"):
            path(name)
    for path in (project.study, project.study_metrics):
        with pytest.raises(StageError, match="must be lower-case"):
            path("planes", name)


def test_publishing_a_study_of_an_evil_name_deletes_nothing(tmp_path: Path) -> None:
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "kept").touch()
    study = Study(
        kind="planes", name="../../../evil", dataset="digits", title="", question="", findings=(), tables=(),
        pictures=(), figures={},
    )  # fmt: skip
    root = tmp_path / "project"
    with pytest.raises(StageError, match="must be lower-case"):
        publish(Project(root, root), study, {})
    assert (tmp_path / "evil" / "kept").is_file()
