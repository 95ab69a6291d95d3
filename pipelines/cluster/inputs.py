"""Files and folders on their way to workers: by their path where a worker sees it, else as a copy, one a node."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

KEPT = 24 * 3600.0  # seconds since the last use after which a node's copy is deleted
CONTENT = "content"


@dataclass(frozen=True)
class Shipment:
    """A file or folder of the driver's machine.

    Attributes:
        path: where it is there.
        digest: of its content, where a copy travels.
        copy: the copy in Ray's object store, None where workers read the path itself.
    """

    path: str
    digest: str = ""
    copy: Any = None

    def here(self) -> Path:
        """Return a path on this machine that holds the same; workers of a node share one copy."""
        if self.copy is None:
            return Path(self.path)
        folder = Path(tempfile.gettempdir(), f"hourglass-{os.getuid()}", self.digest)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            made = folder / CONTENT / Path(self.path).name
            if not (folder / "whole").exists():
                _delete_old(folder.parent)
                _unpack(made, ray.get(self.copy))
                (folder / "whole").touch()
            os.utime(folder / "whole")
        return made


def ship(path: Path, copy: bool) -> Shipment:
    """Return a file or folder as a worker can have it; `copy` where workers may be on other machines."""
    if not copy:
        return Shipment(str(path))
    files = {"": path} if path.is_file() else {one.name: one for one in sorted(path.iterdir()) if one.is_file()}
    content = {name: np.frombuffer(one.read_bytes(), np.uint8) for name, one in files.items()}
    digest = hashlib.sha256()
    for name, array in content.items():
        digest.update(f"{name} {len(array)} ".encode())
        digest.update(array.data)
    return Shipment(str(path), digest.hexdigest(), ray.put(content))


def _unpack(place: Path, content: dict[str, np.ndarray[Any, Any]]) -> None:
    shutil.rmtree(place.parent, ignore_errors=True)  # of a worker that was killed
    place.parent.mkdir()
    for name, array in content.items():
        file = place / name if name else place
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(array.data)


def _delete_old(folder: Path) -> None:
    for other in folder.iterdir():
        whole = other / "whole"
        if whole.exists() and time.time() - whole.stat().st_mtime > KEPT:
            shutil.rmtree(other, ignore_errors=True)
