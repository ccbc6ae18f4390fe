"""Why a pair is isolated, and every single change that would open it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testbed import contract as c
from testbed.edits import Edit, apply
from testbed.manifests import Object, sequence
from testbed.reachability import model, repair, space
from testbed.reachability.flow import Hop, Walk
from testbed.reachability.groups import Groups, Isolation
from testbed.reachability.lookup import EVERY
from testbed.reachability.model import Model
from testbed.reachability.ports import Port
from testbed.reachability.verdicts import Pair, decide
from testbed.workloads import Pod


@dataclass(frozen=True)
class Opening:
    """One change, and what the pair becomes by it."""

    edit: Edit
    verdict: str
    via: str | None


@dataclass(frozen=True)
class Explanation:
    """Everything about one ordered pair.

    Attributes:
        blocks: where its packets end, for a pair that is isolated.
        openings: every single change of a field, among those that can matter, by which it is isolated no more.
        repairs: the smallest change that isolates it, for a pair that is not.
    """

    pair: Pair
    blocks: tuple[Hop, ...] = ()
    openings: tuple[Opening, ...] = ()
    repairs: tuple[Edit, ...] = ()


def _blocks(built: Model, source: Pod, target: Pod) -> tuple[Hop, ...]:
    stops: list[Hop] = []
    destinations = [a for port in built.of_pod.get(target, ()) for a in port.addresses]
    for port in built.of_pod.get(source, ()):
        for sources in (port.addresses, *([] if port.secured else [EVERY])):
            for _ in Walk(built, stops).start(port, sources, destinations=destinations):
                pass
        if port.secured:
            stops.append(Hop(f"{source.name} {port.nic}", "port security: it sends only from its own addresses"))
    return tuple({(hop.at, hop.why): hop for hop in stops}.values())


def _nic_changes(mine: Sequence[Port], others: Sequence[Port]) -> Iterator[Edit]:
    for port in mine:
        owner, prefix = port.pod.owner.key, None if port.primary else port.nic
        switch = port.pod.annotation(c.nic_annotation("logical_switch", prefix))
        for other in others:
            yield Edit("set", owner, switch, other.subnet.name)
        if c.nic_annotation("logical_switch", prefix) in port.pod.annotations:
            yield Edit("remove", owner, switch)
        if port.secured:
            yield Edit("remove", owner, port.security)


def _net_changes(mine: Sequence[Port], others: Sequence[Port]) -> Iterator[Edit]:
    for port in mine:
        net = port.subnet
        if net.obj is None:
            continue
        key = net.obj.key
        if net.private:
            yield Edit("set", key, ("spec", "private"), False)
            count = len(sequence(net.obj.spec.get("allowSubnets")))
            entries = [*sequence(net.obj.spec.get("allowSubnets")), "0.0.0.0/0"]
            yield Edit("set", key, ("spec", "allowSubnets"), entries[: count + 1])
            allow = {"direction": "to-lport", "priority": 1500, "match": "ip", "action": "allow"}
            yield Edit("set", key, ("spec", "acls"), [*sequence(net.obj.spec.get("acls")), allow])
        for other in others:
            if other.subnet.vpc != net.vpc:
                yield Edit("set", key, ("spec", "vpc"), other.subnet.vpc)
        yield Edit("set", key, ("spec", "vlan"), "any")


def _router_changes(built: Model, mine: Sequence[Port], others: Sequence[Port]) -> Iterator[Edit]:
    for port in mine:
        router = built.routers[port.subnet.vpc]
        if router.obj is None:
            continue
        yield Edit("set", router.obj.key, ("spec", "enableExternal"), True)
        for other in others:
            if other.subnet.vpc == router.name:
                continue
            peering = {"remoteVpc": other.subnet.vpc, "localConnectIP": "169.254.0.1/30"}
            peerings = [*sequence(router.obj.spec.get("vpcPeerings")), peering]
            yield Edit("set", router.obj.key, ("spec", "vpcPeerings"), peerings)
            for remote in (built.routers[other.subnet.vpc], *(built.routers[r] for r in router.links)):
                for intervals, _ in remote.links.values():
                    cidr = other.subnet.obj.spec.get("cidrBlock") if other.subnet.obj else None
                    hop = space.text(intervals[0][0] + 1)
                    routes = [*sequence(router.obj.spec.get("staticRoutes")), {"cidr": cidr, "nextHopIP": hop}]
                    yield Edit("set", router.obj.key, ("spec", "staticRoutes"), routes)


def _relay_changes(built: Model, nets: set[str]) -> Iterator[Edit]:
    """Changes of pods that have NICs on both sides."""
    relays = {p.pod: p for net in nets for p in built.on_subnet.get(net, ()) if p.pod.client is None}
    for pod in relays:
        for port in built.of_pod[pod]:
            if port.secured and port.subnet.name in nets:
                yield Edit("remove", pod.owner.key, port.security)
        for path, _ in pod.containers():
            yield Edit("set", pod.owner.key, (*path, "securityContext", "privileged"), True)
            yield Edit("set", pod.owner.key, (*path, "securityContext", "capabilities", "add"), ["NET_ADMIN"])
        yield Edit("set", pod.owner.key, pod.path("spec", "hostNetwork"), True)


def _dual(built: Model, pod: Pod, others: Sequence[Port]) -> Iterator[Edit]:
    """A second NIC by an attachment that leads to the other side's network."""
    for attachment in (o for o in built.objects if o.kind == "NetworkAttachmentDefinition"):
        try:
            provider = str(json.loads(str(attachment.spec.get("config"))).get("provider"))
        except (ValueError, AttributeError):
            continue
        if any(port.subnet.provider == provider for port in others):
            value = json.dumps([{"name": attachment.name, "namespace": attachment.namespace}])
            yield Edit("set", pod.owner.key, pod.annotation(c.MULTUS_NETWORKS), value)


def candidates(built: Model, source: Pod, target: Pod) -> list[Edit]:
    """Every single change the search tries, without repetition."""
    mine, others = built.of_pod.get(source, []), built.of_pod.get(target, [])
    found: list[Edit] = []
    for one, two, pod in ((mine, others, source), (others, mine, target)):
        found += [*_nic_changes(one, two), *_net_changes(one, two), *_router_changes(built, one, two)]
        found += [*_dual(built, pod, two), Edit("set", pod.owner.key, pod.path("spec", "hostNetwork"), True)]
    found += _relay_changes(built, {p.subnet.name for p in (*mine, *others)})
    return list({(e.op, e.key, e.path, repr(e.value)): e for e in found}.values())


def explain(objects: Sequence[Object], isolation: Isolation, groups: Groups, source: Pod, target: Pod) -> Explanation:
    """Explain the ordered pair ``source`` to ``target``.

    Args:
        objects: all objects.
        isolation: the level the policy allows.
        groups: which clients may share a network.
        source: sender.
        target: receiver.
    """
    built = model.build(objects)
    source, target = (next(p for p in built.pods if p.owner.key == pod.owner.key) for pod in (source, target))
    pair = decide(built, groups, [source]).found.get((source, target)) or Pair(source, target, "isolated")
    if pair.verdict != "isolated":
        return Explanation(pair, repairs=repair.repair(objects, isolation, pair))
    near = repair.near(objects, pair)
    openings = []
    for edit in candidates(built, source, target):
        after = repair.verdict(apply(near, [edit]), isolation, pair)
        if after.verdict != "isolated":
            openings.append(Opening(edit, after.verdict, after.via))
    return Explanation(pair, _blocks(built, source, target), tuple(openings))
