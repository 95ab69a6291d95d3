"""The interpreter that `make` takes, among made-up ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SHIM = 'echo "pyenv: $0: command not found" >&2; exit 127'  # as pyenv leaves one where the version is not installed
NO_VENV = "case $2 in *ensurepip*) exit 1;; esac"  # Debian's python3 without python3-venv


def version(*numbers: int) -> str:
    """Return a script that claims a version; asked for an environment, it leaves its name in one that has no pip."""
    claim = f"import sys; sys.version_info = {numbers}; exec(sys.argv[1])"
    return (
        f'case $1 in -c) exec {sys.executable} -c "{claim}" "$2";; esac\n'
        "mkdir -p .venv/bin; basename $0 > .venv/made-by\n"
        'printf "#!/bin/sh\\n" > .venv/bin/python; chmod +x .venv/bin/python'
    )


def make(folder: Path, programs: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "bin").mkdir()
    for name in ("sh", "touch", "mkdir", "basename", "chmod"):
        (folder / "bin" / name).symlink_to(str(shutil.which(name)))
    for name, script in programs.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / "bin" / name).chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, folder)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "PYTHON"))}
    command = [str(shutil.which("make")), "install", *words]
    environment["PATH"] = str(folder / "bin")
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("programs", "words", "taken"),
    [
        ({"python3.11": version(3, 11, 2), "python3.12": version(3, 12, 1)}, [], "python3.11"),
        ({"python3.11": SHIM, "python3.12": SHIM, "python3.13": version(3, 13, 0)}, [], "python3.13"),
        ({"python3": version(3, 12, 3)}, [], "python3"),
        ({"python3.11": NO_VENV, "python3": version(3, 13, 0)}, [], "python3"),
        ({"python3.11": version(3, 11, 7), "mine": version(3, 12, 1)}, ["PYTHON=mine"], "mine"),
        ({"python3.11": version(3, 11, 7), "mine": version(3, 10, 13)}, ["PYTHON=mine"], "python3.11"),
    ],
)
def test_the_first_interpreter_that_fits_makes_the_environment(
    tmp_path: Path, programs: dict[str, str], words: list[str], taken: str
) -> None:
    done = make(tmp_path, programs, *words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".venv" / "made-by").read_text().strip() == taken


@pytest.mark.parametrize(
    "programs",
    [{}, {"python3.11": SHIM, "python3.12": NO_VENV, "python3": version(3, 14, 0), "python3.13": version(3, 10)}],
)
def test_one_line_says_what_is_needed_where_none_fits(tmp_path: Path, programs: dict[str, str]) -> None:
    done = make(tmp_path, programs)
    assert done.returncode != 0
    said, _ = done.stderr.splitlines()  # the other is make's own
    assert said.startswith("Hourglass needs Python 3.11, 3.12 or 3.13 with venv.")
    assert "apt install python3-venv" in said
    assert not (tmp_path / ".venv").exists()


def test_an_environment_that_works_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text("#!/bin/sh\n")
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    done = make(tmp_path, {"python3.11": version(3, 11, 7)})
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / ".venv" / "made-by").exists()
