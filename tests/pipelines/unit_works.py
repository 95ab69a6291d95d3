"""Work for units of tests: importable, as a worker needs it."""

from __future__ import annotations

import os
from pathlib import Path


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
