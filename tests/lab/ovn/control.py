"""A real API server, the network's controller and the node ports, inside a worker's namespaces."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import controlplane
from lab.api import MERGE, Api
from lab.daemon import Daemon
from lab.group import Group
from lab.ovn import northbound
from lab.ovn.controller import COLLECTIONS
from lab.ovn.daemons import sockets
from lab.ovn.netns import Inside
from lab.ovn.ports import PROBLEM, nics, plug, problem, unplug
from lab.paths import Paths
from testbed.contract import nic_annotation

from . import topology

NODE_PORT = 30951
GREETING = b"from the server"


def path(obj: dict[str, Any]) -> str:
    """The collection an object belongs in."""
    collection = {**COLLECTIONS, "Service": "/api/v1/services", "ServiceAccount": "/api/v1/serviceaccounts"}[
        obj["kind"]
    ]
    namespace = obj["metadata"].get("namespace")
    base, _, plural = collection.rpartition("/")
    return f"{base}/namespaces/{namespace}/{plural}" if namespace else collection


def until(what: str, question: Callable[[], Any], timeout: float = 60.0) -> Any:
    """Ask until the answer is true."""
    deadline = time.monotonic() + timeout
    while not (answer := question()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout:.0f} s"
        time.sleep(0.05)
    return answer


@contextmanager
def control(paths: Paths) -> Iterator[Api]:
    """Start what a lab starts between the fabric and the node agent."""
    with Group(paths) as group:
        for daemon in controlplane.daemons(paths)[:2]:
            group.start(daemon)
        controlplane.apply_crds(paths)
        for module in ("lab.ovn", "lab.ovn.nodeport"):
            group.start(Daemon(module, (sys.executable, "-m", module, "--root", str(paths.root))))
        yield Api(paths)


def create(api: Api, objects: list[dict[str, Any]]) -> None:
    """Create objects as a Pulumi program would; pods with the least a pod needs."""
    for each in sorted(objects, key=lambda o: o["kind"] != "Namespace"):
        body = {key: value for key, value in each.items() if key not in ("kind", "apiVersion", "status")}
        if each["kind"] == "NetworkPolicy":
            body["apiVersion"] = "networking.k8s.io/v1"
        if each["kind"] == "Pod":
            containers = [{"name": "c", "image": "none"}]
            body["spec"] = {**each["spec"], "containers": containers, "automountServiceAccountToken": False}
        api.create(path(each), {"apiVersion": each["apiVersion"], "kind": each["kind"], **body})
        if each["kind"] == "Namespace":
            account = topology.obj("ServiceAccount", "default", each["metadata"]["name"])
            api.create(path(account), account)


def lifecycle(paths: Paths) -> dict[str, Any]:
    """From objects to packets through a node port; returns what was seen on the way."""
    seen: dict[str, Any] = {}
    with control(paths) as api:
        objects = topology.testbed(2)
        create(api, objects)
        server_path = "/api/v1/namespaces/t-server/pods/superlink-0"
        server = until("allocation", lambda: (p := api.get(server_path)) and nics(p) and p)
        seen["nics"] = [(n.interface, str(n.address)) for n in nics(server) or []]
        seen["subnets"] = until("status", lambda: _statuses(api))
        seen["vpc"] = until("VPC's status", lambda: api.get(f"{COLLECTIONS['Vpc']}/t-vpc-s001").get("status"))
        seen["conflict"] = _conflict(api)
        seen["forwarded"] = _forward(paths, api, server)
        api.delete(server_path, {"gracePeriodSeconds": 0})
        until("ports removed", lambda: not any("superlink" in n for n in _ports(paths)))
        seen["rows"] = _ports(paths)
    return seen


def _ports(paths: Paths) -> list[str]:
    found, _ = northbound.read(sockets(paths))
    return sorted(str(r.columns["name"]) for r in found.values() if r.table == "Logical_Switch_Port")


def _statuses(api: Api) -> dict[str, tuple[str, int, int]] | None:
    found = {}
    for subnet in api.get(COLLECTIONS["Subnet"])["items"]:
        status = subnet.get("status") or {}
        ready = next((c["status"] for c in status.get("conditions") or () if c["type"] == "Ready"), "")
        found[subnet["metadata"]["name"]] = (ready, status.get("v4usingIPs", -1), status.get("v4availableIPs", -1))
    complete = all(ready for ready, _, _ in found.values()) and sum(using for _, using, _ in found.values()) == 6
    return found if complete else None


def _conflict(api: Api) -> dict[str, Any]:
    """A pod that names another's address waits, says why, and gets it when the other goes."""
    rival = topology.pod("rival-0", "t-client-1", "client", "t-net-s001", "10.32.1.3")
    create(api, [rival])
    where = f"{path(rival)}/rival-0"
    why = until("problem", lambda: problem(api.get(where)))
    events = until("event", lambda: api.get("/api/v1/namespaces/t-client-1/events")["items"])
    api.delete(f"{path(rival)}/supernode-0", {"gracePeriodSeconds": 0})
    placed = until("allocation after conflict", lambda: (p := api.get(where)) and nics(p) and p)
    return {
        "why": why,
        "reasons": {event["reason"] for event in events},
        "after": placed["metadata"]["annotations"].get(PROBLEM),
        "address": placed["metadata"]["annotations"][nic_annotation("ip_address")],
    }


def _forward(paths: Paths, api: Api, server: dict[str, Any]) -> bytes:
    service = topology.obj(
        "Service",
        "superlink",
        "t-server",
        spec={
            "type": "NodePort",
            "selector": {"kubeflower.io/role": "server"},
            "ports": [{"port": topology.PORT, "nodePort": NODE_PORT}],
        },
    )
    api.create(path(service), service)
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    api.patch("/api/v1/namespaces/t-server/pods/superlink-0/status", ready, MERGE)
    subprocess.run(["ip", "netns", "add", "p-server"], check=True)
    plug(paths, "p-server", nics(server) or [])
    try:
        with (
            Inside(Path("/run/netns/p-server")) as inside,
            inside.call(lambda: socket.create_server(("", topology.PORT))) as listener,
        ):
            threading.Thread(target=_answer, args=(listener,), daemon=True).start()
            return bytes(until("node port", _ask))
    finally:
        unplug(paths, nics(server) or [])
        subprocess.run(["ip", "netns", "delete", "p-server"], check=True)


def _answer(listener: socket.socket) -> None:
    """Echo after a greeting, until the other side has said everything."""
    connection, _ = listener.accept()
    with connection:
        connection.sendall(GREETING)
        while data := connection.recv(1 << 16):
            connection.sendall(data)


def _ask() -> bytes:
    """Send a megabyte, half-close, and read everything back."""
    sent = bytes(range(256)) * 4096
    try:
        with socket.create_connection(("127.0.0.1", NODE_PORT), 5) as connection:
            received = b""
            writer = threading.Thread(target=_say, args=(connection, sent))
            writer.start()
            while data := connection.recv(1 << 16):
                received += data
            writer.join()
    except OSError:
        return b""
    return GREETING if received == GREETING + sent else b""


def _say(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
