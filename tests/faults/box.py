"""A process of its own in which damaged files are read: what hangs, dies or wants too much memory is seen and named."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import tempfile
import traceback
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.faults.formats import Format
from tests.faults.outcome import Outcome, draws

TIME_LIMIT = 60.0  # seconds for one damaged file
MEMORY_LIMIT = 3 << 29  # bytes of address space, beyond what is taken before any damaged file is read
LONGEST = 1000  # characters of a refusal: a value that is repeated whole hides what is wrong with it


class Box:
    """Runs rounds in a child process, and starts another where one has died."""

    def __init__(self, formats: Sequence[Format]) -> None:
        self._formats = formats
        self._folder = Path(tempfile.mkdtemp(prefix="hourglass-faults-"))
        self._child: Any = None
        self._pipe: Any = None

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def round(self, form: Format, seed: int, number: int) -> Outcome:
        """Damage one file and read it."""
        if self._child is None:
            self._start()
        self._pipe.send((self._formats.index(form), seed, number))
        what = f"round {number} (seed {seed}): {form.name}"
        try:
            what = self._heard()
            kind, problems = self._heard()
        except TimeoutError:
            self._end()
            return Outcome(what, (f"not done after {TIME_LIMIT:g} s",), f"{form.name}: problem")
        except (EOFError, ConnectionResetError):
            self._child.join()
            code = self._child.exitcode
            name = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
            last = (self._folder / "stderr").read_text(errors="replace").strip().splitlines()[-1:]
            self._end()
            return Outcome(
                what, (f"the process died of {name} {' '.join(last)[:300]}".strip(),), f"{form.name}: problem"
            )
        return Outcome(what, problems, f"{form.name}: {'problem' if problems else kind}")

    def _heard(self) -> Any:
        if not self._pipe.poll(TIME_LIMIT):
            raise TimeoutError
        return self._pipe.recv()

    def _start(self) -> None:
        context = get_context("spawn")
        self._pipe, there = context.Pipe()
        self._child = context.Process(target=serve, args=(there, list(self._formats), self._folder), daemon=True)
        self._child.start()
        there.close()
        try:
            self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise RuntimeError((self._folder / "stderr").read_text()) from None

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.join()
            self._pipe.close()
        self._child = None


def serve(pipe: Connection, formats: Sequence[Format], folder: Path) -> None:
    """Make every format's sample, then answer rounds for as long as there are any."""
    with (folder / "stderr").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ["HOME"] = str(folder)
    expected = []
    for number, form in enumerate(formats):
        sample = folder / f"{number}"
        shutil.rmtree(sample, ignore_errors=True)
        sample.mkdir()
        form.make(sample / "sample")
        shutil.copytree(sample / "sample", sample / "now")
        expected.append(form.use(sample / "now"))
        if form.use(sample / "now") != expected[-1]:
            raise AssertionError(f"{form.name}: read twice, the sample gives two results")
        if form.peer and form.peer(sample / "now") != expected[-1]:
            raise AssertionError(f"{form.name}: its two readers differ on the sample")
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_LIMIT, taken + MEMORY_LIMIT))
    pipe.send("ready")
    while True:
        try:
            number, seed, turn = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        one_round(pipe, formats[number], folder / f"{number}", expected[number], seed, turn)


def one_round(pipe: Connection, form: Format, sample: Path, expected: str, seed: int, turn: int) -> None:
    """Damage a file of the sample, read it, judge what came of it, and put it back."""
    draw = draws(seed, turn)
    now = sample / "now"
    if form.copied or not now.exists():
        shutil.rmtree(now, ignore_errors=True)
        shutil.copytree(sample / "sample", now)
    file = draw.choice(sorted(now.glob(form.file)))
    content = file.read_bytes()
    what, new = form.damage(content, draw)
    file.unlink()  # what is mapped stays what it was
    file.write_bytes(new)
    pipe.send(f"round {turn} (seed {seed}): {file.relative_to(now)}: {what}")
    pipe.send(verdict(form, now, file, expected, new == content))
    if not form.copied:
        file.unlink(missing_ok=True)
        file.write_bytes(content)


def verdict(form: Format, folder: Path, file: Path, expected: str, same: bool) -> tuple[str, tuple[str, ...]]:
    """Return what came of reading, in a word, and what is wrong with that."""
    try:
        found = form.use(folder)
    except form.refusals as error:
        return "refused", tuple(refusal_faults(form, file, str(error)))
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [
            frame for frame in frames if "site-packages" not in frame.filename and "/lib/python" not in frame.filename
        ]
        at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
        return "traceback", (f"{type(error).__name__} at {at}: {' '.join(str(error).split())[:200]}",)
    if found == expected:
        return "equal", ()
    if same:
        return "equal", ("a file that was not changed gives something else",)
    if form.sealed:
        return "different", ("accepted, with another content than was written",)
    if form.peer is not None:
        try:
            peer = form.peer(folder)
        except Exception as error:
            return "different", (f"accepted, where another reader says {type(error).__name__}: {str(error)[:200]}",)
        if peer != found:
            return "different", ("read as something else than another reader does",)
    return "another content", ()


def refusal_faults(form: Format, file: Path, text: str) -> list[str]:
    """Return what is wrong with the text of a refusal."""
    faults = []
    named = form.named or file.name
    if named not in text:
        faults.append(f"the refusal does not name {named}: {text[:300]!r}")
    if not form.several and len(text.splitlines()) != 1:
        faults.append(f"the refusal has {len(text.splitlines())} lines: {text[:300]!r}")
    if any(len(line) > LONGEST for line in text.splitlines()):
        faults.append(f"the refusal has a line of {max(map(len, text.splitlines()))} characters: {text[:200]!r}")
    return faults
