"""The error of data that cannot be used."""

from __future__ import annotations


class DataError(ValueError):
    """Data that is missing, damaged or not what its contract allows; the text says which, where and why."""
