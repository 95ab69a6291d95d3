"""Nodes of a Ray cluster on this machine, each on an address of its own and, if wanted, with files of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.pipelines.sandbox import REPOSITORY, Sandbox

CODE = ("components", "items", "pipelines", "serving")


class Nodes:
    """A cluster that a test starts node by node. Leaving it ends every node.

    Args:
        sandbox: the project; nodes log into its folder.
        environment: of each node.
        own_files: whether nodes see neither the project's folder nor this code, in mount namespaces that hide them.
    """

    def __init__(self, sandbox: Sandbox, environment: dict[str, str], own_files: bool = False) -> None:
        self._sandbox, self._own_files = sandbox, own_files
        self._environment = sandbox.environment | environment
        self._log = Path(sandbox.environment.get("TMPDIR", "/tmp")) / f"nodes-{os.getpid()}-{id(self)}.log"  # noqa: S108
        self.processes: list[subprocess.Popen[bytes]] = []
        with socket.socket() as opened:
            opened.bind(("127.0.0.2", 0))
            self._port = opened.getsockname()[1]
        self.address = f"127.0.0.2:{self._port}"

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *exception: object) -> None:
        for node in reversed(self.processes):
            node.terminate()
        for node in self.processes:
            node.wait(60)
        self._log.unlink(missing_ok=True)

    def start(self, cpus: int = 1, **environment: str) -> subprocess.Popen[bytes]:
        """Start a node, the head first. Ray gives up a node that is slow to start: up to three tries."""
        host = f"127.0.0.{2 + len(self.processes)}"
        options = ["--head", f"--port={self._port}", "--include-dashboard=false"]
        if self.processes:
            options = [f"--address={self.address}"]
        command = ["ray", "start", "--block", f"--num-cpus={cpus}", "--disable-usage-stats", *options]
        command.append(f"--node-ip-address={host}")
        if self._own_files:
            hidden = [self._sandbox.root, *(REPOSITORY / room for room in CODE)]
            mounts = " && ".join(f"mount -t tmpfs none '{folder}'" for folder in hidden)
            command = ["unshare", "--mount", "sh", "-c", f"{mounts} && exec {' '.join(command)}"]
        for _ in range(3):
            before = self._started()
            with self._log.open("a") as log:
                node = subprocess.Popen(
                    command,
                    env=self._environment | environment,
                    cwd="/",
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            wait_for(lambda: self._started() > before or node.poll() is not None)  # noqa: B023
            if node.poll() is None:
                self.processes.append(node)
                return node
        raise AssertionError(self._log.read_text())

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """Kill all processes of a node at once."""
        for pid in [*descendants(node.pid), node.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        node.wait(30)

    def _started(self) -> int:
        return self._log.read_text().count("Ray runtime started.") if self._log.exists() else 0


def descendants(pid: int) -> list[int]:
    """Return the processes below one, the nearest first."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] + [below for child in children for below in descendants(int(child))]


def wait_for(reached: Callable[[], Any], seconds: float = 240) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)
