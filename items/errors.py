"""Errors of items that cannot be read, and the reasons as one line of text."""

from __future__ import annotations

from pydantic import ValidationError


class ItemError(ValueError):
    """An item cannot be read. The message is the reason; the caller adds the item's name."""


class SizeError(ItemError):
    """An item can be read, but has another size than the wanted one."""


def one_line(text: object, longest: int = 500) -> str:
    """Return a text as one line, cut after `longest` characters, since a damaged file may hold text of any length."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else f"{line[:longest]} …"


def first_error(error: ValidationError) -> str:
    """Return the first of pydantic's errors as one line: `key: reason`."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return one_line(f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg'].removeprefix('Value error, ')}")
