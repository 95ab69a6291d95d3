"""Work in a process of its own, nothing of which outlives it or this one.

A guard stands between the two and leads a session (setsid) that all the descendants of the work belong to. When the
work ends, or this process does, however it does, the guard kills what is left of the session.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from pipelines.cluster.environment import prepare
from pipelines.project import StageError

Emit = Callable[[Any], None]

TICK = 0.05  # seconds between two looks at the worker
PAUSE = 0.5  # seconds between two looks at the vital processes
PATIENCE = 30.0  # seconds for killed processes to go: one that waits for a dead disk cannot
ENDING = (signal.SIGINT, signal.SIGTERM)
VITAL = ("gcs_server", "raylet")


class Lost(RuntimeError):  # noqa: N818
    """The work did not come to its end."""


def keep_forkable() -> None:
    """Keep torch to one thread in this process. Call it before this process builds a model.

    The threads of OpenMP, which fill a large tensor, do not survive a fork: the work would wait for them forever.
    """
    import torch  # which a stage that builds no model does without

    torch.set_num_threads(1)


def confined(work: Callable[[Emit], None], log: Path, *, uses_ray: bool = False) -> Generator[Any]:
    """Run `work` in a forked process, and yield what it emits, anything that JSON can hold, as it comes.

    Args:
        work: is given a function to emit by.
        log: a file for what it writes to stdout and stderr.
        uses_ray: whether it connects to Ray, or starts one where RAY_ADDRESS names none. Once one of the processes that
            a Ray of its own cannot go on without was seen and is gone, the work is lost; Ray would wait for minutes.

    Raises:
        StageError: it raised this.
        Lost: it raised anything else, or was killed.
    """
    vital = VITAL if uses_ray and not os.environ.get("RAY_ADDRESS") else ()
    lines_in, lines_out = os.pipe()
    lifeline, ours = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until the guard has handlers of its own
    if not (guard := os.fork()):
        os.close(lines_in)
        os.close(ours)
        _guard(work, lines_out, log, lifeline, vital, uses_ray)
    os.close(lines_out)
    os.close(lifeline)
    last: tuple[str, Any] = ("lost", "")
    guarded = os.pidfd_open(guard)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for line in _lines(lines_in, guarded):
            last = kind, value = json.loads(line)
            if kind == "emitted":
                yield value
    finally:
        for end in (guarded, lines_in, ours):
            os.close(end)
        os.waitid(os.P_PID, guard, os.WEXITED | os.WNOWAIT)  # not reaped yet: its id stays that of its session
        _kill_session(guard)  # the guard may have been killed itself
        _, status = os.waitpid(guard, 0)
    kind, value = last
    if kind == "refused":
        raise StageError(value)
    if kind == "raised":
        raise Lost(value)
    if kind != "done":
        code = os.waitstatus_to_exitcode(status)
        raise Lost(_ENDS.get(code, f"it was ended by signal {code - 128}" if code > 128 else f"it exited with {code}"))


VITAL_GONE = 64
_ENDS = {VITAL_GONE: "a process that it needs was killed", -signal.SIGKILL: "its guard was killed"}


def _lines(source: int, guarded: int) -> Generator[bytes]:
    """Yield the whole lines of a pipe, until its end or the guard's: without a guard nothing would end the work."""
    rest = b""
    while source in select.select([source, guarded], [], [])[0] and (read := os.read(source, 2**16)):
        *lines, rest = (rest + read).split(b"\n")
        yield from lines


def _guard(
    work: Callable[[Emit], None], lines_out: int, log: Path, lifeline: int, vital: tuple[str, ...], uses_ray: bool
) -> None:
    """Be the guard: run `work` in a child, and never return."""
    code = 1
    try:
        os.setsid()
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        if not (worker := os.fork()):
            os.close(lifeline)
            _run(work, lines_out, log, uses_ray)
        os.close(lines_out)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        code = _outcome(worker, lifeline, vital)
    finally:
        try:
            _kill_session(os.getpid())
        finally:
            os._exit(code)


def _outcome(worker: int, lifeline: int, vital: tuple[str, ...]) -> int:
    """Wait for the end of the worker, of a vital process, or of the process that the lifeline leads to."""
    seen: set[str] = set()
    looked = time.monotonic()
    while True:
        cut = bool(select.select([lifeline], [], [], TICK)[0])
        if cut:
            time.sleep(TICK)  # the other end also lets go where the worker is dying, a moment before it has ended
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if cut:
            return 0
        if time.monotonic() - looked >= PAUSE:
            looked = time.monotonic()
            alive = {name for _, name in _session(os.getpid())} & set(vital)
            if seen - alive:
                return VITAL_GONE
            seen |= alive


def _run(work: Callable[[Emit], None], lines_out: int, log: Path, uses_ray: bool) -> None:
    """Be the worker: do the work, emit how it went, and never return."""

    def write(kind: str, value: Any = None) -> None:
        line = memoryview((json.dumps([kind, value]) + "\n").encode())
        while line:
            line = line[os.write(lines_out, line) :]

    with log.open("a") as file:
        for standard in (1, 2):
            os.dup2(file.fileno(), standard)
    try:
        if uses_ray:
            prepare()
        work(lambda value: write("emitted", value))
        write("done")
    except StageError as error:
        write("refused", str(error))
    except BaseException as error:
        traceback.print_exc()
        write("raised", in_one_line(error))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def in_one_line(error: BaseException) -> str:
    """Return an exception's type and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _kill_session(leader: int) -> None:
    """Kill every process of a session but its leader, until there is none or PATIENCE is over."""
    deadline = time.monotonic() + PATIENCE
    while (members := [pid for pid, _ in _session(leader) if pid != leader]) and time.monotonic() < deadline:
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)


def _session(leader: int) -> list[tuple[int, str]]:
    """Return the live processes of a session: their ids and names."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text(encoding="utf-8", errors="replace")  # a name is any bytes
            except OSError:
                continue  # ended meanwhile
            head, _, rest = text.rpartition(")")
            state, _, _, session = rest.split()[:4]
            if int(session) == leader and state not in "ZX":
                found.append((int(entry.name), head.partition("(")[2]))
    return found
