"""A lock for a single writer of a folder; the system releases it when its process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockedError(ValueError):
    """Another process writes to the folder: the message says which."""


@contextmanager
def locked(path: Path, folder: Path) -> Iterator[None]:
    """Hold a lock file while `folder` is written, and remove the file afterwards.

    Raises:
        LockedError: another process holds it.
    """
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read(200).strip() or "another process"
            file.close()
            raise LockedError(f"{folder}: {owner} is writing to it; wait for it, or give another folder") from None
        if _is_at(file.fileno(), path):
            break
        file.close()  # its holder removed it between opening and locking, so others lock another file
    with file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        try:
            yield
        finally:
            if _is_at(file.fileno(), path):  # else it was removed, and another process may hold a new file
                path.unlink(missing_ok=True)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
