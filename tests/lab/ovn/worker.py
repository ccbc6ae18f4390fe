"""A cluster's network in PID and mount namespaces of its own, and functions run inside it.

A real API server with the controllers that serve it, OVN and Open vSwitch, and Kube-OVN's own controller; two nodes,
no kubelet. ``Worker`` sends a function's name and arguments to a child that is PID 1 of its namespaces and holds the
daemons. When the test run dies, the child's stdin closes, it ends, and the kernel takes everything else along.
"""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import controlplane
from lab.api import MERGE, Api
from lab.group import Group
from lab.ovn import kubeovn
from lab.ovn.daemons import daemons
from lab.ovn.node import join
from lab.paths import Paths

NODES = ("n1", "n2")  # with one alone Kube-OVN 1.16.2 loses policies
CONTROLLERS = "endpointslice-controller,namespace-controller,serviceaccount-controller"


class Worker:
    """Runs functions of importable modules inside the namespaces; each gets the lab's paths first."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root)
        self._process = subprocess.Popen(
            [
                *("unshare", "--pid", "--mount", "--fork", "--kill-child", "--propagation", "private", "--"),
                *(sys.executable, "-m", __name__, str(root)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        try:
            self.call(_started)
        except EOFError:
            self.__exit__(None, None, None)
            raise RuntimeError(f"the network did not start; logs are in {self.paths.logs}") from None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run ``function(paths, *arguments)`` inside; its exception is raised here as a RuntimeError."""
        assert self._process.stdin and self._process.stdout
        pickle.dump((function.__module__, function.__name__, arguments), self._process.stdin)
        self._process.stdin.flush()
        ok, value = pickle.load(self._process.stdout)  # noqa: S301 - our own child
        if not ok:
            raise value
        return value

    @property
    def pid(self) -> int:
        """PID 1 of the namespaces, as seen from outside."""
        unshare = self._process.pid
        return int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text())

    def kill(self) -> None:
        """End it as an out-of-memory killer would."""
        self._process.kill()
        self._process.wait(30)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin and self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def _started(_paths: Paths) -> None:
    """Nothing: that it answers says that the network serves."""


def _network(paths: Paths, group: Group) -> None:
    subprocess.run(["ip", "netns", "add", paths.fabric], check=True)
    subprocess.run(["ip", "-n", paths.fabric, "link", "set", "lo", "up"], check=True)
    # No scheduler, for the tests' pods name their nodes; and nobody who would miss the nodes' kubelets.
    etcd, apiserver, manager, _ = controlplane.daemons(paths)
    manager = replace(manager, argv=(*manager.argv, f"--controllers={CONTROLLERS}"))
    for daemon in (etcd, apiserver, manager):
        group.start(daemon)
    controlplane.apply_crds(paths)
    for daemon in (*daemons(paths, NODES[0]), kubeovn.controller(paths)):
        group.start(daemon)
    api = Api(paths)
    for number, name in enumerate(NODES, 1):
        api.create("/api/v1/nodes", {"metadata": {"name": name}})
        addresses = [{"type": "InternalIP", "address": f"192.0.2.{number}"}]
        api.patch(f"/api/v1/nodes/{name}/status", {"status": {"addresses": addresses}}, MERGE)
    join(paths, NODES)


def _serve(paths: Paths) -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    Path("/run/netns").mkdir(exist_ok=True)
    for kind, target in (("proc", "/proc"), ("tmpfs", "/run/netns")):
        subprocess.run(["mount", "-t", kind, kind, target], check=True)
    with Group(paths) as group:
        _network(paths, group)
        while True:
            try:
                module, name, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent
            except EOFError:
                return
            try:
                answer = (True, getattr(importlib.import_module(module), name)(paths, *arguments))
            except Exception:  # noqa: BLE001 - it is raised in the test
                answer = (False, RuntimeError(traceback.format_exc()))
            pickle.dump(answer, answers)
            answers.flush()


if __name__ == "__main__":
    _serve(Paths(Path(sys.argv[1])))
