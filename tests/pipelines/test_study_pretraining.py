"""The study of pretraining, on digits, and its page of given results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from study_lab import StudyLab, run_here

from components.classifier import Classifier, Labelled, fine_tune
from components.data.raw import Outline
from components.models import Epoch
from components.pretraining import StackSettings
from components.training import TrainingSettings
from pipelines.studies.contract import Study
from pipelines.studies.pretraining import PretrainingSettings, training
from pipelines.studies.pretraining.page import Outcome, Row, describe, rows_of
from pipelines.studies.pretraining.training import Start, Training

BUDGET = {
    "epochs": 2,
    "stacks": 2,
    "fine_tuning": [{"labels": 20, "epochs": 10, "seeds": 3}, {"labels": None, "epochs": 2, "seeds": 1}],
}
STUDY: dict[str, Any] = {
    "kind": "pretraining",
    "layers": [32, 16],
    "corruption": {"kind": "masking", "share": 0.3},
    "fine_tuning": {"batch_size": 32, "learning_rates": [1e-7, 1e-2]},
    "quick": BUDGET,
    "paper": BUDGET,
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> StudyLab:
    made = StudyLab.shared(tmp_path_factory)
    made.dataset()
    return made


@pytest.fixture(scope="module")
def study(lab: StudyLab) -> Study:
    return lab.study("pretraining", STUDY)


def test_the_study_compares_both_starts(lab: StudyLab, study: Study) -> None:
    everything = lab.dataset().count("train")
    for labels in (20, everything):
        random, pretrained = (study.metrics[f"{start}_error_{labels}"] for start in ("random", "pretrained"))
        assert 0 < pretrained < 80
        assert 0 < random < 80
        assert study.metrics[f"gain_{labels}"] == pytest.approx(random - pretrained)
    assert study.metrics[f"random_error_{everything}"] < study.metrics["random_error_20"]
    assert [line[2] for line in study.tables[1].rows] == ["0.01"] * 4  # 1e-7 learns nothing, as validation shows
    assert [line[-1] for line in study.tables[0].rows] == ["3", "1"]
    assert study.tables[0].rows[1][3] == f"{study.metrics[f'gain_{everything}']:.2f}", "one seed has no interval"
    assert [p.file for p in study.pictures] == ["errors.png", "filters.png"]


def test_running_it_again_trains_nothing_and_gives_the_same_page(lab: StudyLab, study: Study) -> None:
    (lab.project.study("digits", "pretraining") / "study.json").unlink()
    assert run_here(lab.unit("pretraining", STUDY)) == ["pretraining"]
    assert lab.page("pretraining") == study


def test_each_part_redoes_only_what_its_own_settings_change(lab: StudyLab, study: Study) -> None:
    shorter = BUDGET | {"fine_tuning": [BUDGET["fine_tuning"][0], {"labels": None, "epochs": 1, "seeds": 1}]}
    done = run_here(lab.unit("pretraining", STUDY | {"quick": shorter}))
    assert done[-1] == "pretraining"
    assert len(done) == 5  # two starts with two learning rates each, and the page
    assert all("all labels" in name for name in done[:-1])
    other = lab.unit("pretraining", STUDY | {"corruption": {"kind": "masking", "share": 0.5}})
    kept = {need.name for need in other.needs if need.done()}
    assert kept == {need.name for need in other.needs if "random start" in need.name}


def test_both_starts_get_the_same_labels_epochs_and_learning_rates(
    lab: StudyLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lessons: dict[str, list[tuple[Any, ...]]] = {"pretrained": [], "random": []}
    start = "pretrained"

    def watched(classifier: Classifier, settings: TrainingSettings, shown: Labelled, *rest: int) -> Iterator[Epoch]:
        weights = classifier.stack.layers[0][1].weight.detach().clone()
        lessons[start].append((settings, shown.items.sum(0).tobytes(), shown.labels.tobytes(), *rest, weights))
        return fine_tune(classifier, settings, shown, *rest)

    monkeypatch.setattr(training, "fine_tune", watched)
    budget = BUDGET | {"fine_tuning": [{"labels": 30, "epochs": 1, "seeds": 3}]}
    page = lab.unit("pretraining", STUDY | {"quick": budget}, seed=7)
    trainings = page.inputs["trainings"]
    assert isinstance(trainings, tuple)
    for unit in trainings:
        start = unit.arguments["start"]
        run_here(unit)
    pretrained, random = lessons["pretrained"], lessons["random"]
    assert [lesson[:-1] for lesson in pretrained] == [lesson[:-1] for lesson in random]
    assert len(random) == 4  # two learning rates on the first seed, then the other two seeds
    assert len({lesson[1] for lesson in random}) == 3  # labels of each seed's own
    assert len({lesson[0] for lesson in random[2:]}) == 1
    data, network = lab.dataset(), StackSettings(layers=(32, 16))
    own = [network.build(data.schema.item, seed).layers[0][1].weight for seed in (7, 8, 9)]
    assert all(torch.equal(own[number], lesson[-1]) for number, lesson in zip((0, 0, 1, 2), random, strict=True))
    given = []
    for unit in trainings:
        if "pretrained" in unit.inputs:
            stack = unit.inputs["pretrained"]
            given.append(load_file(stack.storage.local / training.WEIGHTS)["layers.0.1.weight"])  # type: ignore[union-attr, operator]
    assert all(torch.equal(weights, lesson[-1]) for weights, lesson in zip(given, pretrained, strict=True))
    turns = [first.data_ptr() for first in given]
    assert len(turns) == 4
    assert torch.equal(given[0], given[3]), "the third seed has the first stack again"
    assert not torch.equal(given[0], given[2])


def test_the_best_learning_rate_is_that_of_the_lowest_validation_error() -> None:
    first, second, third = (result(20, "random", 0, rate, error, 0.0) for rate, error in ((1, 0.4), (2, 0.1), (3, 0.1)))
    assert training.best([first, second, third]) is second


@pytest.mark.parametrize(
    ("outline", "expected"),
    [
        ({"classes": 10, "train": 100}, "quick.fine_tuning.0.labels: 5, must be 10 (a label a class) to 100 (the"),
        ({"classes": None, "train": 100}, "kind: pretraining, must be of a dataset with classes"),
        ({"classes": 2, "train": 4}, "quick.fine_tuning.0.labels: 5, must be 2 (a label a class) to 4 (the"),
    ],
)
def test_labels_that_the_dataset_does_not_have_are_refused(
    lab: StudyLab, outline: dict[str, Any], expected: str
) -> None:
    few = {"epochs": 1, "fine_tuning": [{"labels": 5, "epochs": 1, "seeds": 1}]}
    settings = PretrainingSettings.model_validate(STUDY | {"quick": few, "paper": few})
    errors = [str(error) for error in settings.errors(Outline(item=lab.dataset().schema.item, **outline))]
    assert errors[0].startswith(expected)
    assert not list(settings.errors(Outline(item=lab.dataset().schema.item, classes=5, train=100)))


def result(labels: int, start: Start, seed: int, rate: float, error: float, left: float) -> Training:
    return Training(
        labels=labels, start=start, seed=seed, learning_rate=rate, validation=error, test=error, cross_entropy=left
    )


def test_a_row_has_the_chosen_training_of_the_first_seed_and_all_others() -> None:
    trainings = [
        result(20, "pretrained", 4, 0.1, 0.5, 0.9),
        result(20, "pretrained", 4, 0.2, 0.2, 0.1),
        result(20, "pretrained", 6, 0.2, 0.4, 0.2),
        result(20, "pretrained", 5, 0.2, 0.3, 0.3),
        *(result(20, "random", seed, 0.1, 0.5, 0.0) for seed in (4, 5, 6)),
    ]
    (row,) = rows_of(trainings, 1000)
    outcome = row.outcomes["pretrained"]
    assert outcome.learning_rate == 0.2
    assert outcome.errors == (20, 30, 40)
    assert outcome.cross_entropies == (0.1, 0.3, 0.2)
    assert row.gains == [30, 20, 10]


def page(pretrained: tuple[float, ...], random: tuple[float, ...], left: float = 0.0) -> Study:
    row = Row(1000, {"pretrained": Outcome(1e-3, pretrained, (left,)), "random": Outcome(1e-3, random, (0.0,))})
    place = {"kind": "pretraining", "name": "pretraining", "dataset": "digits"}
    return describe(place, StackSettings(layers=(8,)), 1, 1, [row], ("errors.png",))


def test_the_page_gives_intervals_by_students_t() -> None:
    # Means 6.1 and 9.1, standard errors 0.1, and t = 12.706 for two values; the differences are all 3.
    study = page((6.0, 6.2), (9.0, 9.2))
    assert study.tables[0].rows[0] == ("1,000", "6.10 (4.83–7.37)", "9.10 (7.83–10.37)", "3.00 (3.00 to 3.00)", "2")
    assert study.summary == "Points of test error that pretraining saves: 3.00 (3.00 to 3.00) with 1,000 labels."
    assert page((6.0,), (9.0,)).tables[0].rows[0][1:4] == ("6.00", "9.00", "3.00")


def test_what_a_start_has_not_learned_is_in_the_table() -> None:
    assert page((6.0, 6.2), (9.0, 9.2), left=0.8).tables[1].rows[0] == ("1,000", "Pretrained layers", "0.001", "0.8")
