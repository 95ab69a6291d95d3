"""Processes that a round started, found by a mark in their environment, whatever session or group they moved to."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path
from typing import NamedTuple

MARK = "HOURGLASS_FAULT"
GRACE = 10.0  # seconds after which nothing may be left

# A stage that uses Ray is three processes of one command line, each forked by the one before: the user's, the guard
# that ends what is left, and the one that talks to Ray. The others are known by what they are called.
FORKED = ("driver", "guard", "client")
CALLED = {
    "raylet": r"^\S+/raylet ",
    "gcs": r"^\S+/gcs_server ",
    "worker": r"^ray::(?!IDLE|\w+Agent)",
}
VICTIMS = (*FORKED, *CALLED)


class Process(NamedTuple):
    """A live process: the one that started it, and its command line."""

    parent: int
    command: str


def found(mark: str) -> dict[int, Process]:
    """Return the live processes, by process id, whose environment has MARK=`mark`; this one is never among them."""
    wanted = f"{MARK}={mark}".encode()
    marked = {}
    for folder in Path("/proc").iterdir():
        # A process may end while it is looked at; those of other users cannot be read, and are not ours.
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    marked[int(folder.name)] = Process(int(parent), command.strip())
    marked.pop(os.getpid(), None)
    return marked


def marked(mark: str) -> dict[int, str]:
    """Return the command line of each live process whose environment has MARK=`mark`, by process id."""
    return {pid: process.command for pid, process in found(mark).items()}


def victims(mark: str, victim: str) -> list[int]:
    """Return the processes of a stage that one of VICTIMS stands for; a stage is started by this process.

    A client outlives its guard, and then stands for it too.
    """
    processes = found(mark)
    if victim in CALLED:
        return sorted(pid for pid, process in processes.items() if re.search(CALLED[victim], process.command))
    drivers = {pid for pid, process in processes.items() if process.parent == os.getpid()}
    commands = {processes[pid].command for pid in drivers}
    forked = {pid for pid, process in processes.items() if process.command in commands} - drivers
    guards = {pid for pid in forked if processes[pid].parent in drivers}
    return sorted({"driver": drivers, "guard": guards or forked, "client": forked - guards}[victim])


def kill(pid: int) -> bool:
    """Kill a process; return whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def left_behind(mark: str, grace: float = GRACE) -> tuple[str, ...]:
    """Wait until no marked process is left, at most `grace` seconds; end those that are, and name them."""
    deadline = time.monotonic() + grace
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        kill(pid)
    return tuple(f"process {pid} is left after {grace:g} s: {command[:200]}" for pid, command in left.items())
