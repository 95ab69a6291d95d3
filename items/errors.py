"""The errors of an item that cannot be read."""

from __future__ import annotations


class ItemError(ValueError):
    """An item that cannot be read: gives the reason, without the item's name, which the caller knows."""


class SizeError(ItemError):
    """A whole item of another size than the wanted one."""
