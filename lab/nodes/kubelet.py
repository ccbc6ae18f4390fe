"""One node's kubelet: its configuration, and what else a cluster's operator does for a node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.api import MERGE, Api, ApiError
from lab.nodes.containerd import SOCKET
from lab.nodes.description import Place
from testbed.spec import Node

_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
_UNINITIALISED = "node.cloudprovider.kubernetes.io/uninitialized"
_GPU = "nvidia.com/gpu"


def argv(place: Place, program: Path, port: int) -> tuple[str, ...]:
    """Write what kubelet reads and return its command."""
    file = place.folder / "kubelet.json"
    file.write_text(json.dumps(_configuration(place, port), indent=1))
    return (
        str(program),
        f"--config={file}",
        f"--kubeconfig={place.paths.run / 'pki' / place.user}.kubeconfig",
        f"--hostname-override={place.host}",
        # The addresses are given by ``join``: by itself a kubelet takes none on loopback.
        "--cloud-provider=external",
    )


def _configuration(place: Place, port: int) -> dict[str, Any]:
    pki = place.paths.run / "pki"
    taints = [{"key": _CONTROL_PLANE, "effect": "NoSchedule"}] if place.node.role == "control-plane" else []
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "port": port,
        "healthzPort": 0,
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(pki / "ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / f"{place.user}.crt"),
        "tlsPrivateKeyFile": str(pki / f"{place.user}.key"),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "volumePluginDir": "/var/lib/kubelet/plugins",
        "registerWithTaints": taints,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": place.cgroup,
        "enforceNodeAllocatable": ["pods"],
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "resolvConf": "",
        "podPidsLimit": 2048,
        # The disk is the machine's: how full others made it is nothing that a pod could be ended for.
        "localStorageCapacityIsolation": False,
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
    }


def join(api: Api, place: Place) -> bool:
    """Do for a node that has registered what an operator and a cloud do; return whether it is ready.

    It gets its address (loopback, where the API server reaches its kubelet), its role, and the GPU that it declares, as
    an extended resource that no device plugin stands behind. Its other resources are what kubelet measures.
    """
    path = f"/api/v1/nodes/{place.host}"
    try:
        found = api.get(path)
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    if any(taint["key"] == _UNINITIALISED for taint in found["spec"].get("taints", ())):
        offered, address = gpus(place.node), {"type": "InternalIP", "address": "127.0.0.1"}
        status = {"addresses": [address], "capacity": offered, "allocatable": offered}
        api.patch(f"{path}/status", {"status": status})
        labels = {_CONTROL_PLANE: ""} if place.node.role == "control-plane" else {}
        kept = [taint for taint in found["spec"]["taints"] if taint["key"] != _UNINITIALISED]
        api.patch(path, {"metadata": {"labels": labels}, "spec": {"taints": kept}}, MERGE)
        return False
    states = {one["type"]: one["status"] for one in found["status"].get("conditions", ())}
    return states.get("Ready") == "True"


def gpus(node: Node) -> dict[str, str]:
    """What a node offers beside what kubelet measures."""
    return {_GPU: "1"} if node.gpu else {}
