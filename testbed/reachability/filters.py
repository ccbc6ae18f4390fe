"""NetworkPolicy and SecurityGroup as ACLs of the ports they select."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, Path_, mapping, sequence
from testbed.reachability import space
from testbed.reachability.acl import Origin, Rule, ordered
from testbed.reachability.bindings import namespace_labels
from testbed.reachability.ports import Port
from testbed.reachability.space import ALL, EMPTY, IP4, Interval, Region
from testbed.selectors import selects

# Kube-OVN pkg/util/const.go: Ingress/EgressAllowPriority 2001, Ingress/EgressDefaultDrop 2000; security groups reach
# 2300.
POLICY_DROP, POLICY_ALLOW, GROUP_ALLOW = 2000, 2001, 2300
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


def _group_rules(port: Port, groups: Mapping[str, Object]) -> tuple[list[Rule], list[Rule]]:
    """Allows of the port's security groups; their drops are not credited."""
    provider = None if port.primary else port.nic
    key = c.nic_annotation("security_groups", provider)
    sides: tuple[list[Rule], list[Rule]] = ([], [])
    for name in filter(None, (n.strip() for n in str(port.pod.annotations.get(key) or "").split(","))):
        group = groups.get(name)
        origin = Origin(
            group or port.pod.owner, ("spec",) if group else port.pod.annotation(key), f"security group {name}"
        )
        if group is None or group.spec.get("allowSameGroupTraffic") is True:
            for side in sides:
                side.append(Rule(GROUP_ALLOW, True, ALL, EMPTY, origin))
        for side, field in zip(sides, ("ingressRules", "egressRules"), strict=True):
            for index, entry in enumerate(sequence(group.spec.get(field)) if group else ()):
                rule = mapping(entry)
                if rule.get("policy") == "drop":
                    continue
                try:
                    remote = space.networks(rule.get("remoteAddress")) if rule.get("remoteType") == "address" else EVERY
                except ValueError:
                    remote = EVERY
                may = space.product(remote, EVERY) if field == "ingressRules" else space.product(EVERY, remote)
                side.append(Rule(GROUP_ALLOW, True, may, EMPTY, Origin(group, ("spec", field, index), "allows")))
    return sides


def attach(ports: list[Port], objects: Iterable[Object], namespaces: Mapping[str, Object]) -> list[Port]:
    """Give every port the rules of the NetworkPolicies and SecurityGroups that select it."""
    objects = tuple(objects)
    policies: dict[str, list[Object]] = defaultdict(list)
    for obj in objects:
        if obj.kind == "NetworkPolicy" and obj.group == "networking.k8s.io":
            policies[obj.namespace].append(obj)
    groups = {o.name: o for o in objects if o.kind == "SecurityGroup" and o.group == "kubeovn.io"}
    homes: dict[str, list[Port]] = defaultdict(list)
    for port in ports:
        homes[port.pod.namespace].append(port)

    @cache
    def side(policy: Object, direction: str, certain: bool) -> list[Rule]:
        return _side(policy, direction, certain, homes, namespaces)

    found = []
    for port in ports:
        ingress, egress = _group_rules(port, groups)
        for policy in policies.get(port.pod.namespace, ()):
            selected = selects(mapping(policy.spec.get("podSelector")), port.pod.labels)
            if not selected.may:
                continue
            # Kube-OVN can limit a policy to a provider or relax it by annotation; only a plain one is credited.
            plain = not any(str(key).startswith(c.OVN_PREFIX) for key in policy.annotations)
            certain = selected.must and plain and port.primary
            types = _types(policy)
            if "ingress" in types:
                ingress += side(policy, "ingress", certain)
            if "egress" in types:
                egress += side(policy, "egress", certain)
        found.append(replace(port, ingress=ordered(ingress), egress=ordered(egress)) if ingress or egress else port)
    return found
