"""Who may be on a client's network: its own clients, and the one server of its testbed. A part of fail-closed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, Path_, mapping, sequence
from testbed.reachability import properties
from testbed.reachability.acl import Origin
from testbed.reachability.bindings import names
from testbed.reachability.networks import Subnet
from testbed.reachability.ports import Port
from testbed.reachability.routers import Router
from testbed.rules.context import Context
from testbed.rules.violation import Violation, violation
from testbed.workloads import Pod

NAME = "fail-closed"
SINGLE = frozenset(["Pod", "StatefulSet", "Deployment", "ReplicaSet", "ReplicationController"])  # one pod, if told so


def _text(labels: Mapping[str, Any]) -> str:
    """The network that labels name, with its testbed."""
    return f"{labels.get(c.LABEL_TESTBED) or ''}/{labels.get(c.LABEL_NETWORK) or ''}"


class _Networks:
    """The clients' networks of a context, and what is on them, in their VPCs or bound to them."""

    def __init__(self, context: Context) -> None:
        self.context, self.model = context, context.model

    @cached_property
    def declared(self) -> frozenset[str]:
        """Every namespace among the objects."""
        return frozenset(o.name for o in self.context.objects if o.kind == "Namespace" and o.group == "")

    @cached_property
    def owned(self) -> dict[str, Subnet]:
        """Networks that are a client's by more than a client's NIC: by a binding, a label or a server's NIC."""
        named = {b.subnet for b in self.model.bindings if b.namespace in self.context.group_of}
        named |= {p.subnet.name for p in self.model.ports if p.pod.role == c.ROLE_SERVER and not p.primary}
        nets = {n: self.model.subnets[n] for n in sorted(self.model.client_subnets)}
        return {n: net for n, net in nets.items() if n in named or (net.obj and c.LABEL_NETWORK in net.obj.labels)}

    def owners(self, net: Subnet) -> frozenset[str]:
        """The groups of clients that a network is bound to, or its label where it waits for a client."""
        bound = {b.namespace for b in self.model.bound_to.get(net.name, ()) if b.namespace in self.context.group_of}
        if bound:
            return frozenset(self.context.group_of[n] for n in bound)
        return frozenset({f"network {_text(net.obj.labels)}"} if net.obj and c.LABEL_NETWORK in net.obj.labels else ())

    def told(self, pod: Pod, net: Subnet) -> bool:
        """Whether a finding at its namespace tells of a pod: the binding's, or that it is not declared."""
        bound = any(one.namespace == pod.namespace for one in self.model.bound_to.get(net.name, ()))
        return bound or (pod.role is not None and pod.namespace not in self.declared)

    def foreign(self, namespace: str, net: Subnet) -> str:
        """Why pods of a namespace may not be on a client's network; empty when it is their own."""
        labels = self.model.homes.get(namespace)
        if labels is None:
            if namespace in self.declared:
                return "belongs to no client"
            return "is not declared, so it is not proved whose it is"
        if not labels.get(c.LABEL_CLIENT):
            return "belongs to no client"
        marked = net.obj.labels if net.obj else {}
        if c.LABEL_NETWORK in marked and _text(marked) != _text(labels):
            return f"belongs to network {_text(labels)}"
        return ""


def _bindings(nets: _Networks) -> Iterator[Violation]:
    """A network binds its own clients' namespaces alone, by name."""
    for net in nets.owned.values():
        for one in nets.model.bound_to.get(net.name, ()):
            why = nets.foreign(one.namespace, net)
            # Two clients on one network are no-cross-client-route's.
            shared = one.namespace in nets.context.group_of and len(nets.context.sharers[net.name]) > 1
            if why and not shared and one.origin.path[:2] != ("spec", "namespaceSelectors"):
                message = f"it binds namespace {one.namespace} to {net.name}, a client's network, and that {why}"
                repair = f"bind {net.name} to its own client's namespace alone"
                yield violation(NAME, one.origin.obj, one.origin.path, message, repair)
        for index, selector in enumerate(sequence(net.obj.spec.get("namespaceSelectors") if net.obj else ())):
            limits = names(mapping(selector))
            if limits is None or any(nets.foreign(name, net) for name in limits):
                message = "cannot prove that it selects no other namespace than the client's own"
                path: Path_ = ("spec", "namespaceSelectors", index)
                yield violation(NAME, net.obj, path, message, "name the client's namespace in spec.namespaces instead")
        if net.obj and net.provider != "ovn":
            yield from _provider(nets, net, net.obj)


def _provider(nets: _Networks, net: Subnet, obj: Object) -> Iterator[Violation]:
    """The attachment a network is bound to lies in the namespace of its testbed's server, or in its client's."""
    parts = net.provider.split(".")
    home = nets.model.homes.get(parts[1] if len(parts) == 3 else "", {})
    server = home.get(c.LABEL_ROLE) == c.ROLE_SERVER and home.get(c.LABEL_TESTBED) == obj.labels.get(c.LABEL_TESTBED)
    if len(parts) != 3 or parts[2] != "ovn":
        message = (
            f"provider {net.provider} is not Kube-OVN's own, so the network is not in OVN and private holds nothing"
        )
    elif not server and nets.foreign(parts[1], net):
        message = (
            f"every pod that asks for attachment {parts[1]}/{parts[0]} is put on it, and that is not its testbed's"
        )
    else:
        return
    yield violation(NAME, obj, ("spec", "provider"), message, "set it to ovn")


def _vpcs(nets: _Networks) -> Iterator[Violation]:
    """A client's VPC holds that client's networks, names its namespaces and is joined to no other."""
    within: dict[str, list[Subnet]] = defaultdict(list)
    for net in nets.owned.values():
        if net.vpc != c.DEFAULT_VPC:
            within[net.vpc].append(net)
    for name, own in within.items():
        router = nets.model.routers[name]
        for net in router.subnets:
            if net.name not in nets.owned and net.obj:
                message = f"it lies in VPC {name}, a client's, with {own[0].name}"
                yield violation(NAME, net.obj, ("spec", "vpc"), message, "put it into a VPC of its own")
        for net in own[1:]:
            if net.obj and nets.owners(net) != nets.owners(own[0]):
                message = f"it lies in VPC {name} with {own[0].name}, the network of another client"
                yield violation(NAME, net.obj, ("spec", "vpc"), message, "give each client a VPC of its own")
        if router.obj:
            for index, namespace in enumerate(map(str, sequence(router.obj.spec.get("namespaces")))):
                why = nets.foreign(namespace, own[0])
                if why and not any(b.namespace == namespace for net in own for b in nets.model.bound_to[net.name]):
                    message = f"VPC {name} is a client's, and namespace {namespace} {why}"
                    repair = "name the client's own namespace alone"
                    yield violation(NAME, router.obj, ("spec", "namespaces", index), message, repair)
        yield from _peerings(nets, router, own[0])


def _peerings(nets: _Networks, router: Router, net: Subnet) -> Iterator[Violation]:
    """A VPC joined to a client's from both sides, where no packet shows it already."""
    for remote, (_, origin) in router.links.items():
        beyond = nets.model.routers[remote].subnets
        if beyond and all(one.name in nets.owned and nets.owners(one) == nets.owners(net) for one in beyond):
            continue
        found = nets.context.reachability.found.values()
        if not any(hop.origin and hop.origin.obj is router.obj for pair in found for hop in pair.path):
            message = f"it joins VPC {router.name}, a client's, to VPC {remote}, which is not that client's"
            yield violation(NAME, origin.obj, origin.path, message, "remove the peering")


def _allowed(pod: Pod, net: Subnet, homes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a pod is a server of the network's testbed."""
    home = homes.get(pod.namespace, {})
    testbed = net.obj.labels.get(c.LABEL_TESTBED) if net.obj else None
    return (
        pod.role == c.ROLE_SERVER and home.get(c.LABEL_ROLE) == c.ROLE_SERVER and home.get(c.LABEL_TESTBED) == testbed
    )


def _report(port: Port, message: str, repair: str) -> Violation:
    return violation(NAME, port.pod.owner, port.origin.path, message, repair, witness=(str(port.origin),))


def _strangers(nets: _Networks) -> Iterator[Violation]:
    """No pod is on a client's network but the client's own and the testbed's server."""
    servers: dict[object, dict[Pod, list[Port]]] = defaultdict(lambda: defaultdict(list))
    seen: set[tuple[Pod, str]] = set()
    for port in nets.model.ports:
        pod, net = port.pod, port.subnet
        if net.name not in nets.owned or (pod, net.name) in seen:
            continue
        seen.add((pod, net.name))
        if pod.client:
            why = nets.foreign(pod.namespace, net)
            if why and nets.owners(net) == {f"network {_text(net.obj.labels if net.obj else {})}"}:
                message = f"a NIC of client {pod.client} is on {net.name}, and its namespace {why}"
                yield _report(port, message, "put it on the client's own network")
        elif _allowed(pod, net, nets.model.homes):
            servers[nets.model.homes[pod.namespace].get(c.LABEL_TESTBED)][pod].append(port)
        elif nets.told(pod, net):
            continue
        else:
            message = f"a pod of no client, nor of its testbed's server, is on {net.name}, a client's network"
            yield _report(port, message, "put it on a network of its own")
    for testbed in servers.values():
        first, *others = sorted(testbed, key=lambda pod: (-len(testbed[pod]), pod.owner.key))
        for pod in others:
            message = f"it has NICs on clients' networks beside {first.owner.ref}: a testbed has one server"
            yield _report(testbed[pod][0], message, "remove its NICs on the clients' networks, or the other server")
        yield from _alone(first, testbed[first][0])


def _alone(server: Pod, port: Port) -> Iterator[Violation]:
    """The server is one pod: each other one could meet every client too."""
    replicas = server.owner.spec.get("replicas", 1) if server.owner.kind != "Pod" else 1
    if server.owner.kind not in SINGLE:
        yield _report(port, f"a {server.owner.kind} makes several pods: a testbed has one server", "use a StatefulSet")
    elif replicas not in (0, 1) or isinstance(replicas, bool):
        message = f"it asks for {replicas} pods with NICs on clients' networks: a testbed has one server"
        yield violation(NAME, server.owner, ("spec", "replicas"), message, "set it to 1")


def _misplaced(nets: _Networks) -> Iterator[Violation]:
    """A client's NIC on a network that is no client's and has others on it."""
    for name in sorted(nets.model.client_subnets - nets.owned.keys()):
        net, ports = nets.model.subnets[name], nets.model.on_subnet.get(name, [])
        mine = next((port for port in ports if port.pod.client), None)
        other: Origin | None = next((port.origin for port in ports if not port.pod.client), None)
        other = other or next((b.origin for b in nets.model.bound_to.get(name, ())), None)
        if (
            mine and other and net.obj and net.obj.spec.get("default") is not True
        ):  # the others are no-cross-client-route's
            message = f"a NIC of client {mine.pod.client} is on {name}, which is no client's network: {other}"
            yield _report(mine, message, "put it on the client's own network")


def _services(nets: _Networks) -> Iterator[Violation]:
    """No Service for which a controller makes pods: Kube-OVN ``pkg/controller/service_lb.go``, or a cluster's own."""
    for obj in nets.context.objects:
        if obj.group != "" or obj.kind not in ("Service", "Namespace"):
            continue
        if (obj.namespace or obj.name) not in nets.model.homes:
            continue
        if obj.spec.get("type") == "LoadBalancer":
            message = "a controller makes pods for a Service of this type, in a testbed's namespace"
            yield violation(NAME, obj, ("spec", "type"), message, "use type NodePort or ClusterIP")
        table = properties.SERVICE if obj.kind == "Service" else properties.NAMESPACE
        for key in map(str, obj.annotations):
            provider, field = properties.nic_field(key) or ("", "")
            found = table.get(field, properties.UNKNOWN)
            if provider == "ovn" and found.status == "hazard":
                message = f"cannot prove what Kube-OVN makes of {field}: {found.why}"
                yield violation(NAME, obj, ("metadata", "annotations", key), message, "remove it")


def _servers(nets: _Networks) -> Iterator[Violation]:
    """A testbed has one server: another could meet every client."""
    seen: dict[object, Object] = {}
    for obj in nets.context.objects:
        if obj.kind == "Namespace" and obj.group == "" and obj.labels.get(c.LABEL_ROLE) == c.ROLE_SERVER:
            first = seen.setdefault(obj.labels.get(c.LABEL_TESTBED), obj)
            if first is not obj:
                message = f"namespace {first.name} is the server's of the same testbed already"
                yield violation(NAME, obj, ("metadata", "labels", c.LABEL_ROLE), message, "declare one server")


def check(context: Context) -> Iterator[Violation]:
    """Refuse everybody else on a client's network, and every way to bring one there."""
    nets = _Networks(context)
    for part in (_bindings, _vpcs, _strangers, _misplaced, _services, _servers):
        yield from part(nets)
