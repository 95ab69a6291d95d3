"""Processes that a round started, found by a mark in their environment, whatever session or group they moved to."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "HOURGLASS_FAULT"
GRACE = 10.0  # seconds after which nothing may be left


def marked(mark: str) -> dict[int, str]:
    """Return the command line of each live process, by process id, whose environment has MARK=`mark`."""
    wanted = f"{MARK}={mark}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        # A process may end while it is looked at; those of other users cannot be read, and are not ours.
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                if state not in "ZX":
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(folder.name)] = command.strip()
    found.pop(os.getpid(), None)
    return found


def left_behind(mark: str, grace: float = GRACE) -> tuple[str, ...]:
    """Wait until no marked process is left, at most `grace` seconds; end those that are, and name them."""
    deadline = time.monotonic() + grace
    while (found := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return tuple(f"process {process} is left after {grace:g} s: {command[:200]}" for process, command in found.items())
