"""A lab of two nodes, and what the tests ask of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import lifecycle
from lab.api import Api, Object
from lab.nodes.daemons import SETTINGS
from lab.nodes.description import Description
from lab.paths import Paths
from lab.tools import tool

TAGGED = "ghcr.io/kubeflower/workloads:0.1.0"
BY_DIGEST = f"ghcr.io/kubeflower/workloads@sha256:{'0' * 64}"
STORAGE = "/data/of/the/testbed"  # a folder that no machine has
NODES = Description.model_validate(
    {
        "nodes": [
            {
                "name": "C1",
                "role": "control-plane",
                "domain": "core",
                "cpu": 4,
                "memory": 16,
                "disk": 80,
                "gpu": "A100",
            },
            {"name": "E1", "role": "edge", "domain": "edge", "cpu": 15, "memory": 30, "disk": 100, "gpu": "P2000"},
        ],
        "storage": STORAGE,
        "images": [TAGGED, BY_DIGEST],
    }
)
USER: Object = {"runAsNonRoot": True, "runAsUser": 49999, "runAsGroup": 49999, "fsGroup": 49999}
HARDENED: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass
class Lab:
    """A running lab.

    Attributes:
        settings: the kernel's settings as they were before it started.
    """

    paths: Paths
    api: Api
    settings: dict[str, str]

    def create(self, kind: str, body: Object) -> None:
        self.api.create(f"/api/v1/namespaces/default/{kind}", body)

    def run(self, name: str, script: str, *, container: Object | None = None, **spec: Any) -> None:
        """Create a pod on E1 with one container, ``main``, that runs a shell script."""
        main = {"name": "main", "image": TAGGED, "command": ["sh", "-c", script], "securityContext": HARDENED}
        defaults = {
            "nodeSelector": {"kubernetes.io/hostname": "e1"},
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": USER | {"seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": 1,
            "containers": [main | (container or {})],
        }
        self.create("pods", {"metadata": {"name": name}, "spec": defaults | spec})

    def get(self, name: str) -> Object:
        return self.api.get(f"/api/v1/namespaces/default/pods/{name}")

    def until(self, name: str, holds: Callable[[Object], object], seconds: float = 60) -> Object:
        """Wait until the status of a pod's first container is as wanted and return it."""
        deadline = time.monotonic() + seconds
        while True:
            pod = self.get(name)
            status: Object = (pod["status"].get("containerStatuses") or [{"state": {}, "lastState": {}}])[0]
            if holds(status):
                return status
            assert time.monotonic() < deadline, json.dumps(pod["status"], indent=1) + self.kubectl("get", "events")
            time.sleep(0.1)

    def running(self, name: str) -> Object:
        return self.until(name, lambda status: "running" in status["state"])

    def ended(self, name: str) -> Object:
        """Wait until a pod's container has ended and return how."""
        state: Object = self.until(name, lambda status: "terminated" in status["state"])["state"]["terminated"]
        return state

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        env = {**os.environ, "KUBECONFIG": str(self.paths.kubeconfig)}
        done = subprocess.run(
            [tool("kubectl"), *arguments], env=env, input=text, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def settings() -> dict[str, str]:
    """What the kernel's settings are that a kubelet writes."""
    return {name: Path("/proc/sys", name).read_text().strip() for name in SETTINGS}


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("namespaces and mounts need root")
    before, paths = settings(), Paths(Path(tempfile.mkdtemp(prefix="kf-")))
    try:
        lifecycle.start(paths, NODES)
        api = Api(paths)
        deadline = time.monotonic() + 30
        while not api.get("/api/v1/namespaces/default/serviceaccounts")["items"]:
            assert time.monotonic() < deadline, "the controller manager made no default service account"
            time.sleep(0.05)
        yield Lab(paths, api, before)
    finally:
        lifecycle.stop(paths)
        shutil.rmtree(paths.root)
