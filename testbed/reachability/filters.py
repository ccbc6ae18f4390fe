"""NetworkPolicy and SecurityGroup as ACLs of the ports they select.

What one supported release lets pass, passes: the controllers 1.12.22 and 1.16.2 were run side by side.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, Path_, mapping, sequence
from testbed.reachability import space
from testbed.reachability.acl import Origin, Rule
from testbed.reachability.bindings import namespace_labels
from testbed.reachability.ports import Port
from testbed.reachability.space import ALL, EMPTY, IP4, Interval, Region
from testbed.selectors import selects

# Kube-OVN pkg/util/const.go: Ingress/EgressAllowPriority 2001, Ingress/EgressDefaultDrop 2000; security groups reach
# 2300 in 1.12 and 18484 in 1.16.
POLICY_DROP, POLICY_ALLOW, GROUP_ALLOW = 2000, 2001, 18484
Ports = Mapping[str, list[Port]]  # by namespace
EVERY: tuple[Interval, ...] = (space.V4_ALL, space.V6_ALL)


def _peers(
    entry: Mapping[str, Any], field: str, policy: Object, ports: Ports, namespaces: Mapping[str, Object]
) -> list[Interval]:
    """Addresses a rule's ``from`` or ``to`` may name."""
    peers = sequence(entry.get(field))
    if not peers:
        return list(EVERY)
    found: list[Interval] = []
    for peer in map(mapping, peers):
        block = mapping(peer.get("ipBlock"))
        if block:
            try:
                found.append(space.network(block.get("cidr")))  # "except" only narrows it
            except ValueError:
                return list(EVERY)
            continue
        pod_selector, namespace_selector = peer.get("podSelector"), peer.get("namespaceSelector")
        near_by = (
            ports.get(policy.namespace, []) if namespace_selector is None else [p for ps in ports.values() for p in ps]
        )
        for port in near_by:
            home = port.pod.namespace
            if namespace_selector is None:
                near = home == policy.namespace
            else:
                near = selects(mapping(namespace_selector), namespace_labels(home, namespaces)).may
            if near and selects(mapping(pod_selector), port.pod.labels).may:
                found += port.addresses
    return list(space.merged(found))


def _side(policy: Object, direction: str, certain: bool, ports: Ports, namespaces: Mapping[str, Object]) -> list[Rule]:
    rules = []
    field = "from" if direction == "ingress" else "to"
    for index, entry in enumerate(sequence(policy.spec.get(direction))):
        addresses = _peers(mapping(entry), field, policy, ports, namespaces)
        may: Region = space.product(addresses, EVERY) if direction == "ingress" else space.product(EVERY, addresses)
        rules.append(Rule(POLICY_ALLOW, True, may, EMPTY, Origin(policy, ("spec", direction, index), "allows")))
    path: Path_ = ("spec", "policyTypes") if "policyTypes" in policy.spec else ("spec",)
    must = IP4 if certain else EMPTY  # Kube-OVN's drop names the subnet's IP version
    rules.append(Rule(POLICY_DROP, False, ALL, must, Origin(policy, path, f"default deny, {direction}")))
    return rules


def _types(policy: Object) -> set[str]:
    given = {str(t).lower() for t in sequence(policy.spec.get("policyTypes"))}
    return given or {"ingress", *(["egress"] if policy.spec.get("egress") else [])}


def _group_rules(port: Port) -> list[Rule]:
    """Each security group of a port lets anything pass; its drops are not credited.

    Every group lets DHCP and protocol 112 pass, whatever it says, before a private drop (``pkg/ovs/ovn-nb-acl.go``,
    CreateSgBaseACL), and this model has no ports and protocols.
    """
    key = c.nic_annotation("security_groups", None if port.primary else port.nic)
    if port.pod.annotations.get(key) in (None, ""):
        return []
    note = "a security group lets DHCP and protocol 112 pass, and what its rules allow"
    return [Rule(GROUP_ALLOW, True, ALL, EMPTY, Origin(port.pod.owner, port.pod.annotation(key), note))]


def _gates(selected: Mapping[Object, list[Port]]) -> dict[str, tuple[Rule, ...]]:
    """What each policy of 1.12 lets onto all of a switch: packets that say they come from a gateway of its pods.

    Its rule ``2001 ip4.src == GATEWAY`` names no port (CreateGatewayACL), so it holds for every port of the switches of
    the policy's pods, the router's included.
    """
    found: dict[str, dict[Interval, Origin]] = defaultdict(dict)
    for policy, ports in selected.items():
        nets = {port.subnet.name: port.subnet for port in ports}
        origin = Origin(policy, ("spec",), "lets any packet pass that says it comes from its pods' gateway")
        for gateway in {a for net in nets.values() for a in net.gateways}:
            for name in nets:
                found[name].setdefault(gateway, origin)
    return {
        name: tuple(Rule(POLICY_ALLOW, True, space.product([a], EVERY), EMPTY, o) for a, o in gateways.items())
        for name, gateways in found.items()
    }


def attach(ports: list[Port], objects: Iterable[Object], namespaces: Mapping[str, Object]) -> list[Port]:
    """Give every port the rules of the NetworkPolicies and SecurityGroups that select it."""
    objects = tuple(objects)
    policies: dict[str, list[Object]] = defaultdict(list)
    for obj in objects:
        if obj.kind == "NetworkPolicy" and obj.group == "networking.k8s.io":
            policies[obj.namespace].append(obj)
    homes: dict[str, list[Port]] = defaultdict(list)
    for port in ports:
        homes[port.pod.namespace].append(port)

    @cache
    def side(policy: Object, direction: str, certain: bool) -> list[Rule]:
        return _side(policy, direction, certain, homes, namespaces)

    # Kube-OVN calls a policy's port group so (pkg/controller/network_policy.go): of two of one name, one may be lost.
    named = Counter(_group_name(policy) for some in policies.values() for policy in some)
    selected: dict[Object, list[Port]] = defaultdict(list)
    rules: list[tuple[list[Rule], list[Rule], list[Rule]]] = []
    for port in ports:
        ingress, egress, upward = ([*_group_rules(port)] for _ in range(3))  # 1.12 writes egress as to-lport too
        for policy in policies.get(port.pod.namespace, ()):
            chosen = selects(mapping(policy.spec.get("podSelector")), port.pod.labels)
            if not chosen.may:
                continue
            selected[policy].append(port)
            # Kube-OVN can limit a policy to a provider or relax it by annotation; only a plain one is credited.
            plain = not any(str(key).startswith(c.OVN_PREFIX) for key in policy.annotations)
            certain = chosen.must and plain and port.primary and named[_group_name(policy)] == 1
            types = _types(policy)
            if "ingress" in types:
                ingress += side(policy, "ingress", certain)
            if "egress" in types:
                egress += side(policy, "egress", certain)
        rules.append((ingress, egress, upward))
    gates = _gates(selected)
    found = []
    for port, (ingress, egress, upward) in zip(ports, rules, strict=True):
        gate = gates.get(port.subnet.name, ())
        arriving, leaving, rising = (*ingress, *gate), tuple(egress), (*upward, *gate)
        plain = not (arriving or leaving or rising)
        found.append(port if plain else replace(port, ingress=arriving, egress=leaving, upward=rising))
    return found


def _group_name(policy: Object) -> str:
    return f"{policy.name}.{policy.namespace}".replace("-", ".")
