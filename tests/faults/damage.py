"""Ways to damage a file: bytes flipped, overwritten, cut, added, moved; values of a document replaced, keys changed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

Damage = tuple[str, bytes]  # what was done, and the damaged content

HUGE = (2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1, 0)


class Raw(str):
    """A value's text, put into a document as it is."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """An object's keys and values, where a key may come twice."""

    __slots__ = ()


VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1.5, -0.5, 10**19, 10**30, 10**5000, 1e308, Raw("1e999"), Raw("-1e999"), Raw("NaN"),
    Raw("Infinity"), Raw("-0"), "", " ", "0", "nan", "null", "../../evil", "/dev/zero", "a\nb", "a\tb",
    "x" * 100_000, Raw('"\\ud800"'), Raw('"\\u0000"'), "é" * 300, [], {}, [None], {"a": 1}, [[]], ["a", 1], [0] * 1000,
    Raw("[" * 150 + "]" * 150), Raw("[" * 100_000 + "]" * 100_000), Raw('{"a":' * 5000 + "1" + "}" * 5000),
)  # fmt: skip
YAML_VALUES: tuple[Any, ...] = (
    Raw(".nan"), Raw(".inf"), Raw("-.INF"), Raw("2020-01-01"), Raw("2020-01-01T00:00:00Z"), Raw("1:20"), Raw("0o17"),
    Raw("0x1f"), Raw("1_000"), Raw("yes"), Raw("~"), Raw("!!binary aGFsbG8="), Raw("!!set {a, b}"), Raw("&a [*a]"),
    Raw("!!python/name:os.system"), Raw("!!int abc"), Raw("!!float ''"), Raw("{[a, b]: c}"), Raw("{? {a: b} : c}"),
    Raw("{1: 2}"), Raw("{null: 1}"), Raw("{true: 1}"), Raw("{<<: 1}"), Raw("*nothing"), Raw("&a &b x"), Raw("@x"),
    Raw("[&a [x,x,x,x,x,x,x,x], &b [*a,*a,*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b,*b,*b], "
        "&d [*c,*c,*c,*c,*c,*c,*c,*c], &e [*d,*d,*d,*d,*d,*d,*d,*d], &f [*e,*e,*e,*e,*e,*e,*e,*e], "
        "&g [*f,*f,*f,*f,*f,*f,*f,*f], &h [*g,*g,*g,*g,*g,*g,*g,*g], [*h,*h,*h,*h,*h,*h,*h,*h]]"),
    Raw("!!timestamp 99999-99-99"), Raw("2020-99-99"), Raw("!foo bar"), Raw("|\n x"), Raw("%YAML 9.9"),
)  # fmt: skip


def damaged_bytes(content: bytes, draw: random.Random) -> Damage:
    """Damage a file without regard for what it means; mostly near its ends, where headers are."""
    way = draw.choice((flip, flip, overwrite, zero, truncate, extend, delete, duplicate, swap, length, shred))
    return way(content, draw)


def place(content: bytes, draw: random.Random) -> int:
    """Return a position: half the time near an end."""
    near = min(len(content), 160)
    where = draw.random()
    if where < 0.3:
        return draw.randrange(near or 1)
    if where < 0.5:
        return len(content) - 1 - draw.randrange(near or 1)
    return draw.randrange(len(content) or 1)


def flip(content: bytes, draw: random.Random) -> Damage:
    """Flip one to four bits."""
    changed = bytearray(content)
    places = [place(content, draw) for _ in range(draw.choice((1, 1, 2, 4)))] if content else []
    for at in places:
        changed[at] ^= 1 << draw.randrange(8)
    return f"bits flipped at {places}", bytes(changed)


def overwrite(content: bytes, draw: random.Random) -> Damage:
    """Overwrite a run with random bytes."""
    at, size = place(content, draw), draw.choice((1, 4, 16, 100))
    return f"{size} bytes overwritten at {at}", content[:at] + draw.randbytes(size) + content[at + size :]


def zero(content: bytes, draw: random.Random) -> Damage:
    """Fill a run with zeros, as a disk does that was full or lost its power."""
    at, size = place(content, draw), draw.choice((1, 8, 64, 512, len(content)))
    size = min(size, len(content) - at)
    return f"{size} zeros at {at}", content[:at] + bytes(size) + content[at + size :]


def truncate(content: bytes, draw: random.Random) -> Damage:
    """Cut the end off."""
    size = draw.choice((0, 1, len(content) // 2, len(content) - 1, place(content, draw)))
    return f"cut to {size} of {len(content)} bytes", content[: max(0, size)]


def extend(content: bytes, draw: random.Random) -> Damage:
    """Add something to the end: zeros, noise, or the file once more."""
    added = draw.choice((b"\0", bytes(64), draw.randbytes(64), b"\n", content))
    return f"{len(added)} bytes added", content + added


def delete(content: bytes, draw: random.Random) -> Damage:
    """Take a run out."""
    at, size = place(content, draw), draw.choice((1, 4, 16, 100))
    return f"{size} bytes deleted at {at}", content[:at] + content[at + size :]


def duplicate(content: bytes, draw: random.Random) -> Damage:
    """Say a run twice."""
    at, size = place(content, draw), draw.choice((1, 4, 16, 100))
    return f"{size} bytes at {at} doubled", content[: at + size] + content[at:]


def swap(content: bytes, draw: random.Random) -> Damage:
    """Exchange two neighbouring runs."""
    at, size = place(content, draw), draw.choice((1, 4, 16))
    first, second = content[at : at + size], content[at + size : at + 2 * size]
    return f"{size} bytes at {at} exchanged with the next", content[:at] + second + first + content[at + 2 * size :]


def length(content: bytes, draw: random.Random) -> Damage:
    """Write a number where a length may be."""
    size, order = draw.choice((2, 4, 8)), draw.choice(("little", "big"))
    at = place(content, draw) // size * size
    number = draw.choice(HUGE) % (1 << 8 * size)
    return f"{number} as {size} bytes ({order}) at {at}", content[:at] + number.to_bytes(
        size, "little" if order == "little" else "big"
    ) + content[at + size :]


def shred(content: bytes, draw: random.Random) -> Damage:
    """Replace everything: by nothing, noise of the same size, or text in another encoding."""
    what, new = draw.choice((
        ("emptied", b""),
        ("noise", draw.randbytes(len(content))),
        ("UTF-16", content.decode("latin-1").encode("utf-16")),
        ("a byte order mark before it", b"\xef\xbb\xbf" + content),
        ("Latin-1 letters in it", content[: len(content) // 2] + b"\xe9\xff" + content[len(content) // 2 :]),
    ))  # fmt: skip
    return what, new


def damaged_document(
    content: bytes, draw: random.Random, load: Callable[[bytes], Any], values: tuple[Any, ...]
) -> Damage:
    """Change the structure of a JSON or YAML document, which stays readable as text."""
    tree = _pairs(load(content))
    nodes = list(_nodes(tree, ""))
    path, holder, key = draw.choice(nodes)
    value = draw.choice(values)
    shown = str(value)[:40] if isinstance(value, Raw) else repr(value)[:40] if not _is_big(value) else "10**5000"
    ways: list[str] = ["replace", "replace", "replace", "remove", "add", "copy"]
    if isinstance(holder, Pairs):
        ways += ["rename", "twice"]
    way = draw.choice(ways)
    if way == "replace":
        _put(holder, key, value)
        what = f"{path} replaced by {shown}"
    elif way == "remove":
        del holder[key]
        what = f"{path} removed"
    elif way == "add":
        name = draw.choice(("unknown", "", "x" * 10_000, "kind", "name", "__class__"))
        holder.insert(key, (name, value) if isinstance(holder, Pairs) else value)
        what = f"{name[:20]!r}: {shown} added before {path}"
    elif way == "copy":
        other, source, at = draw.choice(nodes)
        # A copy, for the other may hold this one.
        _put(holder, key, copy.deepcopy(source[at][1] if isinstance(source, Pairs) else source[at]))
        what = f"{path} replaced by {other}"
    elif way == "rename":
        name = draw.choice((holder[key][0] + "_", holder[key][0].upper(), "", "x", "a\nb"))
        holder[key] = (name, holder[key][1])
        what = f"{path} renamed to {name!r}"
    else:
        holder.insert(draw.choice((key, key + 1)), (holder[key][0], value))
        what = f"{path} twice, once as {shown}"
    return what, emit(tree).encode("utf-8", "surrogatepass")


def damaged_json(content: bytes, draw: random.Random) -> Damage:
    """Damage a JSON file: two thirds its structure, one third its bytes."""
    return damaged_document(content, draw, json.loads, VALUES) if draw.random() < 0.67 else damaged_bytes(content, draw)


def emit(node: Any) -> str:
    """Return a tree with Pairs and Raw in it as JSON text."""
    if isinstance(node, Raw):
        return str(node)
    if isinstance(node, Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}: {emit(value)}" for key, value in node) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(emit, node)) + "]"
    return "1" + "0" * 5000 if _is_big(node) else json.dumps(node)


def _is_big(node: Any) -> bool:
    return isinstance(node, int) and node > 10**100  # Python itself prints no number of so many digits


def _pairs(node: Any) -> Any:
    if isinstance(node, dict):
        return Pairs((str(key), _pairs(value)) for key, value in node.items())
    return [_pairs(value) for value in node] if isinstance(node, list) else node


def _nodes(node: Any, path: str) -> list[tuple[str, Any, int]]:
    """Return the way, the container and the place in it of every value below a node."""
    found: list[tuple[str, Any, int]] = []
    for at, child in enumerate(node if isinstance(node, list) else ()):
        key, value = child if isinstance(node, Pairs) else (at, child)
        below = f"{path}.{key}" if path else str(key)
        found += [(below, node, at), *_nodes(value, below)]
    return found


def _put(holder: Any, at: int, value: Any) -> None:
    holder[at] = (holder[at][0], value) if isinstance(holder, Pairs) else value
