"""Files of items: regular files only, of bounded size, and none outside the given folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from io import FileIO
from pathlib import Path

from items.errors import ItemError

IMAGE_BYTES = 1 << 28  # 24 bits for each of the pixels that Pillow allows at most

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path) -> FileIO:
    """Open a regular file, or the regular file that a link points to, without waiting for the writer of a named pipe.

    Raises:
        ItemError: it is not a regular file.
        OSError: it cannot be opened.
    """
    _check_regular(path.stat())
    file = FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    try:
        _check_regular(os.fstat(file.fileno()))  # it may have been replaced
    except ItemError:
        file.close()
        raise
    return file


def path_within(folder: Path, name: str) -> Path:
    """Return the path of a file below a folder.

    Raises:
        ItemError: it is not there, or a link that leaves the folder.
    """
    path = folder / name
    if name.endswith("/"):
        raise ItemError("it is a folder that cannot be listed")
    if not path.is_symlink():
        return path
    try:
        target = path.resolve(strict=True)
    except FileNotFoundError:
        raise ItemError("it is a link to nothing") from None
    except (OSError, RuntimeError) as error:  # Python 3.11 and 3.12 raise RuntimeError at a circle of links
        raise ItemError(f"it is a link that cannot be followed: {error}") from error
    if not target.is_relative_to(folder.resolve()):
        raise ItemError("it is a link that leaves the folder, only links to files inside are followed")
    return path


def read_within(folder: Path, name: str, limit: int = IMAGE_BYTES) -> tuple[bytes, os.stat_result]:
    """Return the content of a file below a folder, and its status after it was read.

    Raises:
        ItemError: it cannot be read, is not a regular file, is empty or larger than `limit` bytes, or is a link out
            of the folder.
    """
    try:
        with open_regular(path_within(folder, name)) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise ItemError(f"it has {size} bytes, at most {limit} are read")
            content = file.read(size)
            status = os.fstat(file.fileno())
    except OSError as error:
        raise ItemError(f"it cannot be read: {error.strerror}") from error
    if not content:
        raise ItemError("it is empty")
    return content, status


def readable(name: str) -> str:
    """Return a file's name as text: bytes that are not UTF-8 are written out as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def names_below(folder: Path, suffixes: Collection[str]) -> Iterator[str]:
    """Yield the paths of the files below a folder, relative to it and sorted.

    Links to folders are not followed, since they could make a circle. A folder that cannot be listed is yielded too,
    with a slash at its end: reading it fails later, so that it is reported as an item that cannot be read.

    Args:
        folder: to walk.
        suffixes: of the wanted files, in lower case.

    Raises:
        OSError: `folder` itself cannot be listed.
    """
    waiting = [""]  # folders end in "/", so that they sort as the paths of their files do
    while waiting:
        name = waiting.pop()
        if name and not name.endswith("/"):
            yield name
            continue
        try:
            with os.scandir(folder / name) as children:
                found = [name + child.name + "/" * child.is_dir(follow_symlinks=False) for child in children]
        except OSError:
            if not name:
                raise
            yield name
            continue
        wanted = [each for each in found if each.endswith("/") or Path(each).suffix.lower() in suffixes]
        waiting += sorted(wanted, reverse=True)


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise ItemError(f"it is {kind}, only regular files are read")
