"""The error of data that cannot be used."""

from __future__ import annotations


class DataError(ValueError):
    """Data that is missing, damaged or not what its contract allows; the text says which, where and why."""


def one_line(text: object, longest: int = 500) -> str:
    """Return a text in one line, cut after `longest` characters: what a damaged file holds may be of any length."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else f"{line[:longest]} …"
