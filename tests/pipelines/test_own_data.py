"""A user's own data under DVC: added, shared with a colleague, and used in an experiment, by the commands of README."""

from __future__ import annotations

import filecmp
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.pipelines.sandbox import Sandbox

PARAMS: dict[str, Any] = {
    "seed": 0,
    "budget": "quick",
    "datasets": {"photos": {"kind": "images", "source": "inputs/own/photos", "size": 4}},
    "experiments": {"photos": {"pca": {"model": {"kind": "pca", "size": 3}}}},
}


IDENTITY = {f"GIT_{who}_{what}": "a@b.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def test_own_data_can_be_added_shared_and_used_in_an_experiment(tmp_path: Path) -> None:
    def run(folder: str, *command: str) -> str:
        environment = project.environment | IDENTITY
        done = subprocess.run(command, cwd=tmp_path / folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    (tmp_path / "project").mkdir()
    project = Sandbox(tmp_path / "project")
    project.write_params(PARAMS)
    photos = project.root / "inputs" / "own" / "photos"
    photos.mkdir(parents=True)
    for number in range(6):
        Image.fromarray(np.full((5, 5), number, np.uint8)).save(photos / f"{number}.png")
    project.git()
    assert "own" not in run("project", "git", "ls-files", "inputs")  # `git add -A` takes no raw data along

    run("project", "dvc", "add", "inputs/own/photos")
    run("project", "dvc", "remote", "add", "-d", "shared", str(tmp_path / "remote"))
    run("project", "git", "add", "-A")
    assert run("project", "git", "ls-files", "inputs").split() == ["inputs/own/.gitignore", "inputs/own/photos.dvc"]
    run("project", "git", "commit", "-qm", "photos")
    run("project", "dvc", "push")

    run(".", "git", "clone", "-q", "project", "clone")
    run("clone", "dvc", "pull", "inputs/own/photos")
    names = sorted(path.name for path in photos.iterdir())
    pulled = tmp_path / "clone" / "inputs" / "own" / "photos"
    assert filecmp.cmpfiles(photos, pulled, names, shallow=False) == (names, [], [])
    assert "up to date" in run("clone", "dvc", "status", "inputs/own/photos.dvc")
    ran = run("clone", "dvc", "exp", "run", "--temp", "-S", "datasets.photos.size=3", "prepare@photos")
    assert "(image 3×3×1 uint8)" in ran
