"""``lab matrix``: who reaches whom, found with real packets and compared with the declared intent.

From every running pod's network namespace to every address of every other pod: TCP to the SuperLink's port, TCP and
UDP to a port opened for the run, an ICMP echo, and datagrams with forged sources. A difference counts when it is seen
twice.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from lab.api import Api, Object, Unreachable
from lab.errors import LabError
from lab.ovn.daemons import Sockets, sockets
from lab.ovn.ports import Nic, namespaces, nics
from lab.ovn.probes import Kind, Probe, Seen, send
from lab.paths import Paths
from lab.supervisor import State
from testbed.contract import (
    LABEL_ROLE,
    ROLE_CLIENT,
    ROLE_RUN,
    ROLE_SERVER,
    nic_annotation,
)

DEFAULT_PORT = 8080


@dataclass(frozen=True)
class Station:
    """A running pod.

    Attributes:
        name: ``namespace/pod``.
        role: its ``kubeflower.io/role``, empty when it has none.
        nics: its NICs, eth0 first.
    """

    name: str
    role: str
    nics: tuple[Nic, ...]


@dataclass(frozen=True)
class Routers:
    """What forged packets are made with: the nodes' own addresses, and the MAC of each logical router port."""

    nodes: frozenset[str]
    macs: Mapping[str, str]

    @classmethod
    def read(cls, nodes: Iterable[Object], at: Sockets) -> Routers:
        """Read them.

        Args:
            nodes: the cluster's nodes, which have their addresses on the join network.
            at: the network's databases.
        """
        own = [(node["metadata"].get("annotations") or {}).get(nic_annotation("ip_address")) for node in nodes]
        listed = at.nbctl("--format=json", "--columns=name,mac", "list", "Logical_Router_Port")
        return cls(frozenset(filter(None, own)), dict(json.loads(listed)["data"]))


@dataclass(frozen=True)
class Result:
    """One probe, what was meant to become of it, and what did. ``meant`` is None where intent says nothing."""

    probe: Probe
    meant: bool | None
    seen: Seen

    @property
    def differs(self) -> bool:
        """Whether a packet arrived that should not have, or an answer did not that should have."""
        if self.meant is None:
            return False
        return self.seen is not Seen.ANSWERED if self.meant else self.seen is not Seen.NOTHING


@dataclass(frozen=True)
class Matrix:
    """What a run found."""

    stations: tuple[Station, ...]
    results: tuple[Result, ...]

    @property
    def differences(self) -> tuple[Result, ...]:
        """The probes that did not do as intended."""
        return tuple(result for result in self.results if result.differs)


def stations(pods: Iterable[Object]) -> tuple[Station, ...]:
    """The running pods that have NICs, servers first, then by name."""
    found = []
    for pod in pods:
        own, meta = nics(pod), pod["metadata"]
        if (pod.get("status") or {}).get("phase") == "Running" and own:
            role = (meta.get("labels") or {}).get(LABEL_ROLE, "")
            found.append(Station(f"{meta['namespace']}/{meta['name']}", role, tuple(own)))
    return tuple(sorted(found, key=lambda s: (s.role != ROLE_SERVER, _natural(s.name))))


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key that puts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]


def meant(source: Station, target: Station, nic: Nic, probe: Probe, port: int) -> bool | None:
    """The intent for one probe.

    A client reaches the server's SuperLink port at the server's address on the client's own network; a run reaches it
    at the server's eth0. Between server and run, which share the server's namespace, nothing more is asked. All else
    stays apart.
    """
    superlink = probe.kind is Kind.TCP and probe.port == port
    if {source.role, target.role} <= {ROLE_SERVER, ROLE_RUN}:
        return True if superlink and target.role == ROLE_SERVER and nic.interface == "eth0" else None
    if source.role == ROLE_CLIENT and target.role == ROLE_SERVER:
        return superlink and nic.address.network == source.nics[0].address.network
    return False


def probes(stations: Sequence[Station], port: int, routers: Routers) -> list[tuple[Probe, bool | None]]:
    """Every probe of a run with its intent."""
    planned: list[tuple[Probe, bool | None]] = []
    for source in stations:
        for target in stations:
            if source is target:
                continue
            for nic in target.nics:
                address = str(nic.address.ip)
                honest = (
                    Probe(source.name, target.name, address, Kind.TCP, port),
                    Probe(source.name, target.name, address, Kind.TCP),
                    Probe(source.name, target.name, address, Kind.UDP),
                    Probe(source.name, target.name, address, Kind.ICMP),
                )
                planned += [(probe, meant(source, target, nic, probe, port)) for probe in honest]
                planned += [(probe, False) for probe in _forged(source, target, nic, stations, routers)]
    return planned


def _forged(source: Station, target: Station, nic: Nic, stations: Sequence[Station], routers: Routers) -> list[Probe]:
    """Datagrams a client could make by hand: as a node, or as one the target listens to; by the router or the server.

    The ways are the sender's gateway and every NIC on its own link, which a forwarding server would route on.
    """
    if source.role in (ROLE_SERVER, ROLE_RUN):
        return []
    own = source.nics[0]
    others = [(station, each) for station in stations for each in station.nics if station is not source]
    on_link = {each.mac for _, each in others if each.address.network == own.address.network}
    ways = {nic.mac} if nic.mac in on_link else {routers.macs[own.router], *on_link}
    peers = {str(e.address.ip) for s, e in others if s is not target and e.address.network == nic.address.network}
    honest = set() if nic.mac in on_link else {str(own.address.ip)}
    return [
        Probe(source.name, target.name, str(nic.address.ip), Kind.FORGED, forged=(forged, own.mac, way))
        for way in sorted(ways)
        for forged in sorted({*routers.nodes, *peers, *honest})
    ]


def run(paths: Paths) -> Matrix:
    """Send every probe, those that differ from the intent a second time.

    Raises:
        LabError: the lab does not run, has no running pod, or a network namespace cannot be entered.
    """
    state = State.read(paths)
    if state is None or not state.process.alive:
        raise LabError(f"no lab runs in {paths.root}: start it with `lab up`")
    try:
        api = Api(paths)
        found = stations(api.get("/api/v1/pods")["items"])
        port = superlink_port(api.get("/api/v1/services")["items"])
        routers = Routers.read(api.get("/api/v1/nodes")["items"], sockets(paths))
    except Unreachable as problem:
        raise LabError(f"the lab's API server does not answer: {problem}") from problem
    if not found:
        raise LabError("no pod is running: bring a stack up first")
    # The supervisor's mount namespace, in which the pods' network namespaces are mounted, seen from here.
    mounts = Path(f"/proc/{state.pid}/root/run/netns")
    plugged = namespaces(paths)
    places = {station.name: mounts / plugged[station.nics[0].port] for station in found}
    return measure(found, places, port, routers)


def measure(found: Sequence[Station], netns: Mapping[str, Path], port: int, routers: Routers) -> Matrix:
    """Send the probes between stations whose network namespaces are given.

    Raises:
        LabError: a network namespace cannot be entered.
    """
    planned = probes(found, port, routers)
    intent = dict(planned)
    try:
        seen = send(netns, list(intent))
        suspects = [probe for probe in intent if Result(probe, intent[probe], seen[probe]).differs]
        if suspects:
            seen |= send(netns, suspects, timeout=6.0)
    except OSError as problem:
        raise LabError(f"cannot send from the pods' network namespaces (root is needed): {problem}") from problem
    return Matrix(tuple(found), tuple(Result(probe, intent[probe], seen[probe]) for probe in intent))


def superlink_port(services: Iterable[Object]) -> int:
    """The port behind the server's node port; 8080 when there is none yet."""
    for service in services:
        spec = service.get("spec") or {}
        if spec.get("type") == "NodePort" and (spec.get("selector") or {}).get(LABEL_ROLE) == ROLE_SERVER:
            port = spec["ports"][0]
            return int(port.get("targetPort") or port["port"])
    return DEFAULT_PORT


def table(matrix: Matrix) -> Table:
    """Who reaches whom, a row a source."""
    result = Table(title="Who reaches whom", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    result.add_column("from \\ to", no_wrap=True)
    for number, _ in enumerate(matrix.stations, 1):
        result.add_column(str(number), justify="center", no_wrap=True)
    for number, source in enumerate(matrix.stations, 1):
        cells = [_cell(source, target, matrix) for target in matrix.stations]
        result.add_row(f"{number} {source.name} ({source.role or 'no role'})", *cells)
    return result


def _cell(source: Station, target: Station, matrix: Matrix) -> str:
    if source is target:
        return ""
    own = [r for r in matrix.results if (r.probe.source, r.probe.target) == (source.name, target.name)]
    if any(r.differs for r in own):
        return "[bold red]✗[/]"
    return "[green]✓[/]" if any(r.meant for r in own) else "·"


def show(matrix: Matrix, console: Console) -> None:
    """Print the matrix, as wide as it is, and every difference."""
    shown = table(matrix)
    whole = Measurement.get(console, console.options.update(max_width=10_000), shown).maximum
    console.width = max(console.width, whole)
    console.print(shown)
    console.print("✓ reaches as declared   · nothing passes   ✗ not as declared", soft_wrap=True)
    for result in matrix.differences:
        wanted = "an answer" if result.meant else "nothing"
        console.print(f"[red]differs[/] {result.probe}: meant {wanted}, seen {result.seen}", soft_wrap=True)
    reached = sum(bool(result.meant) and not result.differs for result in matrix.results)
    console.print(
        f"{len(matrix.results)} packets between {len(matrix.stations)} pods: {reached} declared connections open, "
        f"differences: {len(matrix.differences)}",
        soft_wrap=True,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the matrix; exit 1 when packets go where they should not, or do not where they should."""
    parser = argparse.ArgumentParser(prog="lab matrix", description="Send packets between all pods.")
    parser.parse_args(argv)
    matrix = run(Paths.default())
    show(matrix, Console())
    return 1 if matrix.differences else 0


if __name__ == "__main__":
    sys.exit(main())
