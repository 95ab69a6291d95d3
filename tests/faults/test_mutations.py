from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.faults import box
from tests.faults.box import Box
from tests.faults.damage import VALUES, YAML_VALUES, damaged_bytes, damaged_document, damaged_json, emit
from tests.faults.formats import Format, digest
from tests.faults.mutations import FORMATS, rounds

HERE = "note.txt"


def make(folder: Path) -> None:
    folder.mkdir()
    (folder / HERE).write_text("right")


def read(folder: Path) -> str:
    """Fall over a damaged file in the way that its first letter says."""
    text = (folder / HERE).read_text()
    match text[0]:
        case "d":
            import os

            os.kill(os.getpid(), signal.SIGSEGV)
        case "h":
            while True:
                pass
        case "m":
            return digest(bytearray(1 << 40))
        case "t":
            raise KeyError("traceback")
        case "n":
            raise ValueError("refused, but what?")
        case "o":
            raise ValueError(f"{HERE}: refused")
    return digest(text)


def becomes_died(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    return "d", b"d"


def becomes_hung(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    return "h", b"h"


def becomes_huge(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    return "m", b"m"


def becomes_traceback(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    return "t", b"t"


def becomes_nameless(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    return "n", b"n"


def becomes_wrong(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    return "w", b"wrong"


def becomes_refused(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    return "o", b"o"


def stays(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    return "stays", content


EXPECTED = {
    becomes_died: "the process died of SIGSEGV",
    becomes_hung: "not done after",
    becomes_huge: "MemoryError",
    becomes_traceback: "KeyError at test_mutations.py",
    becomes_nameless: "does not name note.txt",
    becomes_wrong: "accepted, with another content",
    becomes_refused: "",
    stays: "",
}


def test_whatever_a_reader_does_is_seen_and_the_next_round_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box, "TIME_LIMIT", 2.0)
    formats = [Format(way.__name__, HERE, make, read, (ValueError,), way) for way in EXPECTED]
    with Box(formats) as boxed:
        for form, expected in zip(formats, EXPECTED.values(), strict=True):
            outcome = boxed.round(form, seed=0, number=0)
            if expected:
                (problem,) = outcome.problems
                assert expected in problem, form.name
            else:
                assert outcome.problems == (), form.name


def test_a_round_can_be_repeated_from_its_seed() -> None:
    document = b'{"a": [1, 2.5, {"b": null}], "c": "text"}'
    for way in (damaged_bytes, damaged_json):
        assert way(document, random.Random("0-7")) == way(document, random.Random("0-7"))
    assert len({damaged_json(document, random.Random(f"0-{n}"))[1] for n in range(200)}) > 150


@pytest.mark.parametrize("value", range(len(VALUES + YAML_VALUES)))
def test_every_value_can_be_put_into_a_document(value: int) -> None:
    import json

    chosen = (VALUES + YAML_VALUES)[value]
    what, content = damaged_document(b'{"a": 1}', random.Random(value), json.loads, (chosen,))
    assert what
    assert content
    assert emit(chosen)


def test_damaged_files_of_every_format_are_refused_or_read_as_they_are() -> None:
    outcomes = list(rounds(seed=0, count=2 * len(FORMATS)))
    assert {outcome.kind.rpartition(": ")[0] for outcome in outcomes} == {form.name for form in FORMATS}
    assert [f"{outcome.what}: {problem}" for outcome in outcomes for problem in outcome.problems] == []
