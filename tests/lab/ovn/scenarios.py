"""What runs inside a worker's namespaces."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from lab import matrix
from lab.ovn import join, northbound
from lab.ovn.addresses import allocate
from lab.ovn.cluster import Cluster, namespace
from lab.ovn.daemons import sockets
from lab.ovn.defaults import with_defaults
from lab.ovn.netns import Inside
from lab.ovn.ports import nics, plug, unplug
from lab.ovn.probes import Kind, Probe, Seen, send
from lab.ovn.translate import translate
from lab.paths import Paths

PORT = 8080


def build(paths: Paths, objects: list[dict[str, Any]]) -> matrix.Matrix:
    """Make a network of these objects, send the matrix' packets through it, and take its pods away again."""
    cluster = Cluster.of([*with_defaults(objects), join.node(paths)])
    allocation = allocate(cluster)
    assert not allocation.problems, allocation.problems
    cluster = allocation.applied(cluster)
    northbound.apply(sockets(paths), translate(cluster), wait="sb")
    join.attach(paths)
    pods = cluster.pods()
    running = [
        {**pod, "status": {"phase": "Running"}, "metadata": {**pod["metadata"], "uid": namespace(pod)}} for pod in pods
    ]
    places = {}
    for station, pod in zip(sorted(running, key=namespace), sorted(pods, key=namespace), strict=True):
        netns = f"p-{namespace(station)}"
        subprocess.run(["ip", "netns", "add", netns], check=True)
        plug(paths, netns, nics(pod) or [])
        places[f"{namespace(pod)}/{pod['metadata']['name']}"] = Path("/run/netns") / netns
    try:
        return matrix.measure(matrix.stations(running), places, PORT)
    finally:
        for pod in pods:
            unplug(paths, nics(pod) or [])
            subprocess.run(["ip", "netns", "delete", f"p-{namespace(pod)}"], check=True)


def leftovers(paths: Paths) -> tuple[list[str], list[str]]:
    """Ports on the bridge, and network namespaces."""
    return sockets(paths).vsctl("list-ports", "br-int").split(), [p.name for p in Path("/run/netns").iterdir()]


def from_node(paths: Paths, objects: list[dict[str, Any]], addresses: list[str]) -> dict[str, Seen]:
    """What the machine's own port reaches of a server that listens."""
    cluster = Cluster.of([*with_defaults(objects), join.node(paths)])
    cluster = allocate(cluster).applied(cluster)
    northbound.apply(sockets(paths), translate(cluster), wait="sb")
    join.attach(paths)
    server = next(pod for pod in cluster.pods() if namespace(pod) == "t-server")
    subprocess.run(["ip", "netns", "add", "p-server"], check=True)
    plug(paths, "p-server", nics(server) or [])
    netns = Path("/run/netns")
    try:
        with Inside(netns / "p-server") as inside, inside.call(lambda: __import__("socket").create_server(("", PORT))):
            probes = {a: Probe("node", "server", a, Kind.TCP, PORT) for a in addresses}
            seen = send({"node": netns / paths.fabric}, list(probes.values()))
            return {address: seen[probe] for address, probe in probes.items()}
    finally:
        unplug(paths, nics(server) or [])
        subprocess.run(["ip", "netns", "delete", "p-server"], check=True)
