"""NetworkPolicy as port groups, address sets and ACLs.

Source: Kube-OVN ``pkg/controller/network_policy.go``, ``handleUpdateNp``; ``pkg/ovs/ovn-nb-acl.go``,
``UpdateIngressACLOps``, ``UpdateEgressACLOps`` and ``newNetworkPolicyACLMatch``. A policy covers every NIC of its pods.
Old releases also let the subnet's gateway address in for IPv4; current ones do not, and neither does this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from lab.ovn.addresses import port_name
from lab.ovn.cluster import Cluster, Object, annotations_of, labels_of, name, namespace, spec
from lab.ovn.model import Acl, AddressSet, PortGroup
from lab.ovn.nics import allocated
from lab.ovn.selectors import matches

DROP, ALLOW = 2000, 2001


def network_policies(cluster: Cluster, ports: Collection[str]) -> tuple[list[PortGroup], list[AddressSet]]:
    """Port groups and address sets of every NetworkPolicy.

    Args:
        cluster: objects with their allocations.
        ports: names of the switch ports that exist.
    """
    groups, sets = [], []
    for policy in cluster.all("NetworkPolicy"):
        group, own = _policy(policy, cluster, ports)
        groups.append(group)
        sets += own
    return groups, sets


def _policy(policy: Object, cluster: Cluster, ports: Collection[str]) -> tuple[PortGroup, list[AddressSet]]:
    title = name(policy) if name(policy)[0].isalpha() else f"np{name(policy)}"
    group = f"{title}.{namespace(policy)}".replace("-", ".")
    members = {
        port
        for pod in _selected(cluster, namespace(policy), spec(policy).get("podSelector") or {})
        for port in (port_name(pod, provider) for provider in allocated(pod))
        if port in ports
    }
    acls: set[Acl] = set()
    sets: list[AddressSet] = []
    types = spec(policy).get("policyTypes") or ()
    for direction, rules in (("Ingress", "ingress"), ("Egress", "egress")):
        if direction not in types and spec(policy).get(rules) is None:
            continue
        if not members:
            continue  # Kube-OVN writes no rules for a policy that selects no pod yet.
        for acl, own in _rules(policy, cluster, group, rules):
            acls |= acl
            sets += own
    return PortGroup(group, frozenset(members), frozenset(acls)), sets


def _rules(policy: Object, cluster: Cluster, group: str, direction: str) -> Iterator[tuple[set[Acl], list[AddressSet]]]:
    """ACLs and address sets of one direction."""
    egress = direction == "egress"
    peers = "to" if egress else "from"
    way, port, key = ("from-lport", "inport", "ip4.dst") if egress else ("to-lport", "outport", "ip4.src")
    yield {Acl(way, DROP, f"{port} == @{group} && ip4", "drop", egress)}, []
    for index, rule in enumerate(spec(policy).get(direction) or ()):
        allow, excepted = _addresses(policy, cluster, rule.get(peers) or ())
        names = {kind: f"{group}.{direction}.{kind}.IPv4.{index}" for kind in ("allow", "except")}
        base = f"{port} == @{group} && ip && {key} == ${names['allow']} && {key} != ${names['except']}"
        matched = {f"{base}{suffix}" for suffix in _ports(rule.get("ports") or (), policy, cluster)}
        yield (
            {Acl(way, ALLOW, match, "allow-related", egress) for match in matched},
            [AddressSet(names["allow"], frozenset(allow)), AddressSet(names["except"], frozenset(excepted))],
        )


def _ports(ports: Collection[Mapping[str, Any]], policy: Object, cluster: Cluster) -> Iterator[str]:
    if not ports:
        yield ""
    for port in ports:
        protocol = str(port.get("protocol") or "TCP").lower()
        number = port.get("port")
        if number is None:
            yield f" && {protocol}"
        elif port.get("endPort"):
            yield f" && {number} <= {protocol}.dst <= {port['endPort']}"
        elif isinstance(number, int):
            yield f" && {protocol}.dst == {number}"
        else:
            # A named port of nobody becomes port 0, which matches no traffic.
            yield f" && {protocol}.dst == {_named_port(str(number), policy, cluster)}"


def _named_port(wanted: str, policy: Object, cluster: Cluster) -> int:
    for pod in cluster.pods():
        if namespace(pod) == namespace(policy):
            for container in spec(pod).get("containers") or ():
                for port in container.get("ports") or ():
                    if port.get("name") == wanted:
                        return int(port["containerPort"])
    return 0


def _addresses(policy: Object, cluster: Cluster, peers: Collection[Mapping[str, Any]]) -> tuple[set[str], set[str]]:
    """Allowed and excepted addresses of a rule's peers; no peers means everyone."""
    if not peers:
        return {"0.0.0.0/0"}, set()
    allow: set[str] = set()
    excepted: set[str] = set()
    for peer in peers:
        block = peer.get("ipBlock")
        if block and ":" not in str(block["cidr"]):
            allow.add(str(block["cidr"]))
            excepted.update(str(item) for item in block.get("except") or ())
        if peer.get("podSelector") is None and peer.get("namespaceSelector") is None:
            continue
        for ns in _namespaces(policy, cluster, peer):
            for pod in _selected(cluster, ns, peer.get("podSelector") or {}):
                allow.update(v for k, v in annotations_of(pod).items() if k.endswith(".kubernetes.io/ip_address"))
    return allow, excepted


def _namespaces(policy: Object, cluster: Cluster, peer: Mapping[str, Any]) -> list[str]:
    selector = peer.get("namespaceSelector")
    if selector is None:
        return [namespace(policy)]
    return [name(ns) for ns in cluster.all("Namespace") if matches(selector, labels_of(ns))]


def _selected(cluster: Cluster, ns: str, selector: Mapping[str, Any]) -> Iterator[Object]:
    for pod in cluster.pods():
        if namespace(pod) == ns and matches(selector, labels_of(pod)):
            yield pod
