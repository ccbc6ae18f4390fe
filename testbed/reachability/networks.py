"""Logical routers and switches from Vpc and Subnet resources, as Kube-OVN's controller writes them into OVN."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, sequence
from testbed.reachability import match, space
from testbed.reachability.acl import Origin, Rule, ordered
from testbed.reachability.space import ALL, Interval, Region

# Kube-OVN's install defaults; a Subnet of that name among the resources replaces them.
DEFAULT_SUBNET, DEFAULT_SUBNET_CIDR = "ovn-default", "10.16.0.0/16"
JOIN_SUBNET, JOIN_CIDR = "join", "100.64.0.0/16"

# Kube-OVN pkg/util/const.go: SubnetAllowPriority 1001, DefaultDropPriority 1000, NodeAllowPriority 3000,
# AllowEWTrafficPriority 1900.
PRIVATE_DROP, PRIVATE_ALLOW, EAST_WEST_ALLOW, NODE_ALLOW = 1000, 1001, 1900, 3000

SUBNET_HARMLESS = frozenset(
    [
        "default",
        "vpc",
        "protocol",
        "namespaces",
        "namespaceSelectors",
        "cidrBlock",
        "gateway",
        "excludeIps",
        "provider",
        "mtu",
        "gatewayType",
        "gatewayNode",
        "natOutgoing",
        "disableGatewayCheck",
        "private",
        "allowSubnets",
        "acls",
        "allowEWTraffic",
        "disableInterConnection",
        "enableLb",
        "enableDHCP",
        "dhcpV4Options",
        "dhcpV6Options",
        "enableIPv6RA",
        "ipv6RAConfigs",
        "enableEcmp",
        "enableMulticastSnoop",
        "nodeNetwork",
    ]
)
VPC_HARMLESS = frozenset(["namespaces", "defaultSubnet", "staticRoutes", "policyRoutes", "vpcPeerings"])


@dataclass(frozen=True, eq=False)
class Hazard:
    """Something outside the model: whatever it touches cannot be proved isolated.

    Attributes:
        subnet, vpc, pod: what it touches by name; all None when it may touch everything.
    """

    origin: Origin
    reason: str
    repair: str
    subnet: str | None = None
    vpc: str | None = None
    pod: str | None = None


@dataclass(frozen=True, eq=False)
class Subnet:
    """A logical switch with its access control lists."""

    name: str
    vpc: str
    cidrs: tuple[Interval, ...]
    obj: Object | None
    private: bool = False
    provider: str = "ovn"
    to_port: tuple[Rule, ...] = ()
    from_port: tuple[Rule, ...] = ()
    gateways: tuple[int, ...] = ()


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


def _acl(obj: Object, index: int, entry: Any, join: bool = False) -> Iterator[tuple[str, Rule]]:
    entry = entry if isinstance(entry, dict) else {}
    action, priority = str(entry.get("action", "")), entry.get("priority")
    found = match.parse(str(entry.get("match", "")))
    drop = action in ("drop", "reject")
    known = isinstance(priority, int) and not isinstance(priority, bool)
    if drop and not (known and found.understood):
        return
    rank = int(priority) if known and priority is not None else 32767
    origin = Origin(obj, ("spec", "acls", index), f"{entry.get('direction')} {rank} {action or 'no action'}")
    rule = Rule(rank, not drop, found.may, found.must, origin)
    direction = entry.get("direction")
    for side in ("to-lport", "from-lport"):
        if direction == side or (direction not in ("to-lport", "from-lport") and not drop):
            yield side, rule


def _private_rules(obj: Object, cidrs: tuple[Interval, ...], join: tuple[Interval, ...]) -> Iterator[Rule]:
    private = Origin(obj, ("spec", "private"), "private drop")
    yield Rule(PRIVATE_DROP, False, ALL, ALL, private)
    own = space.product(cidrs, cidrs)
    yield Rule(PRIVATE_ALLOW, True, own, own, Origin(obj, ("spec", "cidrBlock"), "pods of one subnet"))
    nodes = space.product(join, (space.V4_ALL, space.V6_ALL))
    yield Rule(
        NODE_ALLOW,
        True,
        nodes,
        nodes,
        Origin(obj, ("spec", "private"), "lets nodes in: any source in the join network"),
    )
    for index, entry in enumerate(sequence(obj.spec.get("allowSubnets"))):
        other = space.networks(entry)
        region = space.product(cidrs, other) + space.product(other, cidrs)
        yield Rule(PRIVATE_ALLOW, True, region, region, Origin(obj, ("spec", "allowSubnets", index), f"allows {entry}"))


def subnet(obj: Object, join: tuple[Interval, ...]) -> tuple[Subnet, list[Hazard]]:
    """Read a Subnet; what cannot be read becomes a hazard on it."""
    spec, hazards = obj.spec, []

    def unmodelled(path: tuple[str | int, ...], reason: str, repair: str) -> None:
        hazards.append(Hazard(Origin(obj, path), reason, repair, subnet=obj.name))

    cidrs: tuple[Interval, ...] = ()
    try:
        cidrs = space.networks(spec.get("cidrBlock"))
    except ValueError:
        unmodelled(
            ("spec", "cidrBlock"), "its addresses cannot be read", "give cidrBlock as a CIDR such as 10.64.0.0/28"
        )
        cidrs = (space.V4_ALL, space.V6_ALL)
    to_port: list[Rule] = []
    from_port: list[Rule] = []
    private = spec.get("private") is True
    if private:
        try:
            to_port += _private_rules(obj, cidrs, join)
        except ValueError:
            unmodelled(
                ("spec", "allowSubnets"), "an entry is not a CIDR", "give allowSubnets as a list of CIDRs, best empty"
            )
    if spec.get("allowEWTraffic") is True:
        own = space.product(cidrs, cidrs)
        rule = Rule(EAST_WEST_ALLOW, True, own, own, Origin(obj, ("spec", "allowEWTraffic"), "pods of one subnet"))
        to_port.append(rule)
        from_port.append(rule)
    for index, entry in enumerate(sequence(spec.get("acls"))):
        for side, rule in _acl(obj, index, entry):
            (to_port if side == "to-lport" else from_port).append(rule)
    for key in spec:
        if key not in SUBNET_HARMLESS and spec[key] not in (None, False, "", [], {}, 0):
            why = "traffic leaves OVN here, and what is beyond it is not modelled"
            unmodelled(("spec", key), why, f"remove {key}")
    gateways = []
    for part in str(spec.get("gateway") or "").split(","):
        if space.is_address(part.strip()):
            gateways.append(space.network(part)[0])
    found = Subnet(
        obj.name, str(spec.get("vpc") or c.DEFAULT_VPC), cidrs, obj, private, str(spec.get("provider") or "ovn"),
        ordered(to_port), ordered(from_port), tuple(gateways),
    )  # fmt: skip
    return found, hazards


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
    routes, reroutes, hazards = [], [], []
    for index, entry in enumerate(sequence(obj.spec.get("staticRoutes"))):
        entry = entry if isinstance(entry, dict) else {}
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
    for index, entry in enumerate(sequence(obj.spec.get("policyRoutes"))):
        entry = entry if isinstance(entry, dict) else {}
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


def _names(vpcs: dict[str, Object], subnets: list[Subnet]) -> Iterator[Hazard]:
    """Two router ports of one name: Kube-OVN names them ``<vpc>-<subnet>`` and ``<vpc>-<peer>``."""
    ports: dict[str, list[Origin]] = defaultdict(list)
    for net in subnets:
        if net.obj:
            ports[f"{net.vpc}-{net.name}"].append(Origin(net.obj, ("metadata", "name")))
    for vpc in vpcs.values():
        for index, entry in enumerate(sequence(vpc.spec.get("vpcPeerings"))):
            remote = entry.get("remoteVpc") if isinstance(entry, dict) else None
            ports[f"{vpc.name}-{remote}"].append(Origin(vpc, ("spec", "vpcPeerings", index)))
    for name, origins in ports.items():
        if len(origins) > 1:
            for origin in origins:
                vpc = (
                    str(origin.obj.spec.get("vpc") or c.DEFAULT_VPC)
                    if origin.obj and origin.obj.kind == "Subnet"
                    else None
                )
                why = f"the router port {name!r} is named twice ({'; '.join(o.resource for o in origins)}): traffic may join"
                yield Hazard(origin, why, "rename the subnet", vpc=vpc or (origin.obj.name if origin.obj else None))
    for net in subnets:
        if net.name in vpcs and net.obj:
            why = f"the subnet is named like VPC {net.name}: a one-sided peering of that VPC would attach to its router port"
            yield Hazard(Origin(net.obj, ("metadata", "name")), why, "rename the subnet", subnet=net.name)


def build(objects: Iterable[Object]) -> tuple[dict[str, Router], dict[str, Subnet], list[Hazard]]:
    """Every router and switch, with Kube-OVN's own default VPC, ``ovn-default`` and ``join`` where not declared."""
    found = [o for o in objects if o.group == "kubeovn.io"]
    vpcs = {o.name: o for o in found if o.kind == "Vpc"}
    declared = [o for o in found if o.kind == "Subnet"]
    hazards: list[Hazard] = []
    join = space.networks(JOIN_CIDR)
    for obj in declared:
        if obj.name == JOIN_SUBNET:
            try:
                join = space.networks(obj.spec.get("cidrBlock"))
            except ValueError:
                join = (space.V4_ALL, space.V6_ALL)
    subnets = {}
    for obj in declared:
        net, problems = subnet(obj, join)
        subnets[net.name] = net
        hazards += problems
    for name, cidr in ((DEFAULT_SUBNET, space.networks(DEFAULT_SUBNET_CIDR)), (JOIN_SUBNET, join)):
        subnets.setdefault(name, Subnet(name, c.DEFAULT_VPC, cidr, None))
    members: dict[str, list[Subnet]] = defaultdict(list)
    for net in subnets.values():
        members[net.vpc].append(net)
        if net.vpc not in vpcs and net.vpc != c.DEFAULT_VPC:
            why = f"VPC {net.vpc} is not among the resources: its routes and peerings are unknown"
            hazards.append(
                Hazard(Origin(net.obj, ("spec", "vpc")), why, f"declare Vpc {net.vpc} here", subnet=net.name)
            )
    hazards += _names(vpcs, list(subnets.values()))
    peerings: dict[tuple[str, str], tuple[tuple[Interval, ...], Origin]] = {}
    for vpc in vpcs.values():
        for index, entry in enumerate(sequence(vpc.spec.get("vpcPeerings"))):
            entry = entry if isinstance(entry, dict) else {}
            remote, origin = (
                str(entry.get("remoteVpc")),
                Origin(vpc, ("spec", "vpcPeerings", index), f"to {entry.get('remoteVpc')}"),
            )
            if c.DEFAULT_VPC in (remote, vpc.name):
                hazards.append(
                    Hazard(
                        origin, "a peering with the default VPC is not supported", "remove the peering", vpc=vpc.name
                    )
                )
            elif remote not in vpcs:
                why = f"VPC {remote} is not among the resources: what it connects is unknown"
                hazards.append(Hazard(origin, why, f"declare Vpc {remote} here, or remove the peering", vpc=vpc.name))
            try:
                peerings[vpc.name, remote] = (space.networks(entry.get("localConnectIP")), origin)
            except ValueError:
                hazards.append(Hazard(origin, "localConnectIP cannot be read", "remove the peering", vpc=vpc.name))
    routers = {}
    for name in sorted({*vpcs, *members, c.DEFAULT_VPC}):
        obj = vpcs.get(name)
        routes, reroutes = [], []
        if obj is not None:
            routes, reroutes, problems = _routes(obj)
            hazards += problems
            for key in obj.spec:
                if key not in VPC_HARMLESS and obj.spec[key] not in (None, False, "", [], {}):
                    why = "the VPC gets a port on a network outside this model"
                    hazards.append(Hazard(Origin(obj, ("spec", key)), why, f"remove {key}", vpc=name))
        links = {r: p for (local, r), p in peerings.items() if local == name and (r, name) in peerings}
        routers[name] = Router(name, obj, tuple(members[name]), tuple(routes), tuple(reroutes), links)
    return routers, subnets, hazards
