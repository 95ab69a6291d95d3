"""Run a module, and kill a process at the n-th time that the module changes a file below the current folder.

python tests/faults/hooked.py NUMBER COUNT VICTIM MODULE [WORD …]

COUNT is a file that gets a byte for each change. Watched are the module's process and those that it forks, which write
the results. VICTIM is `writer`, the process that makes the change, or `driver`, the module's own. A NUMBER of 0 only
counts.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")
HERE, DRIVER = Path.cwd(), os.getpid()


def is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    """Return whether an event of the interpreter changes a file below the current folder."""
    if event == "open":
        changes = isinstance(arguments[1], str) and bool(set(arguments[1]) & set("wax+"))
    else:
        changes = event in CHANGES
    return changes and (HERE / str(arguments[0])).is_relative_to(HERE) and "__pycache__" not in str(arguments[0])


def watcher(number: int, count: int, victim: str) -> Callable[[str, tuple[Any, ...]], None]:
    """Return a hook that adds a byte to the open file `count` for each change, and kills at the n-th."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if is_change(event, arguments):
            os.write(count, b".")
            if os.fstat(count).st_size == number:
                os.kill(os.getpid() if victim == "writer" else DRIVER, signal.SIGKILL)

    return watch


if __name__ == "__main__":
    number, file, victim, *sys.argv = sys.argv[1:]
    sys.path[0] = str(HERE)
    sys.addaudithook(watcher(int(number), os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), victim))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
