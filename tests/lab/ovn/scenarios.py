"""What runs inside a worker's namespaces."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import matrix
from lab.api import MERGE, Api
from lab.daemon import Daemon
from lab.group import Group
from lab.ovn.daemons import sockets
from lab.ovn.kubeovn import KUBE_OVN
from lab.ovn.netns import Inside
from lab.ovn.ports import Nic, nics, plug, unplug
from lab.ovn.probes import Kind, Probe, Seen, send
from lab.paths import Paths

from . import control, topology

NETNS = Path("/run/netns")
NODE_PORT = 30951
GREETING = b"from the server"


@contextmanager
def plugged(paths: Paths, pods: dict[str, control.Body]) -> Iterator[dict[str, Path]]:
    """The pods' network namespaces, connected for as long as the block lasts, by ``namespace/name``."""
    places: dict[str, tuple[str, list[Nic]]] = {}
    try:
        for number, (name, pod) in enumerate(pods.items()):
            places[name] = (f"p-{number}", nics(pod) or [])
            subprocess.run(["ip", "netns", "add", f"p-{number}"], check=True)
            plug(paths, *places[name], f"p-{number}")
        yield {name: NETNS / netns for name, (netns, _) in places.items()}
    finally:
        for netns, _ in places.values():
            unplug(paths, netns)
            subprocess.run(["ip", "netns", "delete", netns], check=True)


def build(paths: Paths, objects: list[dict[str, Any]]) -> matrix.Matrix:
    """Make a network of these objects, send the matrix' packets through it, and take it away again."""
    with control.present(paths, objects) as pods, plugged(paths, pods) as places:
        running = [{**pod, "status": {"phase": "Running"}} for pod in pods.values()]
        routers = matrix.Routers.read(Api(paths).get("/api/v1/nodes")["items"], sockets(paths))
        return matrix.measure(matrix.stations(running), places, topology.PORT, routers)


def leftovers(paths: Paths) -> tuple[list[str], list[str]]:
    """Ports on the bridge, and network namespaces."""
    return sockets(paths).vsctl("list-ports", "br-int").split(), [p.name for p in NETNS.iterdir()]


def from_node(paths: Paths, objects: list[dict[str, Any]], addresses: list[str]) -> dict[str, Seen]:
    """What the machine's own port reaches of a server that listens."""
    with (
        control.present(paths, objects) as pods,
        plugged(paths, {"s": pods["t-server/superlink-0"]}) as places,
        Inside(places["s"]) as inside,
        inside.call(lambda: socket.create_server(("", topology.PORT))),
    ):
        probes = {a: Probe("node", "server", a, Kind.TCP, topology.PORT) for a in addresses}
        seen = send({"node": NETNS / paths.fabric}, list(probes.values()))
        return {address: seen[probe] for address, probe in probes.items()}


def lifecycle(paths: Paths) -> dict[str, Any]:
    """From objects to packets through a node port; returns what was seen on the way."""
    api = Api(paths)
    seen: dict[str, Any] = {}
    with control.present(paths, topology.testbed(2)) as pods:
        server = pods["t-server/superlink-0"]
        seen["nics"] = [(n.interface, str(n.address)) for n in nics(server) or []]
        seen["ready"] = control.until("subnets", lambda: (r := control.ready(api)) and all(r.values()) and r)
        seen["vpc"] = api.get(f"{KUBE_OVN}/vpcs/t-vpc-s001")["status"]
        seen["conflict"] = _conflict(api)
        with plugged(paths, {"server": server}) as places:
            seen["forwarded"] = _forward(paths, api, server, places["server"])
        api.delete(control.where(server), {"gracePeriodSeconds": 0})
        control.until("ports removed", lambda: "superlink" not in sockets(paths).nbctl("show"))
    return seen


def _conflict(api: Api) -> dict[str, Any]:
    """A pod that names another's address waits, says why, and gets it when the other goes."""
    rival = topology.pod("rival-0", "t-client-1", "client", "t-net-s001", "10.32.1.3")
    control.create(api, [rival])
    events = control.until("event", lambda: [e for e in control.events(api) if "rival" in e])
    waiting = nics(api.get(control.where(rival)))
    api.delete("/api/v1/namespaces/t-client-1/pods/supernode-0", {"gracePeriodSeconds": 0})
    own = nics(control.until("address", lambda: control.placed(api, rival))) or []
    return {"said": events[0], "waiting": waiting, "address": str(own[0].address.ip)}


def _forward(paths: Paths, api: Api, server: control.Body, netns: Path) -> bytes:
    spec = {
        "type": "NodePort",
        "selector": {"kubeflower.io/role": "server"},
        "ports": [{"port": topology.PORT, "nodePort": NODE_PORT}],
    }
    control.create(api, [topology.obj("Service", "superlink", "t-server", spec=spec)])
    status = {  # as a kubelet writes it
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "podIP": topology.SERVER,
        "podIPs": [{"ip": topology.SERVER}],
    }
    api.patch(f"{control.where(server)}/status", {"status": status}, MERGE)
    with (
        Group(paths) as group,
        Inside(netns) as inside,
        inside.call(lambda: socket.create_server(("", topology.PORT))) as listener,
    ):
        group.start(Daemon("nodeport", (sys.executable, "-m", "lab.ovn.nodeport", "--root", str(paths.root))))
        threading.Thread(target=_answer, args=(listener,), daemon=True).start()
        return bytes(control.until("node port", _ask))


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
