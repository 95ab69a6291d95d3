"""Stages killed at a random moment and run again: the result is an undisturbed run's, and nothing half-made is used.

Half of the kills come at a random time, the other half at a random one of the stage's own changes to files: those take
a thousandth of its time, and a kill between two of them is what can leave a folder half written.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.outcome import Outcome, draws
from tests.faults.processes import MARK, left_behind
from tests.pipelines.mlflow_state import mlflow_state
from tests.pipelines.sandbox import Sandbox

SUBJECT = "stage-kills"
FULL = 30
CHANGES, OUTPUT = "changes.txt", "output.txt"

# Runs a module, and kills its process at the n-th time that it changes a file below the current folder, or counts them.
HOOKED = """
import os, runpy, signal, sys
at, told = int(sys.argv[1]), sys.argv[2]
del sys.argv[:3]
here, main, seen = os.getcwd(), os.getpid(), 0
def changed(event, arguments):
    if event == "open":
        return isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    return event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")
def hook(event, arguments):
    global seen
    if changed(event, arguments) and os.path.abspath(str(arguments[0])).startswith(here) and os.getpid() == main:
        if "__pycache__" in str(arguments[0]):
            return
        seen += 1
        if seen == at:
            os.kill(main, signal_number)
signal_number = signal.SIGKILL
sys.addaudithook(hook)
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    open(told, "w").write(str(seen))
"""


@dataclass(frozen=True)
class Stage:
    """A stage, and what it writes: `outs` are whole or absent; `kept` is what it goes on from after a kill."""

    module: str
    words: tuple[str, ...]
    outs: tuple[str, ...]
    kept: tuple[str, ...] = ()


STAGES = (
    Stage("prepare", ("digits",), ("data/digits",)),
    Stage("export", ("deep",), ("bundles/deep",)),
    Stage("evaluate", ("deep",), ("metrics/deep.json", "plots/deep")),
    Stage("studies.planes", ("d",), ("studies/planes-d", "metrics/studies/planes-d.json")),
    Stage("studies.denoising", ("d",), ("studies/denoising-d", "metrics/studies/denoising-d.json")),
    Stage(
        "studies.sparse_table", ("d",), ("studies/sparse_table-d", "metrics/studies/sparse_table-d.json"),
        (".hourglass/studies",),
    ),
    Stage("compare", (), ("reports",)),
    Stage("register", (), (), ("mlflow.db", "mlartifacts")),
)  # fmt: skip


def _deep(size: int, **more: Any) -> dict[str, Any]:
    return {"kind": "autoencoder", "network": {"kind": "mlp", "hidden": [32]},
            "bottleneck": {"kind": "identity", "size": size}, **more}  # fmt: skip


BUDGETS = {"quick": {"epochs": 2}, "paper": {"epochs": 2}}
PARAMS: dict[str, Any] = {
    "datasets": {"digits": {"kind": "digits"}},
    "experiments": {
        "pca": {"dataset": "digits", "model": {"kind": "pca", "size": 8}},
        "deep": {"dataset": "digits", "model": _deep(2)} | BUDGETS,
        "denoised": {"dataset": "digits", "model": _deep(8, corruption={"kind": "gaussian", "sigma": 0.3})} | BUDGETS,
    },
    "studies": {
        "planes": {"d": {"pca": "pca", "deep": "deep"}},
        "denoising": {"d": {"basic": "deep", "denoising": "denoised", "noises": [{"kind": "gaussian", "sigma": 0.3}]}},
        "sparse_table": {
            "d": {
                "dataset": "digits", "simple": _deep(8), "sparse": _deep(8, penalties=[{"kind": "l1", "weight": 0.1}]),
                "quick": {"epochs": 2, "seeds": 2}, "paper": {"epochs": 2, "seeds": 2},
            }
        },
    },
}  # fmt: skip


@dataclass
class Undisturbed:
    """A project in which every stage has run, and what each took and left."""

    sandbox: Sandbox
    seconds: dict[str, float] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)


def rounds(seed: int, count: int, stages: Sequence[Stage] = STAGES) -> Iterator[Outcome]:
    """Kill `count` runs, the stages in turn."""
    with tempfile.TemporaryDirectory(prefix="hourglass-kills-") as scratch:
        whole = undisturbed(Path(scratch, "whole"), stages)
        for number in range(count):
            draw, stage = draws(seed, number), stages[number % len(stages)]
            root = Path(scratch, "killed")
            shutil.copytree(whole.sandbox.root, root, symlinks=True)
            how, problems = kill_and_run_again(whole, stage, root, draw, f"{scratch}-{number}")
            what = f"round {number} (seed {seed}): kill -9 of {stage.module} {how}"
            yield Outcome(what, tuple(problems), f"{stage.module}: {'problem' if problems else 'held'}")
            shutil.rmtree(root)


def undisturbed(root: Path, stages: Sequence[Stage]) -> Undisturbed:
    """Run every stage once, undisturbed."""
    root.mkdir()
    whole = Undisturbed(Sandbox(root))
    whole.sandbox.write_params(PARAMS)
    whole.sandbox.environment |= {"OMP_NUM_THREADS": "1", "TMPDIR": str(root.parent)}
    for stage in ("prepare digits", *(f"{s} {name}" for name in PARAMS["experiments"] for s in AFTER_PREPARE)):
        if len(stages) > 1:
            whole.sandbox.stage(*stage.split())
    for stage in stages:
        for path in stage.kept:
            remove(root / path)
        began = time.monotonic()
        done = start(whole.sandbox, root, stage, 0, "undisturbed")
        if done.wait():
            raise RuntimeError(f"{stage.module} cannot be run undisturbed:\n{(root / OUTPUT).read_text()}")
        whole.seconds[stage.module] = time.monotonic() - began
        whole.changes[stage.module] = int((root / CHANGES).read_text())
        whole.results[stage.module] = result(root, stage)
        whole.names[stage.module] = names(root)
    return whole


AFTER_PREPARE = ("sweep", "export", "evaluate")


def kill_and_run_again(
    whole: Undisturbed, stage: Stage, root: Path, draw: random.Random, mark: str
) -> tuple[str, list[str]]:
    """Kill one run of a stage, look at what it left, and run it again."""
    removed = draw.random() < 0.5
    for path in (*stage.kept, *(stage.outs if removed else ())):  # DVC removes outputs before it runs a stage
        remove(root / path)
    by_change = draw.random() < 0.5
    change = draw.randrange(1, whole.changes[stage.module] + 1)
    moment = draw.uniform(0, 1.1 * whole.seconds[stage.module])
    running = start(whole.sandbox, root, stage, change if by_change else 0, mark)
    if not by_change:
        time.sleep(moment)
        running.send_signal(signal.SIGKILL)
    running.wait()
    how = f"at its change {change} to files" if by_change else f"{moment:.2f} s after its start"
    how += ", without earlier outputs" if removed else ", over earlier outputs"
    problems = list(left_behind(mark))
    parts = kept_parts(root)
    expected = whole.results[stage.module]
    for path, found in result(root, stage, present=True).items():
        if found != expected[path]:
            problems.append(f"left {path} half written")
    again = start(whole.sandbox, root, stage, 0, mark)
    again.wait()
    output = (root / OUTPUT).read_text()
    if again.returncode or "Traceback" in output:
        problems.append(f"run again, it gave {again.returncode}: {output.strip()[-1500:]}")
    else:
        found = result(root, stage)
        problems += [f"{path} differs from an undisturbed run's" for path in expected if found[path] != expected[path]]
        problems += [f"worked out again: {name}" for name, when in parts.items() if kept_parts(root).get(name) != when]
        extra = names(root) - whole.names[list(whole.names)[-1]]
        problems += [f"left behind: {name}" for name in sorted(extra)[:5]]
    return how, [*problems, *left_behind(mark)]


def start(sandbox: Sandbox, root: Path, stage: Stage, change: int, mark: str) -> subprocess.Popen[bytes]:
    """Start a stage in a session of its own; it dies at its `change`-th change to files, or never where that is 0."""
    command = [sys.executable, "-c", HOOKED, str(change), str(root / CHANGES), f"pipelines.{stage.module}"]
    environment = sandbox.environment | {MARK: mark, "PYTHONDONTWRITEBYTECODE": "1"}
    with (root / OUTPUT).open("w") as output:  # no pipe, which what is left behind would hold open
        return subprocess.Popen(
            [*command, *stage.words], cwd=root, env=environment, start_new_session=True, stdout=output, stderr=output
        )


def result(root: Path, stage: Stage, present: bool = False) -> dict[str, Any]:
    """Return what a stage has left, by path; only what is there where `present`."""
    found: dict[str, Any] = {}
    for path in stage.outs:
        if (root / path).exists() or not present:
            found[path] = content(root / path)
    if stage.module == "register" and not present:
        found["MLflow"] = mlflow_state(root)
    return found


def content(path: Path) -> Any:
    """Return what a file or a folder holds, without times that were measured."""
    if path.is_dir():
        return {file.relative_to(path).as_posix(): content(file) for file in sorted(path.rglob("*")) if file.is_file()}
    if not path.exists():
        return None
    if path.suffix == ".json" and path.parent.name == "metrics":
        document = json.loads(path.read_text())
        document.pop("encode_items_per_second")
        return document
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kept_parts(root: Path) -> dict[str, int]:
    """Return when each part of a study that is finished was written, by its file's name."""
    return {path.name: path.stat().st_mtime_ns for path in (root / ".hourglass" / "studies").glob("*.json")}


def names(root: Path) -> set[str]:
    """Return the paths of a project's files, but for those whose names depend on its place or are drawn at random."""
    files = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {path.as_posix() for path in files if path.parts[0] not in ("mlartifacts", ".hourglass", CHANGES, OUTPUT)}


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
