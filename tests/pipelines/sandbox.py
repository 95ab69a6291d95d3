"""A project in a temporary folder: this code, tiny settings, real tools."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[2]

PARAMS: dict[str, Any] = {
    "seed": 0,
    "budget": "quick",
    "datasets": {"digits": {"kind": "digits"}},
    "experiments": {
        "digits": {
            "pca": {"model": {"kind": "pca", "size": 8}},
            "deep": {
                "model": {
                    "kind": "autoencoder",
                    "network": {"kind": "mlp", "hidden": [64]},
                    "bottleneck": {"kind": "identity", "size": 8},
                    "training": {"learning_rate": {"log_uniform": [1e-3, 1e-2]}},
                },
                "quick": {"epochs": 4, "trials": 3},
                "paper": {"epochs": 8, "trials": 4},
            },
            "vqvae": {
                "model": {
                    "kind": "autoencoder",
                    "network": {"kind": "conv", "downsample": 2, "channels": 16},
                    "bottleneck": {"kind": "vector_quantizer", "codebook_size": 32, "size": 4},
                    "training": {"batch_size": 64, "learning_rate": {"log_uniform": [1e-3, 1e-2]}},
                },
                "quick": {"epochs": 8, "trials": 3},
                "paper": {"epochs": 8, "trials": 4},
            },
        },
    },
}


class Sandbox:
    """A project in a temporary folder, run as its user would: by commands, in processes of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for package in ("components", "items", "pipelines", "serving"):
            shutil.copytree(REPOSITORY / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
        for folder in ("inputs", "studies"):
            (root / folder).mkdir()
        for file in ("dvc.yaml", ".dvcignore", ".gitignore"):
            shutil.copy(REPOSITORY / file, root / file)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "RAY_", "DVC_"))}
        self.environment |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            # A Ray of its own starts a worker for each CPU, of which each imports torch: most of a small stage's time.
            "PYTHON_CPU_COUNT": "1",
        }
        self.environment.pop("PYTHONPATH", None)

    def write_params(self, params: dict[str, Any]) -> None:
        """Write params.yaml; without studies it has none, as dvc.yaml needs it."""
        with (self.root / "params.yaml").open("w") as file:
            YAML().dump({"studies": {}} | params, file)

    def prepare(self) -> None:
        """Prepare every dataset in this process, which has imported what that needs."""
        from pipelines.prepare import stage as prepare

        with contextlib.chdir(self.root):
            for dataset in self.params()["datasets"]:
                prepare.main(dataset)

    def train(self, *experiments: str) -> None:
        """Prepare every dataset; sweep and export its experiments, or those named, in this process.

        They come one by one, since one trial alone takes no session of Ray.
        """
        from pipelines.export import stage as export
        from pipelines.sweep import stage as sweep

        self.prepare()
        with contextlib.chdir(self.root):
            for dataset, named in self.params()["experiments"].items():
                for name in named:
                    if name in experiments or not experiments:
                        sweep.main(dataset, [name])
                        export.main(dataset, [name])

    def train_here(self) -> None:
        """Come to the records that a sweep of digits has, in this process, one trial after the other, without Ray."""
        import torch

        from components.data import open_dataset
        from pipelines.cluster.confined import Emit
        from pipelines.project import Project
        from pipelines.settings.params import load_params
        from pipelines.sweep import stage
        from pipelines.sweep.lineup import Lineup
        from pipelines.sweep.plan import Sweep, sweeps_of
        from pipelines.sweep.trial import train_segment

        project = Project(self.root, self.root)
        data = open_dataset(project.data("digits"))
        torch.set_num_threads(1)  # as in a worker: sums of other parts round otherwise

        def train(sweeps: list[Sweep], lineup: Lineup, emit: Emit) -> None:
            while (config := lineup.next()) is not None:
                train_segment(config, data=data.folder, node="", tell=lambda metrics: None)
                lineup.ended(config)

        with patch.object(stage, "_share_out", train):
            stage.train_lineup(sweeps_of(project, load_params(project), "digits", (), data), "none", lambda event: None)

    def params(self) -> dict[str, Any]:
        """Return the settings."""
        params: dict[str, Any] = YAML(typ="safe").load((self.root / "params.yaml").read_text())
        return params

    def break_training(self, line: str) -> None:
        """Put a line at the start of each epoch of training."""
        path = self.root / "components" / "training.py"
        code = path.read_text()
        start = "        began = time.perf_counter()\n"
        assert code.count(start) == 1
        path.write_text(code.replace(start, f"{start}        {line}\n"))

    def slow_training(self, seconds: float) -> Path:
        """Make an epoch last so much longer for as long as the file that is returned is there."""
        slow = self.root / "slow"
        self.break_training(f"time.sleep({seconds} * __import__('os').path.exists({str(slow)!r}))")
        slow.touch()
        return slow

    def git(self) -> None:
        """Make the folder a git and DVC repository with everything committed."""
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        self.run("git", "init", "-q")
        self.run("dvc", "init", "-q")
        self.run("git", "add", "-A")
        self.run("git", *identity, "commit", "-qm", "start")

    def run(self, *command: str, fails: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; it must succeed, or fail where `fails`."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment | environment, capture_output=True, text=True, timeout=600
        )
        printed = f"{' '.join(command)} gave {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert (done.returncode != 0) == fails, printed
        return done

    def stage(
        self, name: str, *words: str, fails: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one stage."""
        return self.run(sys.executable, "-m", f"pipelines.{name}", *words, fails=fails, **environment)
