"""What the node agent's tests ask of a lab."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lab.api import Api, ApiError, Object
from lab.paths import Paths

NODES = [
    {"name": "M", "role": "control-plane", "domain": "core", "cpu": 2, "memory": 4, "disk": 10},
    {"name": "C1", "role": "cloud", "domain": "core", "cpu": 8, "memory": 16, "disk": 10, "gpu": "a100"},
    {"name": "E1", "role": "edge", "domain": "edge", "cpu": 8, "memory": 16, "disk": 10},
]
IMAGE = "ghcr.io/kubeflower/workloads:0.1.0"
RESTRICTED: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass
class Lab:
    """What a test asks of the lab."""

    paths: Paths
    api: Api
    namespace: str
    process: subprocess.Popen[bytes]

    def pods(self, name: str = "") -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods" + (f"/{name}" if name else "")

    def get(self, name: str) -> Object:
        return self.api.get(self.pods(name))

    def create(self, kind: str, body: Object) -> Object:
        return self.api.create(f"/api/v1/namespaces/{self.namespace}/{kind}", body)

    def run(self, name: str, script: str = "", *, container: Object | None = None, **spec: Any) -> None:
        """Create a pod with one container, ``main``, that runs a shell script."""
        main = {
            "name": "main",
            "image": IMAGE,
            "command": ["sh", "-c", script],
            "securityContext": RESTRICTED,
            **(container or {}),
        }
        security: Object = {"runAsNonRoot": True, "runAsUser": 49999, "runAsGroup": 49999, "fsGroup": 49999}
        security |= {"seccompProfile": {"type": "RuntimeDefault"}}
        defaults = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": security,
            "terminationGracePeriodSeconds": 1,
        }
        pod = {"metadata": {"name": name}, "spec": {**defaults, "containers": [main], **spec}}
        self.create("pods", pod)

    def until(self, name: str, holds: Callable[[Object], object], seconds: float = 30) -> Object:
        """Wait until a pod is as wanted and return it."""
        deadline = time.monotonic() + seconds
        while True:
            pod = self.get(name)
            if holds(pod):
                return pod
            assert time.monotonic() < deadline, json.dumps(pod["status"], indent=1)
            time.sleep(0.05)

    def finished(self, name: str, seconds: float = 30) -> Object:
        """Wait for a pod's end; return how its container ``main`` ended."""
        pod = self.until(name, lambda p: p["status"]["phase"] in ("Succeeded", "Failed"), seconds)
        ended: Object = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        return ended

    def log(self, name: str, container: str = "main") -> str:
        return (self.paths.logs / "pods" / f"{self.namespace}_{name}" / f"{container}.log").read_text()

    def events(self, name: str) -> list[tuple[str, str]]:
        found = self.api.get(f"/api/v1/namespaces/{self.namespace}/events")["items"]
        return [(e["reason"], e["message"]) for e in found if e["involvedObject"]["name"] == name]

    def event(self, name: str, reason: str, seconds: float = 15) -> str:
        """Wait for an event and return its message."""
        deadline = time.monotonic() + seconds
        while True:
            for found, message in self.events(name):
                if found == reason:
                    return message
            assert time.monotonic() < deadline, self.events(name)
            time.sleep(0.1)

    def gone(self, name: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                self.get(name)
            except ApiError as error:
                assert error.status == 404
                return
            time.sleep(0.05)
        raise AssertionError(f"{name} is still there")
