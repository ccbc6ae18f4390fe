"""``python -m lab.ovn.nodeport --root ROOT``: node ports on the machine's loopback, as kube-proxy does on a node.

Each Service of type NodePort is listened for on 127.0.0.1. A connection goes on from inside the fabric's network
namespace, out of the node's port on the join switch, to an address that the Service's EndpointSlices call ready.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path

from lab.api import Api, Object
from lab.ovn.netns import Inside
from lab.paths import Paths

SERVICES = "/api/v1/services"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
OWNER = "kubernetes.io/service-name"  # label of a slice
CHUNK = 1 << 16
CONNECT = 5.0  # seconds

log = logging.getLogger(__name__)
Target = tuple[str, int]


def targets(services: Iterable[Object], slices: Iterable[Object]) -> dict[int, list[Target]]:
    """The ready endpoints, ``(address, port)``, of each TCP node port."""
    found: dict[int, list[Target]] = {}
    every = list(slices)
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        own = [
            one
            for one in every
            if one["metadata"]["namespace"] == meta["namespace"]
            and (one["metadata"].get("labels") or {}).get(OWNER) == meta["name"]
        ]
        for port in spec.get("ports") or () if spec.get("type") == "NodePort" else ():
            if port.get("nodePort") and (port.get("protocol") or "TCP") == "TCP":
                found[int(port["nodePort"])] = [
                    (endpoint["addresses"][0], int(there["port"]))
                    for one in own
                    for there in one.get("ports") or ()
                    if (there.get("name") or "") == (port.get("name") or "") and there.get("port")
                    for endpoint in one.get("endpoints") or ()
                    if (endpoint.get("conditions") or {}).get("ready")
                ]
    return found


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


def _follow(api: Api, path: str, changed: Callable[[dict[str, Object]], None]) -> None:
    """Tell all objects of a collection, by uid, whenever one changes."""
    found: dict[str, Object] = {}
    for event, obj in api.follow(path):
        if event == "SYNC":
            found = {one["metadata"]["uid"]: one for one in obj["items"]}
        elif event == "DELETED":
            found.pop(obj["metadata"]["uid"], None)
        else:
            found[obj["metadata"]["uid"]] = obj
        changed(dict(found))


async def serve(paths: Paths) -> None:
    """Forward for ever."""
    loop, news = asyncio.get_running_loop(), asyncio.Queue[tuple[str, dict[str, Object]]]()
    for path in (SERVICES, SLICES):

        def changed(found: dict[str, Object], path: str = path) -> None:
            loop.call_soon_threadsafe(news.put_nowait, (path, found))

        threading.Thread(target=_follow, args=(Api(paths), path, changed), daemon=True).start()
    forwarder = Forwarder(Inside(Path("/run/netns") / paths.fabric))
    latest: dict[str, dict[str, Object]] = {}
    while True:
        path, latest[path] = await news.get()
        if len(latest) == 2:
            await forwarder.update(targets(latest[SERVICES].values(), latest[SLICES].values()))


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
