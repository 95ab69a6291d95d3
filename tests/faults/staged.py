"""A small project of which every stage has run: what each stage has left, and how long it took."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.sweep.record import RECORD
from pipelines.units.storage import Storage
from pipelines.units.unit import RESULT, result_key
from tests.faults.running import LOG, Running
from tests.faults.swept import timeless
from tests.pipelines.mlflow_state import mlflow_state
from tests.pipelines.sandbox import Sandbox

TIMED = ("throughput.json", "history.csv", "encode_items_per_second")  # what depends on how busy the machine was
HOOKED = str(Path(__file__).with_name("hooked.py"))


@dataclass(frozen=True)
class Stage:
    """A stage, and what it writes.

    Attributes:
        name: of its package.
        words: of its command line.
        outs: what is whole or absent at any time: files and folders.
        units: patterns of folders with results under keys.
        parts: those among them that are only made where a page needs them.
        kept: what it goes on from after a kill, in an order of its own.
    """

    name: str
    words: tuple[str, ...] = ()
    outs: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    parts: str = ""
    kept: tuple[str, ...] = ()

    def folders(self, root: Path) -> list[Path]:
        """Return the folders of the results that are there, whole or not."""
        found = (path for pattern in (*self.units, self.parts) if pattern for path in root.glob(pattern))
        return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


DATASET = ("digits",)
STAGES = (
    Stage("prepare", DATASET, outs=("data/digits",)),
    Stage("sweep", DATASET, units=("runs/digits/*",)),
    Stage("export", DATASET, units=("bundles/digits/*",)),
    Stage("evaluate", DATASET, outs=("metrics/digits/*.json",), units=("evaluations/digits/*",)),
    Stage(
        "studies", DATASET, outs=("metrics/studies/digits/*.json",), units=("studies/digits/*",),
        parts=".hourglass/work/parts/*",
    ),
    Stage("compare", outs=("reports",)),
    Stage("register", kept=("mlflow.db", "mlartifacts")),
)  # fmt: skip
TRAINED = ("prepare", "sweep", "export")  # the stages that Sandbox.train runs


def _deep(size: int, **more: Any) -> dict[str, Any]:
    return {"kind": "autoencoder", "network": {"kind": "mlp", "hidden": [32]},
            "bottleneck": {"kind": "identity", "size": size}, **more}  # fmt: skip


BUDGETS = {"quick": {"epochs": 2}, "paper": {"epochs": 2}}
SEEDS = {"quick": {"epochs": 2, "seeds": 2}, "paper": {"epochs": 2, "seeds": 2}}
PARAMS: dict[str, Any] = {
    "datasets": {"digits": {"kind": "digits"}},
    "experiments": {
        "digits": {
            "pca": {"model": {"kind": "pca", "size": 8}},
            "deep": {"model": _deep(2)} | BUDGETS,
            "denoised": {"model": _deep(8, corruption={"kind": "gaussian", "sigma": 0.3})} | BUDGETS,
        }
    },
    "studies": {
        "digits": {
            "planes": {"pca": "pca", "deep": "deep"},
            "denoising": {"basic": "deep", "denoising": "denoised", "noises": [{"kind": "gaussian", "sigma": 0.3}]},
            "sparse_table": {"simple": _deep(8), "sparse": _deep(8, penalties=[{"kind": "l1", "weight": 0.1}])} | SEEDS,
        }
    },
}


@dataclass
class Staged:
    """The project, and by stage what an undisturbed run of it took and left."""

    sandbox: Sandbox
    seconds: dict[str, float] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


def staged(root: Path, stages: Sequence[Stage]) -> Staged:
    """Run every stage up to the last of `stages`, undisturbed."""
    root.mkdir()
    whole = Staged(Sandbox(root))
    whole.sandbox.write_params(PARAMS)
    whole.sandbox.environment |= {"TMPDIR": str(root.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    last = STAGES.index(stages[-1])
    if last > 0:
        with contextlib.redirect_stdout(io.StringIO()):
            whole.sandbox.train()
    for stage in STAGES[: last + 1]:
        if stage in stages:
            clear(root, stage)
            count, began = root.parent / "count", time.monotonic()
            count.unlink(missing_ok=True)
            ended = start(whole.sandbox, stage, "undisturbed", count).finish()
            if ended.code or ended.problems:
                raise RuntimeError(f"{stage.name} cannot be run undisturbed: {ended.problems}\n{ended.printed}")
            whole.seconds[stage.name] = time.monotonic() - began
            whole.changes[stage.name] = count.stat().st_size
            whole.results[stage.name] = result(root, stage)
            whole.keys |= {str(f.relative_to(root)): result_key(Storage(f)) or "" for f in stage.folders(root)}
        elif stage.name not in TRAINED:
            whole.sandbox.stage(stage.name, *stage.words)
    whole.names = names(root)
    return whole


def start(sandbox: Sandbox, stage: Stage, mark: str, count: Path, number: int = 0, victim: str = "writer") -> Running:
    """Start a stage that kills itself at the given change to files; see :mod:`tests.faults.hooked`."""
    hook = [sys.executable, HOOKED, str(number), str(count), victim]
    return Running(sandbox, [*hook, f"pipelines.{stage.name}", *stage.words], mark)


def clear(root: Path, stage: Stage) -> None:
    """Remove all that a stage has left."""
    for path in (*(p for pattern in (*stage.outs, *stage.kept) for p in root.glob(pattern)), *stage.folders(root)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def result(root: Path, stage: Stage) -> dict[str, Any]:
    """Return what a stage has left, by path; of results under keys, those that are whole."""
    paths = [path for pattern in stage.outs for path in sorted(root.glob(pattern))]
    paths += [folder for folder in stage.folders(root) if result_key(Storage(folder))]
    found: dict[str, Any] = {str(path.relative_to(root)): content(path) for path in paths}
    if stage.kept and (root / "mlflow.db").exists():
        found["MLflow"] = mlflow_state(root)
    return found


def content(path: Path) -> Any:
    """Return what a file or a folder holds, without times and keys."""
    if path.is_dir():
        files = (file for file in sorted(path.rglob("*")) if file.is_file() and file.name not in (RESULT, *TIMED))
        return {file.relative_to(path).as_posix(): content(file) for file in files}
    if path.name == RECORD:
        return timeless(json.loads(path.read_text()))
    if path.suffix == ".json" and "metrics" in path.parts:
        return {key: value for key, value in json.loads(path.read_text()).items() if key not in TIMED}
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(root: Path) -> set[str]:
    """Return the paths of a project's files, but for those whose names are drawn at random, logs and locks."""
    files = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {
        path.as_posix() for path in files
        if not path.name.startswith(("mlflow.db", LOG, "ray.log")) and not {"mlartifacts", "locks"} & {*path.parts}
    }  # fmt: skip
