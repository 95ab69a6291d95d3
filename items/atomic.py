"""Files and folders that are whole or absent, whenever their writer is killed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_file(path: Path, content: bytes) -> None:
    """Write a file, in place of one that is there; folders above it are created."""
    with written_file(path) as partial:
        partial.write_bytes(content)


@contextmanager
def written_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which takes the place of `path` at the end, and only if no error was raised.

    Each writer has a path of its own, in the same folder, so that several may write the same file at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def publish(partial: Path, path: Path) -> None:
    """Rename a finished file, once its content is on the disk, and wait until the new name is there too."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write to, which takes the place of `folder` at the end, and only if no error was raised.

    An earlier `folder` is moved away and deleted last: a kill leaves it whole or absent, never with half of its files.
    Only one process may write a folder at a time.
    """
    new, old = folder.parent / f".{folder.name}.partial", folder.parent / f".{folder.name}.old"
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed
    new.mkdir(parents=True)
    try:
        yield new
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
