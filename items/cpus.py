"""CPUs that a process may use, by PYTHON_CPU_COUNT, its affinity mask and the quotas of its cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def available_cpus(membership: Path = Path("/proc/self/cgroup"), mounts: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the CPUs that this process may use, at least 1.

    That is PYTHON_CPU_COUNT where it is a number, which Python itself heeds from 3.13 on; else what its affinity mask
    and its cgroups' quotas leave.

    Args:
        membership: the file that names this process's cgroups.
        mounts: where the kernel shows cgroups, version 2 or 1.
    """
    if (wanted := os.environ.get("PYTHON_CPU_COUNT", "")).isdecimal():
        return max(1, int(wanted))
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(int(quota) for quota in _cpu_quotas(membership, mounts))]))


def _cpu_quotas(membership: Path, mounts: Path) -> Iterator[float]:
    """Yield the quotas, in CPUs, of the process's cgroup and of all above it, where they have one."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, inner = line.split(":", 2)
        if not controllers:
            base, read = mounts, _quota_v2
        elif "cpu" in controllers.split(","):
            base, read = mounts / (controllers if (mounts / controllers).is_dir() else "cpu"), _quota_v1
        else:
            continue
        group = base / inner.strip("/")
        # In a container the path may be the host's, which is not there: the root of the mount still shows the quota.
        for folder in (group, *group.parents):
            if folder.is_relative_to(base):
                yield from read(folder)


def _quota_v2(folder: Path) -> Iterator[float]:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return
    if quota != "max":
        yield int(quota) / int(period)


def _quota_v1(folder: Path) -> Iterator[float]:
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    except (OSError, ValueError):
        return
    if quota > 0 and period > 0:
        yield quota / period
