"""Work for units of tests: importable, as a worker needs it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write(out: Path, text: str) -> None:
    """Write a file."""
    (out / "result.txt").write_text(text)


def join(out: Path, separator: str, parts: tuple[Path, ...], extra: Path) -> None:
    """Write one file of several results and an input."""
    texts = [(part / "result.txt").read_text() for part in parts]
    (out / "result.txt").write_text(separator.join([*texts, (extra / "given.txt").read_text()]))


def fail(out: Path, why: str) -> None:
    """Raise, with half of the result written."""
    (out / "result.txt").write_text("half")
    raise ValueError(why)


def count(out: Path, log: Path, text: str) -> None:
    """Write a file, and a line into a log beside the inputs."""
    with (log / "log.txt").open("a") as file:
        file.write(f"{text} {os.getpid()}\n")
    (out / "result.txt").write_text(text)


def report_devices(config: dict[str, Any], *, node: str, tell: Callable[[dict[str, Any]], None]) -> None:
    """Report which GPU the process sees, -1 for none; wait until as many others as `together` run at the same time."""
    meeting = Path(config["meeting"])
    (meeting / str(config["number"])).touch()
    deadline = time.monotonic() + 100
    while len(list(meeting.iterdir())) < config["together"] and time.monotonic() < deadline:
        time.sleep(0.05)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    tell({"epoch": 1, "device": int(visible) if visible else -1})
