"""Where packets sent by a port can arrive: switches, routers, peerings, and pods that may forward."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from testbed.manifests import mapping, sequence
from testbed.reachability import space
from testbed.reachability.acl import Origin, Passed, Rule, dropping, permitted
from testbed.reachability.lookup import EVERY
from testbed.reachability.model import Model
from testbed.reachability.networks import Subnet
from testbed.reachability.ports import Port
from testbed.reachability.routers import Route, Router
from testbed.reachability.space import Interval, Region
from testbed.workloads import Pod

# What OVN's egress port security lets through besides a port's own addresses (ovn-northd, build_port_security_ip).
GROUP_CAST: tuple[Interval, ...] = (space.network("224.0.0.0/4"), space.network("255.255.255.255"))


@dataclass(frozen=True, eq=False)
class Hop:
    """One step of a packet and the field that lets it pass; no origin where the absence of a rule does."""

    at: str
    why: str
    origin: Origin | None = None


@dataclass(frozen=True, eq=False)
class Arrival:
    """Packets that reach a port, and the way they took."""

    port: Port
    packets: Region
    hops: tuple[Hop, ...]
    relayed: bool


def forwards(pod: Pod) -> Origin | None:
    """The field by which a pod may rewrite addresses, not only forward: its kernel's network is in its own hands."""
    for key in ("hostNetwork", "hostPID"):
        if pod.spec.get(key) is True:
            return Origin(pod.owner, pod.path("spec", key), "the node's own rights")
    for path, container in pod.containers():
        security = mapping(container.get("securityContext"))
        if security.get("privileged") is True:
            return Origin(pod.owner, (*path, "securityContext", "privileged"), "privileged")
        for index, name in enumerate(sequence(mapping(security.get("capabilities")).get("add"))):
            if str(name).upper().removeprefix("CAP_") in ("NET_ADMIN", "SYS_ADMIN", "ALL", "NET_RAW"):
                return Origin(pod.owner, (*path, "securityContext", "capabilities", "add", index), f"capability {name}")
    return None


def _open(net: Subnet) -> Origin | None:
    """The absence that lets packets onto and off a switch."""
    return None if net.private else Origin(net.obj, ("spec", "private"), f"{net.name} is not private")


def _passing(
    rules: tuple[Rule, ...], parts: list[Passed], at: str, absent: Origin | None
) -> Iterator[tuple[Region, Hop]]:
    for packets, origin in parts:
        reason = origin or absent
        yield packets, Hop(at, str(reason) if reason else "no rule stops it" if rules else "no rule", reason)


class Walk:
    """One walk of all packets a port sends."""

    def __init__(self, model: Model, stops: list[Hop] | None = None) -> None:
        """Walk ``model``; where packets end is added to ``stops`` if it is given."""
        self.model, self.stops = model, stops
        self.relayed: list[tuple[Port, Region]] = []
        self.routed: dict[tuple[str, bool], Region] = {}  # by router, and whether a pod relayed them

    def start(
        self, port: Port, sources: Iterable[Interval], note: str = "", destinations: Iterable[Interval] = EVERY
    ) -> Iterator[Arrival]:
        """Every arrival of packets from ``sources`` to ``destinations``, sent by ``port``."""
        first = Hop(f"{port.pod.name} {port.nic}", f"sends on {port.subnet.name}{note}", port.origin)
        yield from self._send(port, space.product(sources, destinations), (first,), relayed=False)

    def _filter(self, rules: tuple[Rule, ...], packets: Region, at: str) -> list[Passed]:
        if self.stops is not None:
            self.stops += [Hop(at, str(origin), origin) for origin in dropping(rules, packets)]
        return permitted(rules, packets)

    def _send(self, port: Port, packets: Region, hops: tuple[Hop, ...], *, relayed: bool) -> Iterator[Arrival]:
        net = port.subnet
        at = f"switch {net.name}"
        for sent, hop in _passing(port.leaving, self._filter(port.leaving, packets, at), at, None):
            way = (*hops, hop) if hop.origin else hops
            for other in self.model.on_subnet.get(net.name, ()):
                if other.pod is not port.pod:
                    yield from self._deliver(other, sent, way, relayed=relayed)
            out = f"switch {net.name} to its router"
            for routed, up in _passing(port.rising, self._filter(port.rising, sent, out), out, _open(net)):
                router = self.model.routers[net.vpc]
                yield from self._route(router, routed, (*way, up), relayed=relayed)

    def _route(self, router: Router, packets: Region, hops: tuple[Hop, ...], *, relayed: bool) -> Iterator[Arrival]:
        """Follow packets over peerings, nearest routers first, and each packet once at each router.

        A router looks at a packet alone, never at its way: what becomes of it there is the same a second time.
        """
        waiting = deque([(router, packets, hops)])
        while waiting:
            router, packets, hops = waiting.popleft()
            done = self.routed.get((router.name, relayed), space.EMPTY)
            packets = space.subtract(packets, done)
            if not packets:
                continue
            self.routed[router.name, relayed] = done + packets
            chosen = list(self.model.routes[router.name].chosen(packets))
            if not chosen and self.stops is not None:
                origin = Origin(router.obj, ("spec",), "no route and no peering leads there")
                self.stops.append(Hop(f"router {router.name}", str(origin), origin))
            for hit, target in (*((space.intersect(packets, r.region), r) for r in router.reroutes), *chosen):
                if isinstance(target, Subnet):
                    origin = Origin(target.obj, ("spec", "vpc"), f"a network of router {router.name}")
                    way = (*hops, Hop(f"router {router.name}", f"connected to {target.name}", origin))
                    yield from self._from_router(target, hit, None, way, relayed=relayed)
                elif hit:
                    way = (*hops, Hop(f"router {router.name}", str(target.origin), target.origin))
                    waiting += self._over_peerings(router, target, hit, way)
                    for entry in self.model.routes[router.name].overlapping(target.next_hop, target.next_hop):
                        if isinstance(entry.target, Subnet):
                            yield from self._from_router(entry.target, hit, target.next_hop, way, relayed=relayed)

    def _over_peerings(
        self, router: Router, route: Route, packets: Region, hops: tuple[Hop, ...]
    ) -> Iterator[tuple[Router, Region, tuple[Hop, ...]]]:
        for remote, (intervals, origin) in router.links.items():
            if any(low <= route.next_hop <= high for low, high in intervals):
                over = Hop(f"peering {router.name} to {remote}", str(origin), origin)
                yield self.model.routers[remote], packets, (*hops, over)

    def _from_router(
        self, net: Subnet, packets: Region, next_hop: int | None, hops: tuple[Hop, ...], *, relayed: bool
    ) -> Iterator[Arrival]:
        """Packets a router puts on a switch: for their destination, or for the device at ``next_hop``."""
        at = f"switch {net.name}"
        for sent, hop in _passing(net.from_port, self._filter(net.from_port, packets, at), at, None):
            way = (*hops, hop) if hop.origin else hops
            for port in self.model.on_subnet.get(net.name, ()):
                if next_hop is None:
                    mine = space.to(sent, port.addresses)
                else:
                    mine = sent if any(low <= next_hop <= high for low, high in port.addresses) else space.EMPTY
                if mine:
                    yield from self._deliver(port, mine, way, relayed=relayed)

    def _deliver(self, port: Port, packets: Region, hops: tuple[Hop, ...], *, relayed: bool) -> Iterator[Arrival]:
        if port.secured:
            taken = space.to(packets, (*port.addresses, *GROUP_CAST))
            if not taken:
                if self.stops is not None:
                    origin = Origin(port.pod.owner, port.security, "port security takes only its own addresses")
                    self.stops.append(Hop(f"{port.pod.name} {port.nic}", str(origin), origin))
                return
            packets = taken
        where = f"switch {port.subnet.name} to {port.pod.name} {port.nic}"
        for arrived, hop in _passing(
            port.arriving, self._filter(port.arriving, packets, where), where, _open(port.subnet)
        ):
            way = (*hops, hop)
            yield Arrival(port, arrived, way, relayed)
            if port.pod.client is None:
                yield from self._forward(port, arrived, way)

    def _forward(self, port: Port, packets: Region, hops: tuple[Hop, ...]) -> Iterator[Arrival]:
        """A pod that belongs to no client may pass on what is not addressed to it."""
        others = [p for p in self.model.of_pod[port.pod] if p is not port]
        if not others:
            return
        rewrites = forwards(port.pod)
        own = space.merged(a for p in (port, *others) if p.sure for a in p.addresses if a[0] == a[1])
        if rewrites is None:
            packets = space.subtract(packets, space.product(EVERY, (*own, *GROUP_CAST)))
        else:
            packets = space.product(EVERY, EVERY)
        if not packets:
            return
        why = str(rewrites) if rewrites else "port security is off, so it takes packets for others and may forward them"
        origin = rewrites or Origin(port.pod.owner, port.security, why)
        way = (*hops, Hop(f"{port.pod.name} forwards", why, origin))
        for other in others:
            sent = space.source_in(packets, other.addresses) if other.secured else packets
            if sent and not any(p is other and space.contains(r, sent) for p, r in self.relayed):
                self.relayed.append((other, sent))
                note = "" if other.secured else ": port security is off, so it sends with any source"
                place = Origin(
                    port.pod.owner,
                    other.origin.path if other.secured else other.security,
                    f"sends on {other.subnet.name}{note}",
                )
                step = Hop(f"{port.pod.name} {other.nic}", place.note, place)
                yield from self._send(other, sent, (*way, step), relayed=True)
