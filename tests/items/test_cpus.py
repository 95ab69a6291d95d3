from __future__ import annotations

import os
from pathlib import Path

import pytest

from items.cpus import available_cpus


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)


def cgroups(tmp_path: Path, membership: str, **files: str) -> tuple[Path, Path]:
    (tmp_path / "cgroup").write_text(membership)
    for name, content in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "cgroup", tmp_path / "fs"


@pytest.mark.parametrize(("wanted", "cpus"), [("3", 3), ("0", 1), ("default", 8), ("", 8)])
def test_pythons_own_variable_counts_before_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, cpus: int
) -> None:
    monkeypatch.setenv("PYTHON_CPU_COUNT", wanted)
    assert available_cpus(tmp_path / "none", tmp_path) == cpus


def test_affinity_counts_where_there_is_no_cgroup(tmp_path: Path) -> None:
    assert available_cpus(tmp_path / "none", tmp_path) == 8


@pytest.mark.parametrize(("quota", "cpus"), [("max 100000", 8), ("300000 100000", 3), ("50000 100000", 1)])
def test_a_version_2_quota_cuts_the_cpus(tmp_path: Path, quota: str, cpus: int) -> None:
    assert available_cpus(*cgroups(tmp_path, "0::/app\n", **{"app/cpu.max": quota})) == cpus


def test_a_parents_smaller_quota_counts(tmp_path: Path) -> None:
    files = {"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"}
    assert available_cpus(*cgroups(tmp_path, "0::/a/b\n", **files)) == 2


def test_the_root_counts_where_the_path_is_the_hosts(tmp_path: Path) -> None:
    assert available_cpus(*cgroups(tmp_path, "0::/docker/77\n", **{"cpu.max": "200000 100000"})) == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "cpus"), [("-1", 8), ("250000", 2)])
def test_a_version_1_quota_cuts_the_cpus(tmp_path: Path, mount: str, quota: str, cpus: int) -> None:
    files = {f"{mount}/app/cpu.cfs_quota_us": quota, f"{mount}/app/cpu.cfs_period_us": "100000"}
    assert available_cpus(*cgroups(tmp_path, "4:memory:/app\n3:cpu,cpuacct:/app\n", **files)) == cpus
