"""The lab's nodes as the API server knows them: registered once, alive by their leases."""

from __future__ import annotations

import json
import logging
import platform
import threading
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from lab.api import MERGE, Api, ApiError, Object, Unreachable, timestamp
from lab.errors import LabError
from testbed.naming import host
from testbed.spec import Node

LEASE, BEAT = 40, 10  # seconds, kubelet's
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")

log = logging.getLogger(__name__)


def read(path: Path) -> tuple[Node, ...]:
    """Read the nodes of a lab from JSON.

    Raises:
        LabError: when the file cannot be read or says something else.
    """
    try:
        return TypeAdapter(tuple[Node, ...]).validate_python(json.loads(path.read_text()))
    except (OSError, ValueError, ValidationError) as error:
        raise LabError(f"{path} does not describe nodes: {error}") from None


def capacity(node: Node) -> dict[str, str]:
    """What a node offers, as quantities."""
    offered = {"cpu": str(node.cpu), "memory": f"{node.memory}Gi", "ephemeral-storage": f"{node.disk}Gi", "pods": "110"}
    return offered | ({"nvidia.com/gpu": "1"} if node.gpu else {})


def node_object(node: Node) -> Object:
    """Return the Node to register."""
    labels = {"kubernetes.io/hostname": host(node.name), "kubernetes.io/os": "linux"}
    spec: Object = {}
    if node.role == "control-plane":
        labels[_CONTROL_PLANE] = ""
        spec["taints"] = [{"key": _CONTROL_PLANE, "effect": "NoSchedule"}]
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": host(node.name), "labels": labels}, "spec": spec}


def node_status(node: Node, port: int | None) -> Object:
    """Return the status of a healthy node whose kubelet endpoint, if any, is ``port`` on loopback."""
    now = timestamp()
    healthy = [("Ready", "True", "KubeletReady", "the node agent runs")]
    healthy += [(kind, "False", f"KubeletHasNo{kind}", "the lab does not measure it") for kind in _PRESSURES]
    status: Object = {
        "capacity": capacity(node),
        "allocatable": capacity(node),
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "nodeInfo": _info(),
        "conditions": [
            {"type": t, "status": s, "reason": r, "message": m, "lastHeartbeatTime": now, "lastTransitionTime": now}
            for t, s, r, m in healthy
        ],
    }
    return status | ({"daemonEndpoints": {"kubeletEndpoint": {"Port": port}}} if port else {})


def _info() -> Object:
    keys = ("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "kubeProxyVersion")
    runtime = {"containerRuntimeVersion": "runc://1", "kubeletVersion": "v1.34.0", "operatingSystem": "linux"}
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    kernel = {"kernelVersion": platform.release(), "osImage": "kubeFlower lab"}
    return {**dict.fromkeys(keys, ""), **runtime, **kernel, "architecture": architecture}


class Heartbeat(threading.Thread):
    """Registers nodes and keeps their leases, so that the node-lifecycle controller finds them alive."""

    def __init__(self, api: Api, nodes: tuple[Node, ...], port: int | None) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._api, self._nodes, self._port = api, nodes, port
        self._stopped = threading.Event()

    def register(self) -> None:
        """Create or update every node and its lease."""
        for node in self._nodes:
            self._api.ensure("/api/v1/nodes", node_object(node))
            self._report(node)
            self._renew(node)

    def run(self) -> None:
        """Renew the leases; report a node anew when its object was lost or says it is not ready."""
        while not self._stopped.wait(BEAT):
            for node in self._nodes:
                try:
                    self._renew(node)
                    found = self._api.get(f"/api/v1/nodes/{host(node.name)}")
                    states = {c["type"]: c["status"] for c in found["status"].get("conditions", [])}
                    if states.get("Ready") != "True":
                        self._report(node)
                except (ApiError, *Unreachable) as error:
                    log.warning("heartbeat of %s: %s", node.name, error)

    def stop(self) -> None:
        """Renew no more."""
        self._stopped.set()

    def _report(self, node: Node) -> None:
        path = f"/api/v1/nodes/{host(node.name)}/status"
        self._api.patch(path, {"status": node_status(node, self._port)})

    def _renew(self, node: Node) -> None:
        spec = {"holderIdentity": host(node.name), "leaseDurationSeconds": LEASE, "renewTime": timestamp(micro=True)}
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        try:
            self._api.patch(f"{leases}/{host(node.name)}", {"spec": spec}, MERGE)
        except ApiError as error:
            if error.status != 404:
                raise
            self._api.create(leases, {"metadata": {"name": host(node.name)}, "spec": spec})
