"""What may be said of experiments side by side."""

from __future__ import annotations

import json
import re

from lab import Lab, read

from pipelines.compare.standings import apart, findings, standing


def said(lab: Lab) -> str:
    """Return what the report finds, as a reader sees it."""
    return re.sub(r"<[^>]+>", "", " ".join(findings(read(lab))))


def test_a_lead_is_called_apart_where_intervals_do_not_overlap(lab: Lab) -> None:
    lab.experiment("good", bits=64, squared_error=(3.0, 2.9, 3.1), knn_accuracy=(0.9, 0.89, 0.91))
    lab.experiment("bad", bits=32, squared_error=(6.0, 5.9, 6.1), knn_accuracy=(0.8, 0.79, 0.81))
    text = said(lab)
    assert (
        "good rebuilds items with the lowest squared error, 3.000 (2.900–3.100), for 64 bits an item, 8 times smaller"
        in text
    )
    assert "apart from every other; the next is bad with 6.000 (5.900–6.100)" in text
    assert "bad has the smallest code, 32 bits an item, 16 times smaller than the raw item" in text
    assert "2 times that of good" in text
    assert "The codes of good tell most about an item’s class by their nearest neighbours: 90.00% (89.00–91.00)" in text


def test_a_lead_is_not_called_apart_where_any_interval_overlaps(lab: Lab) -> None:
    lab.experiment("first", bits=64, squared_error=(3.0, 2.8, 3.2))
    lab.experiment("second", bits=64, squared_error=(3.3, 3.25, 3.35))
    lab.experiment("third", bits=32, squared_error=(3.4, 3.1, 3.7))
    lead = said(lab).split("The codes of")[0]
    assert "That is not apart from third with 3.400 (3.100–3.700)" in lead
    assert "apart from every other" not in lead
    assert "third has the smallest code, 32 bits an item" in lead
    assert "times that of" not in lead


def test_a_figure_without_an_interval_is_never_called_apart(lab: Lab) -> None:
    lab.experiment("one", squared_error=(3.0, 2.9, 3.1))
    lab.experiment("two", squared_error=(6.0, 5.9, 6.1))
    path = lab.project.metrics("two")
    document = json.loads(path.read_text())
    del document["intervals"]["squared_error"]
    path.write_text(json.dumps(document))
    one, two = read(lab)
    assert not apart(one, two, "squared_error")
    assert "That is not apart from two with 6.000" in said(lab)


def test_a_long_tie_names_three_and_counts_the_rest(lab: Lab) -> None:
    for name in "abcdef":
        lab.experiment(name)
    assert re.search(
        r"not apart from b with [^,]+, c with [^,]+, d with \S+ \S+ and 2 more: the intervals overlap", said(lab)
    )


def test_only_one_experiment_makes_no_comparison(lab: Lab) -> None:
    lab.experiment("alone")
    assert "No other experiment has this figure" in said(lab)
    assert "apart" not in said(lab)


def test_higher_accuracy_leads_and_lower_error_leads(lab: Lab) -> None:
    lab.experiment("accurate", squared_error=(5.0, 4.9, 5.1), knn_accuracy=(0.99, 0.98, 1.0))
    lab.experiment("faithful", squared_error=(2.0, 1.9, 2.1), knn_accuracy=(0.5, 0.4, 0.6))
    found = read(lab)
    leaders = {key: standing(found, key) for key in ("squared_error", "knn_accuracy")}
    assert {key: leader.best.name for key, leader in leaders.items() if leader} == {
        "squared_error": "faithful",
        "knn_accuracy": "accurate",
    }
