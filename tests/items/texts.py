"""Texts that come with Python: the docstrings of its standard library's string and file modules, one each."""

from __future__ import annotations

import inspect
import pathlib
import shutil
import statistics
import string
import tempfile
import textwrap

MODULES = (pathlib, shutil, statistics, string, tempfile, textwrap)


def _docstrings() -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for module in MODULES:
        for _, thing in sorted(inspect.getmembers(module)):
            for member in (
                [thing, *(each for _, each in sorted(vars(thing).items()))] if inspect.isclass(thing) else [thing]
            ):
                text = inspect.getdoc(member) if callable(member) else None
                if text and len(text) > 40:
                    found.setdefault(text, module.__name__)
    return list(found.items())


PAIRS = _docstrings()
TEXTS = [text for text, _ in PAIRS]
TOPICS = [topic for _, topic in PAIRS]
