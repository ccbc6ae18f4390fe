"""Logical switches from Subnet resources, with the access control lists Kube-OVN's controller gives them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, dotted, sequence
from testbed.reachability import match, properties, space
from testbed.reachability.acl import Origin, Rule, ordered
from testbed.reachability.space import ALL, Interval

# Kube-OVN's install defaults; a Subnet of that name among the resources replaces them.
DEFAULT_SUBNET, DEFAULT_SUBNET_CIDR = "ovn-default", "10.16.0.0/16"
JOIN_SUBNET, JOIN_CIDR = "join", "100.64.0.0/16"

# Kube-OVN pkg/util/const.go: SubnetAllowPriority 1001, DefaultDropPriority 1000, NodeAllowPriority 3000,
# AllowEWTrafficPriority 1900.
PRIVATE_DROP, PRIVATE_ALLOW, EAST_WEST_ALLOW, NODE_ALLOW = 1000, 1001, 1900, 3000


@dataclass(frozen=True, eq=False)
class Hazard:
    """Something outside the model: whatever it touches cannot be proved isolated.

    Attributes:
        subnet, vpc, pod: what it touches by name; all None when it may touch everything.
        value: it is an unknown value, which ``fail-closed`` reports by its path anyway.
    """

    origin: Origin
    reason: str
    repair: str
    subnet: str | None = None
    vpc: str | None = None
    pod: str | None = None
    value: bool = False

    @property
    def anywhere(self) -> bool:
        """Whether it may touch every client's network."""
        return self.subnet is None and self.vpc is None and self.pod is None


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

    @cached_property
    def gateways(self) -> tuple[Interval, ...]:
        """The addresses its router may have on it: the first of each CIDR where none is given."""
        try:
            return space.networks(self.obj.spec.get("gateway") if self.obj else None)
        except ValueError:
            return tuple((low + 1, low + 1) for low, _ in self.cidrs)

    @cached_property
    def free(self) -> tuple[Interval, ...]:
        """The addresses a NIC without one may get: all but the gateway's, which Kube-OVN excludes, and what is before.

        Kube-OVN ``pkg/controller/subnet.go``, checkAndUpdateExcludeIPs.
        """
        found = []
        for low, high in self.cidrs:
            first = next((g for g, _ in self.gateways if low < g < high), None)
            found += [(low, high)] if first is None else [(first + 1, high)]
            found += [(low, first - 1)] if first is not None and first > low + 1 else []
        return tuple(found)


def _acl(obj: Object, index: int, entry: Any) -> Iterator[tuple[str, Rule]]:
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
    for path, why in properties.hazards(properties.SUBNET, spec):
        unmodelled(("spec", *path), why, f"remove {dotted(path)}")
    vpc, provider = str(spec.get("vpc") or c.DEFAULT_VPC), str(spec.get("provider") or "ovn")
    return Subnet(obj.name, vpc, cidrs, obj, private, provider, ordered(to_port), ordered(from_port)), hazards


def _join(objects: Iterable[Object]) -> tuple[Interval, ...]:
    """Addresses of the join network, whose sources every private subnet lets in."""
    for obj in objects:
        if obj.name == JOIN_SUBNET:
            try:
                return space.networks(obj.spec.get("cidrBlock"))
            except ValueError:
                return (space.V4_ALL, space.V6_ALL)
    return space.networks(JOIN_CIDR)


def build(objects: Iterable[Object]) -> tuple[dict[str, Subnet], list[Hazard]]:
    """Every switch, with Kube-OVN's own ``ovn-default`` and ``join`` where they are not declared."""
    declared = [o for o in objects if o.group == "kubeovn.io" and o.kind == "Subnet"]
    join, hazards, found = _join(declared), [], {}
    for obj in declared:
        net, problems = subnet(obj, join)
        found[net.name] = net
        hazards += problems
    for name, cidrs in ((DEFAULT_SUBNET, space.networks(DEFAULT_SUBNET_CIDR)), (JOIN_SUBNET, join)):
        found.setdefault(name, Subnet(name, c.DEFAULT_VPC, cidrs, None))
    return found, hazards
