"""The errors of an item that cannot be read, and the words for what is wrong with a file."""

from __future__ import annotations

from pydantic import ValidationError


class ItemError(ValueError):
    """An item that cannot be read: gives the reason, without the item's name, which the caller knows."""


class SizeError(ItemError):
    """A whole item of another size than the wanted one."""


def one_line(text: object, longest: int = 500) -> str:
    """Return a text in one line, cut after `longest` characters: what a damaged file holds may be of any length."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else f"{line[:longest]} …"


def first_error(error: ValidationError) -> str:
    """Return what pydantic found wrong first, in one line: `key: reason`."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return one_line(f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg'].removeprefix('Value error, ')}")
