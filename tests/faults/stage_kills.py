"""Stages killed at a random moment and run again: the result is an undisturbed run's, and nothing half-made is used.

Half of the kills come at a random time, the other half at a random one of the stage's own changes to files: those take
a thousandth of its time, and a kill between two of them is what can leave a folder half written.

Of a stage that works in units, some results are there before, some were made under another key, some are damaged. What
is whole is left alone, and so is what was finished before the kill.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from pipelines.units.storage import Storage
from pipelines.units.unit import RESULT, result_key
from tests.faults.outcome import Outcome, draws
from tests.faults.running import Fault, draw_fault
from tests.faults.staged import STAGES, Stage, Staged, clear, names, result, staged, start

SUBJECT = "stage-kills"
FULL = 30

BEFORE = ("absent", "absent", "of another key", "damaged", "there")  # of each result, one at random

Finished = dict[str, tuple[int, int]]  # when each result was written, and its file, by the folder's path


def rounds(seed: int, count: int, stages: Sequence[Stage] = STAGES) -> Iterator[Outcome]:
    """Kill `count` runs, the stages in turn."""
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        whole = staged(Path(scratch, "whole"), stages)
        for number in range(count):
            stage, root = stages[number % len(stages)], Path(scratch, "killed")
            shutil.copytree(whole.sandbox.root, root, symlinks=True)
            how, problems = Killed(whole, stage, root, f"{scratch}-{number}").rounded(draws(seed, number))
            what = f"round {number} (seed {seed}): {stage.name}: {how}"
            yield Outcome(what, tuple(problems), f"{stage.name}: {'problem' if problems else 'held'}")
            shutil.rmtree(root)


class Killed:
    """One stage in a copy of the project."""

    def __init__(self, whole: Staged, stage: Stage, root: Path, mark: str) -> None:
        self._whole, self._stage, self._root, self._mark = whole, stage, root, mark
        self._sandbox = copy.copy(whole.sandbox)
        self._sandbox.root = root

    def rounded(self, draw: Random) -> tuple[str, list[str]]:
        """Spoil some of the results, kill a run, look at what it left, and run it again; return how, and problems."""
        spoilt = self._spoil(draw)
        how, problems = self._kill(draw, len([path for path in spoilt if "." not in path]))
        finished, expected = self._finished(), self._whole.results[self._stage.name]
        left = result(self._root, self._stage)
        half = [path for path, found in left.items() if found != expected[path]]
        folders = [str(folder.relative_to(self._root)) for folder in self._stage.folders(self._root)]
        half += [path for path in folders if path not in left and spoilt.get(path) != "damaged"]
        problems += [f"left {path} half written" for path in half]
        again = start(self._sandbox, self._stage, f"{self._mark}-again", self._count("again")).finish()
        problems += again.problems
        if again.code:
            return how, [*problems, f"run again, it gave {again.code}: {again.printed.strip()[-1500:]}"]
        found = result(self._root, self._stage)
        needed = [path for path in expected if path in found or not path.startswith(".")]  # a part, where its page is
        problems += [
            f"{path} differs from an undisturbed run's" for path in needed if found.get(path) != expected[path]
        ]
        after = self._finished()
        problems += [f"done again: {path}" for path, when in finished.items() if after.get(path) != when]
        extra = sorted(names(self._root) - self._whole.names)
        problems += [f"left behind: {name}" for name in extra[:5]]
        states = ", ".join(f"{count} {state}" for state, count in Counter(spoilt.values()).items())
        return f"{how}, with {states or 'all there'}", problems

    def _spoil(self, draw: Random) -> dict[str, str]:
        """Take away or damage some of what is there; return what, by path."""
        if not self._stage.units:
            if self._stage.kept or draw.random() < 0.5:
                clear(self._root, self._stage)
                return {"everything": "absent"}
            return {}
        for path in (path for pattern in self._stage.outs for path in self._root.glob(pattern)):
            if draw.random() < 0.5:
                path.unlink()
        spoilt = {}
        for folder in self._stage.folders(self._root):
            state = draw.choice(BEFORE)
            if state == "absent":
                shutil.rmtree(folder)
            elif state == "of another key":
                known = json.loads((folder / RESULT).read_text())
                (folder / RESULT).write_text(json.dumps(known | {"key": "0" * 64}))
            elif state == "damaged":
                file = draw.choice(sorted(folder.iterdir()))
                file.write_bytes(file.read_bytes()[:-20])
            if state != "there":
                spoilt[str(folder.relative_to(self._root))] = state
        return spoilt

    def _kill(self, draw: Random, to_do: int) -> tuple[str, list[str]]:
        """Run the stage and kill one of its processes; return how, and what is wrong with its end."""
        name, count = self._stage.name, self._count("killed")
        if draw.random() < 0.5:
            change, victim = draw.randint(1, self._whole.changes[name]), draw.choice(("writer", "driver"))
            ended = start(self._sandbox, self._stage, self._mark, count, change, victim).finish()
            return f"kill -9 of the {victim} at its change {change} to files", ended.problems
        if to_do > 1:
            fault = draw_fault(draw, to_do - 1)
        else:
            fault = Fault("driver", 0, 0, draw.uniform(0, 1.1 * self._whole.seconds[name]))
        before = len(self._finished())
        fault = fault._replace(progress=fault.progress and before + fault.progress)
        running = start(self._sandbox, self._stage, self._mark, count)
        hit = running.suffer(fault, lambda: len(self._finished()))
        return f"{fault}{'' if hit else ' (it was not there any more)'}", running.finish().problems

    def _finished(self) -> Finished:
        """Return the results that are there under their keys."""
        found = {}
        for folder in self._stage.folders(self._root):
            path = str(folder.relative_to(self._root))
            if result_key(Storage(folder)) == self._whole.keys[path]:
                state = (folder / RESULT).stat()
                found[path] = state.st_mtime_ns, state.st_ino
        return found

    def _count(self, name: str) -> Path:
        return self._root.with_name(f"{self._mark.rpartition('-')[2]}.{name}")
