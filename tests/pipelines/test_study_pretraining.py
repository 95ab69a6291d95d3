"""The study of pretraining, on digits, and what it says of figures worked out by hand."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from sandbox import Sandbox

from components.classifier import Classifier, Labelled, fine_tune
from components.data import open_dataset
from components.models import Epoch
from components.settings import SettingError
from components.training import TrainingSettings
from pipelines.prepare import stage as prepare
from pipelines.project import StageError
from pipelines.settings.params import parse_params
from pipelines.studies import contest, pretraining
from pipelines.studies.contest import Contest, Outcome, Row
from pipelines.studies.contract import Study, read_study
from pipelines.studies.pretraining import finding
from pipelines.studies.settings import PretrainingSettings

BUDGET = {
    "epochs": 2,
    "stacks": 2,
    "fine_tuning": [{"labels": 20, "epochs": 10, "seeds": 3}, {"labels": None, "epochs": 2, "seeds": 1}],
}
STUDY: dict[str, Any] = {
    "dataset": "digits",
    "layers": [32, 16],
    "corruption": {"kind": "masking", "share": 0.3},
    "fine_tuning": {"batch_size": 32, "learning_rates": [1e-7, 1e-2]},
    "quick": BUDGET,
    "paper": BUDGET,
}
PARAMS: dict[str, Any] = {
    "datasets": {"digits": {"kind": "digits"}},
    "experiments": {"pca": {"dataset": "digits", "model": {"kind": "pca", "size": 4}}},
}


@pytest.fixture(scope="module")
def project(make_sandbox: Callable[[], Sandbox]) -> Sandbox:
    made = make_sandbox()
    few = {"epochs": 1, "fine_tuning": [{"labels": 5, "epochs": 1, "seeds": 1}]}
    made.write_params(PARAMS | {"studies": {"pretraining": {"digits": STUDY, "few": STUDY | {"quick": few}}}})
    with contextlib.chdir(made.root):
        prepare.main("digits")
    return made


def studied(project: Sandbox) -> Study:
    with contextlib.chdir(project.root):
        pretraining.main("digits")
    return read_study(project.root / "studies" / "pretraining-digits")


def test_the_study_compares_both_starts(project: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    study = studied(project)
    told = capsys.readouterr().out
    everything = json.loads((project.root / "data" / "digits" / "schema.json").read_text())["splits"]["train"]["count"]
    for labels in (20, everything):
        random, pretrained = (study.figures[f"{start}_error_{labels}"] for start in ("random", "pretrained"))
        assert 0 < pretrained < 80
        assert 0 < random < 80
        assert study.figures[f"gain_{labels}"] == pytest.approx(random - pretrained)
    assert study.figures[f"random_error_{everything}"] < study.figures["random_error_20"]
    assert [line[2] for line in study.tables[1].rows] == ["0.01"] * 4  # 1e-7 learns nothing, as validation shows
    assert [line[-1] for line in study.tables[0].rows] == ["3", "1"]
    assert "one seed each" in study.findings[1]
    assert json.loads((project.root / "metrics" / "studies" / "pretraining-digits.json").read_text()) == study.figures
    assert [p.file for p in study.pictures] == ["errors.png", "filters.png"]
    assert all((project.root / "studies" / "pretraining-digits" / p.file).stat().st_size > 0 for p in study.pictures)
    assert "stack 2/2  layer 2/2  epoch 2/2" in told
    assert "20 labels  random weights  seed 3/3  learning rate 0.01  validation error" in told
    assert studied(project) == study  # nothing in it is left to chance


def test_both_starts_get_the_same_labels_epochs_and_learning_rates(
    project: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PretrainingSettings.model_validate(STUDY)
    data = open_dataset(project.root / "data" / "digits")
    stacks = [settings.build(data.schema.item, seed) for seed in (100, 200)]
    lessons: list[tuple[Any, ...]] = []

    def watched(classifier: Classifier, training: TrainingSettings, shown: Labelled, *rest: int) -> Iterator[Epoch]:
        weights = classifier.stack.layers[0][1].weight.detach().clone()
        lessons.append((training, shown.items.sum(0).tobytes(), shown.labels.tobytes(), *rest, weights))
        return fine_tune(classifier, training, shown, *rest)

    monkeypatch.setattr(contest, "fine_tune", watched)
    Contest(settings, data, stacks, seed=7).row(settings.quick.fine_tuning[0])
    half = len(lessons) // 2
    assert [lesson[:-1] for lesson in lessons[:half]] == [lesson[:-1] for lesson in lessons[half:]]
    assert len({lesson[1] for lesson in lessons}) == 3  # labels of each seed's own
    pretrained, random = ([lesson[-1] for lesson in part] for part in (lessons[:half], lessons[half:]))
    given = [stack.layers[0][1].weight for stack in stacks]
    own = [settings.build(data.schema.item, seed).layers[0][1].weight for seed in (7, 8, 9)]
    # Two learning rates on the first seed, then the other two seeds.
    assert all(torch.equal(given[turn], weights) for turn, weights in zip((0, 0, 1, 0), pretrained, strict=True))
    assert all(torch.equal(own[number], weights) for number, weights in zip((0, 0, 1, 2), random, strict=True))


def test_fewer_labels_than_classes_are_refused_by_name(project: Sandbox) -> None:
    expected = r"studies.pretraining.few.quick.fine_tuning.0.labels: 5, must be 10 \(a label a class\) to"
    with contextlib.chdir(project.root), pytest.raises(SettingError, match=expected):
        pretraining.main("few")
    assert not (project.root / "studies" / "pretraining-few").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"dataset": "digit"}, "studies.pretraining.digits.dataset: digit, must be one of digits"),
        ({"corruption": {"kind": "masking", "share": 2}}, "pretraining.digits.corruption.share: 2, must be at most 1"),
        ({"layers": [0]}, "studies.pretraining.digits.layers.0: 0, must be at least 1"),
        ({"quick": BUDGET | {"fine_tuning": BUDGET["fine_tuning"] * 2}}, "must name each number of labels once"),
        ({"hidden": [3]}, "studies.pretraining.digits.hidden: is no known key; allowed here: layers, activation"),
    ],
)
def test_a_mistake_in_the_settings_is_named(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(StageError) as caught:
        parse_params(PARAMS | {"studies": {"pretraining": {"digits": STUDY | change}}})
    assert expected in str(caught.value)


def row(pretrained: tuple[float, ...], random: tuple[float, ...]) -> Row:
    return Row(1000, {"pretrained": Outcome(1e-3, pretrained, (0.0,)), "random": Outcome(1e-3, random, (0.0,))})


@pytest.mark.parametrize(
    ("pretrained", "random", "says"),
    [
        ((6.0, 6.2), (9.0, 9.2), "pretraining helps, and the intervals do not overlap"),
        ((9.0, 9.2), (6.0, 6.2), "pretraining hurts, and the intervals do not overlap"),
        ((6.0, 9.0, 12.0), (7.0, 10.1, 13.0), "The intervals overlap, but seed for seed, pretraining takes off 1.03"),
        ((7.0, 10.1, 13.0), (6.0, 9.0, 12.0), "it hurts."),
        ((6.0, 7.0, 6.5), (6.5, 6.6, 6.4), "no significant difference"),
        ((6.0,), (9.0,), "one seed each, so it says nothing about chance"),
    ],
)
def test_a_finding_is_no_surer_than_its_intervals(
    pretrained: tuple[float, ...], random: tuple[float, ...], says: str
) -> None:
    assert says in finding(row(pretrained, random), stacks=1)


def test_a_network_that_has_not_learnt_its_labels_is_named() -> None:
    good, bad = Outcome(1e-3, (6.0, 6.2), (0.01, 0.02)), Outcome(1e-3, (40.0, 42.0), (0.9, 0.7))
    told = finding(Row(100, {"pretrained": good, "random": bad}), stacks=1)
    assert told.endswith("Not trained to the end: the one from random weights (0.80 nats left).")
    assert "trained to the end" not in finding(Row(100, {"pretrained": good, "random": good}), stacks=1)


def test_a_finding_gives_intervals_by_students_t() -> None:
    # Means 6.1 and 9.1, standard errors 0.1, and t = 12.706 for two figures.
    told = finding(row((6.0, 6.2), (9.0, 9.2)), stacks=1)
    assert "6.10 (4.83–7.37) %" in told
    assert "9.10 (7.83–10.37) %" in told
    assert "takes off 3.00 points" in told


def test_a_finding_says_how_many_pretrainings_its_intervals_are_over() -> None:
    told = [finding(row((6.0, 6.2), (9.0, 9.2)), stacks) for stacks in (1, 2)]
    assert "2 seeds of fine-tuning, 1 pretrained stack)" in told[0]
    assert "2 seeds of fine-tuning, 2 pretrained stacks)" in told[1]
