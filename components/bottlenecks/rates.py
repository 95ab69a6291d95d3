"""Limits of a code: it may cost no more than the raw item that it stands for."""

from __future__ import annotations

from components.settings import SettingError
from items.code import CodeSpec
from items.spec import ItemSpec


def check_rate(code: CodeSpec, item: ItemSpec, key: str, value: object) -> None:
    """Check how many bits a discrete code has.

    Raises:
        SettingError: the code costs more bits than the raw item; names `key`, the setting to blame, and its value.
    """
    if code.bits_per_item > item.bits:
        allowed = f"must make a code of at most {item.bits} bits, one raw item's; it makes {code.bits_per_item:g}"
        raise SettingError(key, value, allowed)


def check_width(item: ItemSpec, key: str, value: int) -> None:
    """Check how many real numbers a code has.

    Raises:
        SettingError: more than the raw item; names `key`, the setting to blame, and its value.
    """
    if value > item.values:
        raise SettingError(key, value, f"must be at most {item.values}, the numbers in one item")
