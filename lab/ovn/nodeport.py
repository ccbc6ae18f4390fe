"""``python -m lab.ovn.nodeport --root ROOT``: node ports on the machine's loopback, as kube-proxy does on a node.

Each Service of type NodePort is listened for on 127.0.0.1. A connection goes on from inside the fabric's network
namespace, out of the node's port on the join switch, to the eth0 address of a ready pod of the Service.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from lab.ovn.cluster import Cluster, Object, annotations_of, labels_of, namespace, spec
from lab.ovn.netns import Inside
from lab.ovn.selectors import matches
from lab.ovn.watch import Watched
from lab.paths import Paths
from testbed.contract import nic_annotation

COLLECTIONS = {"Service": "/api/v1/services", "Pod": "/api/v1/pods"}
CHUNK = 1 << 16
CONNECT = 5.0  # seconds

log = logging.getLogger(__name__)
Target = tuple[str, int]


def targets(cluster: Cluster) -> dict[int, list[Target]]:
    """The ready endpoints, ``(address, port)``, of each node port.

    Source: Kubernetes' endpoints controller: ready pods that the selector matches, not being deleted.
    """
    found: dict[int, list[Target]] = {}
    for service in cluster.all("Service"):
        if spec(service).get("type") != "NodePort" or not spec(service).get("selector"):
            continue
        selector = {"matchLabels": spec(service)["selector"]}
        pods = [
            pod
            for pod in cluster.pods()
            if namespace(pod) == namespace(service) and matches(selector, labels_of(pod)) and _ready(pod)
        ]
        for port in spec(service).get("ports") or ():
            if port.get("nodePort") and (port.get("protocol") or "TCP") == "TCP":
                found[int(port["nodePort"])] = [t for pod in pods for t in _endpoint(pod, port)]
    return found


def _ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def _endpoint(pod: Object, port: Object) -> Iterator[Target]:
    address = annotations_of(pod).get(nic_annotation("ip_address"))
    wanted = port.get("targetPort") or port["port"]
    if isinstance(wanted, str) and not wanted.isdigit():
        named = (p for c in spec(pod).get("containers") or () for p in c.get("ports") or () if p.get("name") == wanted)
        wanted = next((p["containerPort"] for p in named), 0)
    if address and int(wanted):
        yield address, int(wanted)


class Forwarder:
    """Listens on node ports and forwards."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._servers: dict[int, asyncio.Server] = {}
        self._targets: dict[int, list[Target]] = {}
        self._turn = 0

    async def update(self, wanted: dict[int, list[Target]]) -> None:
        """Listen on exactly these ports; open connections go on."""
        self._targets = wanted
        for port in self._servers.keys() - wanted.keys():
            self._servers.pop(port).close()
        for port in wanted.keys() - self._servers.keys():
            try:
                self._servers[port] = await asyncio.start_server(
                    lambda r, w, port=port: self._serve(port, r, w),  # type: ignore[misc]
                    "127.0.0.1",
                    port,
                )
                log.info("listening on 127.0.0.1:%d", port)
            except OSError as problem:
                log.warning("node port %d: %s; tried again at the next change", port, problem)

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            endpoints = self._targets.get(port)
            if not endpoints:
                log.warning("node port %d: no ready pod behind it", port)
                return
            self._turn += 1
            try:
                far_reader, far_writer = await self._connect(endpoints[self._turn % len(endpoints)])
            except (OSError, TimeoutError) as problem:
                log.warning("node port %d: %s", port, problem or "no answer")
                return
            with closing(far_writer):
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    async def _connect(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        made = await asyncio.wrap_future(self._inside.submit(socket.socket))
        made.setblocking(False)
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(made, target), CONNECT)
        except BaseException:
            made.close()
            raise
        return await asyncio.open_connection(sock=made)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then close that direction alone (gRPC streams and HTTP half-close)."""
    with suppress(OSError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
    with suppress(OSError, RuntimeError):
        if sink.can_write_eof():
            sink.write_eof()


async def serve(paths: Paths) -> None:
    """Forward for ever."""
    watched = Watched(paths, COLLECTIONS)
    forwarder = Forwarder(Inside(Path("/run/netns") / paths.fabric))
    loop = asyncio.get_running_loop()
    while True:
        if await loop.run_in_executor(None, watched.wait, 5.0):
            await forwarder.update(targets(watched.cluster()))


def main() -> int:
    """Run until ended."""
    parser = argparse.ArgumentParser(prog="python -m lab.ovn.nodeport", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of the lab")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    asyncio.run(serve(Paths(options.root)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
