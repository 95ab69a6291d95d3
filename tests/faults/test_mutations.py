from __future__ import annotations

import json
import random

import pytest

from tests.faults.damage import VALUES, YAML_VALUES, damaged_bytes, damaged_document, damaged_json, emit
from tests.faults.mutations import FORMATS, rounds


def test_a_round_can_be_repeated_from_its_seed() -> None:
    document = b'{"a": [1, 2.5, {"b": null}], "c": "text"}'
    for way in (damaged_bytes, damaged_json):
        assert way(document, random.Random("0-7")) == way(document, random.Random("0-7"))
    assert len({damaged_json(document, random.Random(f"0-{n}"))[1] for n in range(200)}) > 150


@pytest.mark.parametrize("value", range(len(VALUES + YAML_VALUES)))
def test_every_value_can_be_put_into_a_document(value: int) -> None:
    chosen = (VALUES + YAML_VALUES)[value]
    what, content = damaged_document(b'{"a": 1}', random.Random(value), json.loads, (chosen,))
    assert what
    assert content
    assert emit(chosen)


def test_damaged_files_of_every_format_are_refused_or_read_as_they_are() -> None:
    outcomes = list(rounds(seed=0, count=2 * len(FORMATS)))
    assert {outcome.kind.rpartition(": ")[0] for outcome in outcomes} == {form.name for form in FORMATS}
    assert [f"{outcome.what}: {problem}" for outcome in outcomes for problem in outcome.problems] == []
