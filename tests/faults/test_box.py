"""A reader of damaged files may do anything: it is seen. The box imports this file too, so it imports little."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from tests.faults import box
from tests.faults.box import Box
from tests.faults.formats import Format, digest

HERE = "note.txt"


def make(folder: Path) -> None:
    folder.mkdir()
    (folder / HERE).write_text("right")


def read(folder: Path) -> str:
    """Fall over a damaged file in the way that its first letter says."""
    text = (folder / HERE).read_text()
    match text[0]:
        case "d":
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
    becomes_traceback: "KeyError at test_box.py",
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
