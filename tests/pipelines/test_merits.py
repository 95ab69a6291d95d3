"""What each experiment is said to be good for, and never more than its figures show."""

from __future__ import annotations

import re
from typing import Any

from lab import MLP, VQVAE, Lab, read

from pipelines.compare import merits

Interval = tuple[float, float, float]
UNTOLD: dict[str, Any] = {"ssim": None, "probe_accuracy": None}


def around(mean: float, half: float) -> Interval:
    return mean, mean - half, mean + half


def said(lab: Lab) -> dict[str, list[str]]:
    """Return every experiment's merits as a reader sees them."""
    entries = read(lab)
    return {e.name: [re.sub(r"<[^>]+>", "", merit) for merit in merits(e, entries)] for e in entries}


def test_a_lead_that_is_apart_is_said_outright(lab: Lab) -> None:
    lab.experiment("good", squared_error=around(3, 0.1), knn_accuracy=around(0.8, 0.01), **UNTOLD)
    lab.experiment("bad", squared_error=around(6, 0.1), knn_accuracy=around(0.9, 0.01), **UNTOLD)
    assert said(lab) == {"good": ["lowest squared error"], "bad": ["best nearest neighbours"]}


def test_a_lead_that_is_not_apart_is_shared_and_goes_to_the_smallest_code(lab: Lab) -> None:
    accuracy = {"large": 0.97, "middling": 0.968, "small": 0.965, "poor": 0.9}
    for bits, (name, right) in zip((512, 256, 128, 256), accuracy.items(), strict=True):
        lab.experiment(name, bits=bits, squared_error=None, knn_accuracy=around(right, 0.004), **UNTOLD)
    told = said(lab)
    assert told["large"] == told["middling"] == ["nearest neighbours (not apart from the best)"]
    assert told["small"][0] == "nearest neighbours (not apart from the best, and the smallest such code)"
    assert told["poor"] == ["nothing here that small does not do better for fewer bits"]


def test_the_front_holds_those_that_nothing_as_small_comes_near(lab: Lab) -> None:
    errors = {"best": (512, 2.0), "fair": (256, 4.0), "tied": (256, 4.1), "lone": (128, 8.0), "least": (64, 9.0)}
    for name, (bits, error) in errors.items():
        lab.experiment(name, bits=bits, squared_error=around(error, 0.2), knn_accuracy=None, **UNTOLD)
    told = said(lab)
    front = ["on the front, nothing as small being as good: squared error"]
    assert told["best"] == ["lowest squared error"]
    assert told["lone"] == front
    assert told["fair"] == ["nothing of its own: for no more bits tied is not apart in squared error"]
    assert told["tied"] == ["nothing of its own: for no more bits fair is not apart in squared error"]
    assert told["least"] == ["smallest code"]


def test_one_that_another_dominates_is_told_which(lab: Lab) -> None:
    lab.experiment("winner", bits=64, squared_error=around(2, 0.1), knn_accuracy=around(0.9, 0.01), **UNTOLD)
    lab.experiment("loser", bits=64, squared_error=around(3, 0.1), knn_accuracy=around(0.8, 0.01), **UNTOLD)
    assert said(lab)["loser"] == ["nothing here that winner does not do better for no more bits"]


def test_one_that_several_outdo_is_told_each_and_ties_stay_ties(lab: Lab) -> None:
    lab.experiment("faithful", bits=64, squared_error=around(2, 0.1), knn_accuracy=around(0.5, 0.01), **UNTOLD)
    lab.experiment("telling", bits=64, squared_error=around(9, 0.1), knn_accuracy=around(0.9, 0.01), **UNTOLD)
    lab.experiment("best", bits=512, squared_error=around(9, 0.1), knn_accuracy=around(0.99, 0.01), **UNTOLD)
    lab.experiment("middling", bits=128, squared_error=around(5, 0.1), knn_accuracy=around(0.895, 0.01), **UNTOLD)
    assert said(lab)["middling"] == [
        "nothing of its own: for no more bits faithful is better in squared error; "
        "telling is not apart in nearest neighbours"
    ]


def test_what_codes_can_do_is_said_whatever_the_figures(lab: Lab) -> None:
    lab.experiment("winner", bits=32, squared_error=around(1, 0.1), knn_accuracy=around(0.99, 0.001), **UNTOLD)
    lab.experiment("vq", model=VQVAE, bits=80, **UNTOLD)
    lab.experiment("map", model=MLP, shape=(2,), bits=64, **UNTOLD)
    lab.experiment("sparse", model=MLP, active_fraction=around(0.125, 0.01), **UNTOLD)
    lab.experiment("dense", model=MLP, active_fraction=around(0.75, 0.01), **UNTOLD)
    told = said(lab)
    assert told["vq"] == ["discrete codes: can be indexed and entropy-coded"]
    assert told["map"] == ["two numbers: can be drawn as a map"]
    assert told["sparse"] == ["sparse: an item activates 12.5% of the units"]
    assert told["dense"] == ["nothing here that winner does not do better for fewer bits"]


def test_a_shared_smallest_code_names_the_others(lab: Lab) -> None:
    for name, bits in (("one", 64), ("two", 64), ("large", 128)):
        lab.experiment(name, bits=bits, squared_error=None, knn_accuracy=None, **UNTOLD)
    assert said(lab) == {
        "one": ["smallest code, as is that of two"],
        "two": ["smallest code, as is that of one"],
        "large": ["nothing was measured that could be compared"],
    }


def test_the_smallest_that_can_rebuild_is_on_the_front_beside_a_smaller_that_cannot(lab: Lab) -> None:
    lab.experiment("blind", bits=32, squared_error=None, **UNTOLD)
    lab.experiment("middle", bits=64, squared_error=around(5, 0.1), knn_accuracy=None, **UNTOLD)
    lab.experiment("large", bits=128, squared_error=around(4, 0.1), knn_accuracy=None, **UNTOLD)
    assert said(lab)["middle"] == ["on the front, nothing as small being as good: squared error"]


def test_a_lone_experiment_is_compared_with_nothing(lab: Lab) -> None:
    lab.experiment("alone", model=VQVAE)
    assert said(lab)["alone"] == [
        "discrete codes: can be indexed and entropy-coded", "nothing here to compare it with",
    ]  # fmt: skip
