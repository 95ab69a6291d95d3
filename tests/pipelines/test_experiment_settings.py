"""The settings of one experiment: its space, and the models at its corners."""

from __future__ import annotations

import copy

import pytest

import pipelines.studies
from components.settings import SettingError
from items.spec import ItemSpec
from pipelines.project import Project
from pipelines.settings.experiment import ExperimentSettings, SweepSettings
from pipelines.settings.params import load_params, parse_params
from pipelines.settings.spaces import corners
from tests.pipelines.sandbox import PARAMS, REPOSITORY

DIGIT = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")


def test_the_projects_own_settings_search_what_is_trained() -> None:
    params = load_params(Project(REPOSITORY, REPOSITORY))
    everything = {(data, name): one for data in params.datasets for name, one in params.experiments_of(data).items()}
    trained = {name: one for name, one in everything.items() if one.model["kind"] == "autoencoder"}
    assert len(trained) >= 21
    for name, experiment in trained.items():
        assert "model.training.learning_rate" in experiment.space, name
        assert min(experiment.quick.trials, experiment.paper.trials) >= 3, name
        weights = {f"model.penalties.{number}.weight" for number, _ in enumerate(experiment.model.get("penalties", []))}
        weights |= {
            f"model.bottleneck.{key}"
            for key in ("beta", "commitment")
            if key in type(experiment.model_settings(next(corners(experiment.space))).bottleneck).model_fields
        }
        assert weights <= experiment.space.keys(), name
    kinds = {study.kind for dataset in ("mnist", "reuters") for study in params.studies_of(dataset).values()}
    assert kinds == set(pipelines.studies.kinds()), "a kind of study that nobody sees run"


def test_a_code_larger_than_the_input_is_named_before_the_sweep() -> None:
    tree = copy.deepcopy(PARAMS)
    tree["experiments"]["digits"]["deep"]["model"]["bottleneck"]["size"] = {"integer": [2, 65]}
    with pytest.raises(SettingError) as raised:
        parse_params(tree).experiment("digits", "deep").check("digits.deep", DIGIT)
    assert str(raised.value) == (
        "experiments.digits.deep.model.bottleneck.size: 65, must be at most 64, the numbers in one item"
    )


def test_searched_values_are_filled_in() -> None:
    experiment = parse_params(PARAMS).experiment("digits", "deep")
    assert set(experiment.space) == {"model.training.learning_rate"}
    settings = experiment.model_settings({"model.training.learning_rate": 0.005})
    assert settings.kind == "autoencoder"
    assert settings.training.learning_rate == 0.005
    assert settings.network.kind == "mlp"


def test_trials_of_different_errors_are_compared_by_the_loss() -> None:
    likelihood = {"kind": {"choice": ["multinomial", "squared_error"]}}
    model = {"kind": "autoencoder", "network": {"kind": "linear"}, "bottleneck": {"kind": "identity", "size": 2}}
    item = ItemSpec(kind="text", shape=(9,), dtype="int32")
    settings = ExperimentSettings(model=model | {"likelihood": likelihood})
    with pytest.raises(SettingError, match="must be loss: trials differ in cross_entropy and squared_error"):
        settings.check("notes.deep", item)
    ExperimentSettings(model=settings.model, sweep=SweepSettings(objective="loss")).check("notes.deep", item)
