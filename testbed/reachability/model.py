"""Everything reachability is decided on: routers, switches, ports, and what is outside the model."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, Path_, mapping, sequence
from testbed.reachability import filters, networks, properties, routers, space
from testbed.reachability.acl import Origin
from testbed.reachability.bindings import Binding, bindings, namespace_labels
from testbed.reachability.lookup import Lookup
from testbed.reachability.networks import Hazard, Subnet
from testbed.reachability.ports import Nic, Placer, Port
from testbed.reachability.routers import Router
from testbed.selectors import selects
from testbed.unknown import unresolved
from testbed.workloads import Pod, is_workload, pods

POLICY_TIERS = frozenset(["AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"])
_WORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?|[0-9A-Fa-f]*:[0-9A-Fa-f:]+(?:/\d{1,3})?")


def texts(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, str]]:
    """Every text below ``value``, keys included, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield (*path, str(key)), str(key)
            yield from texts(item, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from texts(item, (*path, index))


@dataclass(frozen=True, eq=False)
class Model:
    """Routers, switches and ports of a set of objects.

    Attributes:
        nics: every NIC of every pod, those in doubt included.
        ports: what the NICs become on switches.
        hazards: what is outside the model and may touch it, the NICs' doubts included.
    """

    objects: tuple[Object, ...]
    routers: Mapping[str, Router]
    subnets: Mapping[str, Subnet]
    bindings: tuple[Binding, ...]
    pods: tuple[Pod, ...]
    nics: tuple[Nic, ...]
    ports: tuple[Port, ...]
    hazards: tuple[Hazard, ...]

    @cached_property
    def on_subnet(self) -> Mapping[str, list[Port]]:
        """Ports by switch."""
        found: dict[str, list[Port]] = defaultdict(list)
        for port in self.ports:
            found[port.subnet.name].append(port)
        return found

    @cached_property
    def of_pod(self) -> Mapping[Pod, list[Port]]:
        """Ports by pod."""
        found: dict[Pod, list[Port]] = defaultdict(list)
        for port in self.ports:
            found[port.pod].append(port)
        return found

    @cached_property
    def routes(self) -> Mapping[str, Lookup]:
        """Route lookup by router."""
        return {name: Lookup(router) for name, router in self.routers.items()}

    @cached_property
    def nics_of(self) -> Mapping[Pod, list[Nic]]:
        """NICs by pod."""
        found: dict[Pod, list[Nic]] = defaultdict(list)
        for nic in self.nics:
            found[nic.pod].append(nic)
        return found

    @cached_property
    def bound_to(self) -> Mapping[str, list[Binding]]:
        """Bindings by subnet."""
        found: dict[str, list[Binding]] = defaultdict(list)
        for one in self.bindings:
            found[one.subnet].append(one)
        return found

    @cached_property
    def homes(self) -> Mapping[str, Mapping[str, Any]]:
        """Labels of the declared namespaces that belong to a testbed, by name."""
        labels = {o.name: o.labels for o in self.objects if o.kind == "Namespace" and o.group == ""}
        return {n: own for n, own in labels.items() if own.get(c.LABEL_ROLE) or own.get(c.LABEL_CLIENT)}

    @cached_property
    def client_subnets(self) -> frozenset[str]:
        """The clients' networks, which a file that is left out makes no fewer.

        Each carries a NIC of a client or a further one of a server, is bound to a client's namespace, or is declared
        as a client's by its label.
        """
        found = {p.subnet.name for p in self.ports if p.pod.client or (p.pod.role == c.ROLE_SERVER and not p.primary)}
        found |= {b.subnet for b in self.bindings if self.homes.get(b.namespace, {}).get(c.LABEL_CLIENT)}
        found |= {n.name for n in self.subnets.values() if n.obj and c.LABEL_NETWORK in n.obj.labels}
        return frozenset(found & self.subnets.keys())

    @cached_property
    def testbed(self) -> bool:
        """Whether there is anything of a testbed among the objects."""
        return bool(self.client_subnets or self.homes) or any(pod.client or pod.role for pod in self.pods)

    def linked(self, vpc: str) -> frozenset[str]:
        """The VPCs that peerings join to ``vpc``, itself included."""
        found, todo = {vpc}, [vpc]
        while todo:
            router = self.routers.get(todo.pop())
            for remote in router.links if router else ():
                if remote not in found:
                    found.add(remote)
                    todo.append(remote)
        return frozenset(found)

    def touched(self, hazard: Hazard) -> frozenset[str]:
        """The switches of clients a hazard touches."""
        if hazard.subnet is not None:
            return frozenset({hazard.subnet}) & self.client_subnets
        if hazard.vpc is not None:
            vpcs = self.linked(hazard.vpc)
            return frozenset(n for n in self.client_subnets if self.subnets[n].vpc in vpcs)
        if hazard.pod is not None:
            mine = [p for pod in self.pods if pod.name == hazard.pod for p in self.of_pod.get(pod, ())]
            return frozenset(p.subnet.name for p in mine) & self.client_subnets
        return self.client_subnets


def _mentions(
    obj: Object, model_subnets: Mapping[str, Subnet], vpcs: set[str], homes: Mapping[str, set[str]]
) -> Iterator[Hazard]:
    """Hazards for every network of this model an object names, by name, namespace or address."""
    why = f"{obj.kind} is outside the model and names {{}}: it may carry traffic there"
    repair = f"remove {obj.ref}"
    seen: set[tuple[str, str]] = set()
    for path, text in texts({k: v for k, v in obj.body.items() if k in ("spec", "data", "metadata", "webhooks")}):
        words = {text, *_WORD.findall(text), *text.split(".")}
        named = [("subnet", w) for w in words if w in model_subnets] + [("vpc", w) for w in words if w in vpcs]
        named += [("subnet", net) for w in words for net in homes.get(w, ())]
        for address in _ADDRESS.findall(text):
            try:
                low, high = space.network(address)
            except ValueError:
                continue
            if high - low < 1 << 16:
                named += [
                    ("subnet", n.name)
                    for n in model_subnets.values()
                    if any(a <= high and low <= b for a, b in n.cidrs)
                ]
        for kind, name in named:
            if (kind, name) not in seen:
                seen.add((kind, name))
                origin = Origin(obj, path)
                yield Hazard(origin, why.format(f"{kind} {name}"), repair, **{kind: name})


def _governs(policy: Object, namespaces: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether a cluster-wide policy may govern pods in one of the namespaces with these labels.

    Its rules bind its subject's pods alone: network-policy-api, ``AdminNetworkPolicySubject``.
    """
    subject = mapping(policy.spec.get("subject"))
    selector = subject.get("namespaces", mapping(subject.get("pods")).get("namespaceSelector"))
    return not isinstance(selector, Mapping) or any(selects(selector, labels).may for labels in namespaces)


def _outside(
    objects: Iterable[Object],
    subnets: Mapping[str, Subnet],
    routers: Mapping[str, Router],
    ports: list[Port],
    namespaces: Mapping[str, Object],
) -> Iterator[Hazard]:
    homes: dict[str, set[str]] = defaultdict(set)
    for port in ports:
        if port.pod.client:
            homes[port.pod.namespace].add(port.subnet.name)
    vpcs = set(routers) - {c.DEFAULT_VPC}
    ours = [namespace_labels(n, namespaces) for n in {p.pod.namespace for p in ports if p.pod.client or p.pod.role}]
    for obj in objects:
        if obj.group == "kubeovn.io" and obj.kind not in properties.KINDS:
            yield from _mentions(obj, subnets, vpcs, homes)
        elif obj.kind in POLICY_TIERS:
            actions = {mapping(r).get("action") for side in ("ingress", "egress") for r in sequence(obj.spec.get(side))}
            if actions - {"Deny"} and _governs(obj, ours):
                why = "a cluster-wide policy is decided before Kube-OVN's private drop and may allow what it blocks"
                yield Hazard(Origin(obj, ("spec",)), why, "let it deny only, or remove it")
        elif obj.kind == "Service" and obj.group == "":
            exposed = obj.spec.get("type") in ("NodePort", "LoadBalancer") or bool(obj.spec.get("externalIPs"))
            for net in homes.get(obj.namespace, ()) if exposed else ():
                why = "it exposes a client's pods on the nodes, where every pod with a way out reaches them"
                yield Hazard(
                    Origin(obj, ("spec", "type")), why, "use type ClusterIP, or remove the Service", subnet=net
                )
        elif obj.kind in ("Ingress", "Gateway", "HTTPRoute", "TCPRoute", "GRPCRoute", "TLSRoute", "UDPRoute"):
            for net in homes.get(obj.namespace, ()):
                why = "it forwards traffic to a client's pods from outside the model"
                yield Hazard(Origin(obj, ("spec",)), why, f"remove {obj.ref}", subnet=net)


def _unresolved(obj: Object, pods_of: Mapping[Object, Pod]) -> Iterator[Hazard]:
    for path in unresolved(obj):
        pod = pods_of.get(obj)
        target: dict[str, Any] = {}
        named = path[:1] != ("metadata",) and len(path) > 1
        placing = pod is not None and pod.path("metadata")[: len(path)] == path[: len(pod.path("metadata"))]
        if pod is not None and named and not placing:
            target = {"pod": pod.name}
        elif obj.kind == "Subnet" and path[:2] not in (("spec", "vpc"), ("spec", "provider")) and named:
            target = {"subnet": obj.name}
        elif obj.kind == "Vpc" and named:
            target = {"vpc": obj.name}
        why = "the value is not known before creation"
        yield Hazard(Origin(obj, path), why, "give it a value that the preview knows", value=True, **target)
        return


def ordered(objects: Iterable[Object]) -> tuple[Object, ...]:
    """The objects in an order of their own, so that no verdict depends on the order they were given in."""
    found = sorted(objects, key=lambda o: o.key)
    if any(a.key == b.key for a, b in pairwise(found)):
        found.sort(key=lambda o: (o.key, repr(o.body)))
    return tuple(found)


def build(objects: Iterable[Object]) -> Model:
    """Build the model of a set of objects; never fails on their content."""
    objects = ordered(objects)
    subnets, hazards = networks.build(objects)
    found_routers, problems = routers.build(objects, subnets)
    hazards += problems
    for first, second in pairwise(objects):
        if first.key == second.key and not first.name.endswith("*"):
            why = "it is declared twice: which one holds depends on the order"
            hazards.append(Hazard(Origin(second, ("metadata", "name")), why, "declare it once"))
    namespaces = {o.name: o for o in objects if o.kind == "Namespace" and o.group == ""}
    vpcs = [o for o in objects if o.kind == "Vpc" and o.group == "kubeovn.io"]
    bound = bindings(namespaces, {o.namespace for o in objects if o.namespace}, subnets, vpcs)
    placer = Placer(objects, subnets, bound)
    found = pods(objects)
    nics = tuple(nic for pod in found for nic in placer.nics(pod))
    ports = filters.attach([port for nic in nics for port in nic.ports], objects, namespaces)
    hazards += [doubt for nic in nics for doubt in nic.doubts]
    hazards += _outside(objects, subnets, found_routers, ports, namespaces)
    pods_of = {pod.owner: pod for pod in found}
    for obj in objects:
        if (
            is_workload(obj)
            or obj.group in ("kubeovn.io", "k8s.cni.cncf.io", "networking.k8s.io")
            or obj.kind == "Namespace"
        ):
            hazards += _unresolved(obj, pods_of)
    return Model(objects, found_routers, subnets, bound, found, nics, tuple(ports), tuple(hazards))
