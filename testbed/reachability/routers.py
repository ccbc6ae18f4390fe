"""Logical routers from Vpc resources: connected networks, routes, and peerings that exist on both sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, dotted, mapping, sequence
from testbed.reachability import match, properties, space
from testbed.reachability.acl import Origin
from testbed.reachability.networks import Hazard, Subnet
from testbed.reachability.space import Interval, Region


@dataclass(frozen=True, eq=False)
class Route:
    """A route of a router; ``rank`` orders routes as OVN does, the highest first."""

    rank: int
    region: Region
    next_hop: int
    origin: Origin
    by_destination: bool = True


@dataclass(frozen=True, eq=False)
class Router:
    """A logical router: its subnets, static routes and peerings that exist on both sides."""

    name: str
    obj: Object | None
    subnets: tuple[Subnet, ...] = ()
    routes: tuple[Route, ...] = ()
    reroutes: tuple[Route, ...] = ()
    links: dict[str, tuple[tuple[Interval, ...], Origin]] = field(default_factory=dict)


def _rank(prefix: int, kind: int) -> int:
    """OVN northd: prefix length * 3 + (connected 2, destination route 1, source route 0)."""
    return prefix * 3 + kind


def _prefix(interval: Interval) -> int:
    bits = 32 if interval[1] < space.V6 else 128
    return bits - (interval[1] - interval[0]).bit_length()


def rank_connected(cidr: Interval) -> int:
    """Rank of the route to a router's own network."""
    return _rank(_prefix(cidr), 2)


def _next_hop(value: Any) -> int | None:
    return space.network(value)[0] if space.is_address(value) else None


def _routes(obj: Object) -> tuple[list[Route], list[Route], list[Hazard]]:
    routes: list[Route] = []
    reroutes: list[Route] = []
    hazards: list[Hazard] = []
    for index, entry in enumerate(map(mapping, sequence(obj.spec.get("staticRoutes")))):
        origin = Origin(obj, ("spec", "staticRoutes", index), f"{entry.get('cidr')} via {entry.get('nextHopIP')}")
        hop, policy = _next_hop(entry.get("nextHopIP")), entry.get("policy") or "policyDst"
        try:
            interval = space.network(entry.get("cidr"))
        except ValueError:
            interval = None
        if hop is None or interval is None or policy not in ("policyDst", "policySrc") or entry.get("routeTable"):
            hazards.append(Hazard(origin, "this route is not modelled", "remove the route", vpc=obj.name))
            continue
        every = (space.V4_ALL, space.V6_ALL)
        by_destination = policy == "policyDst"
        region = space.product(every, [interval]) if by_destination else space.product([interval], every)
        routes.append(Route(_rank(_prefix(interval), int(by_destination)), region, hop, origin, by_destination))
    for index, entry in enumerate(map(mapping, sequence(obj.spec.get("policyRoutes")))):
        if entry.get("action") in ("allow", "drop"):
            continue  # an allow opens nothing; a drop is not credited: it did not block in Kube-OVN 1.12
        origin = Origin(obj, ("spec", "policyRoutes", index), f"reroutes to {entry.get('nextHopIP')}")
        hops = [_next_hop(part.strip()) for part in str(entry.get("nextHopIP", "")).split(",")]
        for hop in hops:
            if hop is None:
                hazards.append(Hazard(origin, "this policy route is not modelled", "remove the route", vpc=obj.name))
            else:
                reroutes.append(Route(0, match.parse(str(entry.get("match", ""))).may, hop, origin))
    return routes, reroutes, hazards


def _names(vpcs: Mapping[str, Object], subnets: Iterable[Subnet]) -> Iterator[Hazard]:
    """Two router ports of one name: Kube-OVN names them ``<vpc>-<subnet>`` and ``<vpc>-<peer>``."""
    ports: dict[str, list[tuple[str, Origin]]] = defaultdict(list)
    for net in subnets:
        if net.obj:
            ports[f"{net.vpc}-{net.name}"].append((net.vpc, Origin(net.obj, ("metadata", "name"))))
        if net.obj and net.name in vpcs:
            why = f"the subnet is named like VPC {net.name}: a one-sided peering of it would attach to its router port"
            yield Hazard(Origin(net.obj, ("metadata", "name")), why, "rename the subnet", subnet=net.name)
    for vpc in vpcs.values():
        for index, entry in enumerate(sequence(vpc.spec.get("vpcPeerings"))):
            remote = mapping(entry).get("remoteVpc")
            ports[f"{vpc.name}-{remote}"].append((vpc.name, Origin(vpc, ("spec", "vpcPeerings", index))))
    for name, owners in ports.items():
        for vpc_name, origin in owners if len(owners) > 1 else ():
            resources = "; ".join(o.resource for _, o in owners)
            why = f"router port {name!r} is named twice ({resources}): traffic may join"
            yield Hazard(origin, why, "rename the subnet", vpc=vpc_name)


Peerings = dict[tuple[str, str], tuple[tuple[Interval, ...], Origin]]


def _peerings(vpcs: Mapping[str, Object]) -> tuple[Peerings, list[Hazard]]:
    """Each VPC's own half of its peerings."""
    found: Peerings = {}
    hazards = []
    for vpc in vpcs.values():
        for index, item in enumerate(sequence(vpc.spec.get("vpcPeerings"))):
            entry = mapping(item)
            remote = str(entry.get("remoteVpc"))
            origin = Origin(vpc, ("spec", "vpcPeerings", index), f"to {remote}")
            if c.DEFAULT_VPC in (remote, vpc.name):
                why = "a peering with the default VPC is not supported"
                hazards.append(Hazard(origin, why, "remove the peering", vpc=vpc.name))
            elif remote not in vpcs:
                why = f"VPC {remote} is not among the resources: what it connects is unknown"
                hazards.append(Hazard(origin, why, f"declare Vpc {remote} here, or remove the peering", vpc=vpc.name))
            try:
                found[vpc.name, remote] = (space.networks(entry.get("localConnectIP")), origin)
            except ValueError:
                hazards.append(Hazard(origin, "localConnectIP cannot be read", "remove the peering", vpc=vpc.name))
    return found, hazards


def _beyond(vpc: Object) -> Iterator[Hazard]:
    for path, why in properties.hazards(properties.VPC, vpc.spec):
        if path[-1] != "routeTable":  # told by the route as a whole
            yield Hazard(Origin(vpc, ("spec", *path)), why, f"remove {dotted(path)}", vpc=vpc.name)


def build(objects: Iterable[Object], subnets: Mapping[str, Subnet]) -> tuple[dict[str, Router], list[Hazard]]:
    """Every router, Kube-OVN's default VPC included.

    Args:
        objects: all objects; their Vpcs are read.
        subnets: the switches, as ``networks.build`` returns them.
    """
    vpcs = {o.name: o for o in objects if o.group == "kubeovn.io" and o.kind == "Vpc"}
    members: dict[str, list[Subnet]] = defaultdict(list)
    peerings, hazards = _peerings(vpcs)
    for net in subnets.values():
        members[net.vpc].append(net)
        if net.vpc not in vpcs and net.vpc != c.DEFAULT_VPC:
            why = f"VPC {net.vpc} is not among the resources: its routes and peerings are unknown"
            repair = f"declare Vpc {net.vpc} here"
            hazards.append(Hazard(Origin(net.obj, ("spec", "vpc")), why, repair, subnet=net.name))
    hazards += _names(vpcs, subnets.values())
    links: dict[str, dict[str, tuple[tuple[Interval, ...], Origin]]] = defaultdict(dict)
    for (local, remote), half in peerings.items():
        if (remote, local) in peerings:
            links[local][remote] = half
    routers = {}
    for name in sorted({*vpcs, *members, c.DEFAULT_VPC}):
        routes: list[Route] = []
        reroutes: list[Route] = []
        if name in vpcs:
            routes, reroutes, problems = _routes(vpcs[name])
            hazards += [*problems, *_beyond(vpcs[name])]
        routers[name] = Router(name, vpcs.get(name), tuple(members[name]), tuple(routes), tuple(reroutes), links[name])
    return routers, hazards
