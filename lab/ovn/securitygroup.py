"""SecurityGroup as port groups, address sets and ACLs.

Source: Kube-OVN ``pkg/controller/security_group.go``; ``pkg/ovs/ovn-nb-acl.go`` and ``pkg/util/const.go`` (priorities).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lab.ovn.addresses import port_name
from lab.ovn.cluster import Cluster, Object, annotations_of, name, spec
from lab.ovn.model import Acl, AddressSet, PortGroup, SwitchPort
from lab.ovn.nics import allocated
from testbed.contract import nic_annotation

DROP, ALLOW, BASE, HIGHEST = 2003, 2004, 2005, 18484
DENY_ALL = "kubeovn_deny_all"
DIRECTIONS = (("to-lport", "outport", "src", "ingressRules"), ("from-lport", "inport", "dst", "egressRules"))


def group_name(group: str) -> str:
    """Port group of a security group: ``ovn.sg.<name>`` without dashes."""
    return f"ovn.sg.{group}".replace("-", ".")


def security_groups(cluster: Cluster, ports: Iterable[SwitchPort]) -> tuple[list[PortGroup], list[AddressSet]]:
    """Port groups and address sets of every SecurityGroup, and the group that denies its members everything else."""
    members = _members(cluster, {port.name: port for port in ports})
    existing = {name(group) for group in cluster.all("SecurityGroup")}
    groups, sets = [], []
    for group in cluster.all("SecurityGroup"):
        own = members.get(name(group), [])
        addresses = frozenset(port.addresses[0].split()[1] for port in own)
        sets.append(AddressSet(f"{group_name(name(group))}.associated.v4", addresses))
        groups.append(PortGroup(group_name(name(group)), frozenset(p.name for p in own), frozenset(_acls(group))))
    denied = {port.name for group, own in members.items() if group in existing for port in own}
    if denied:
        pg = group_name(DENY_ALL)
        drops = {Acl(way, DROP, f"{side} == @{pg} && ip", "drop") for way, side, _, _ in DIRECTIONS}
        groups.append(PortGroup(pg, frozenset(denied), frozenset(drops)))
    return groups, sets


def _members(cluster: Cluster, ports: Mapping[str, SwitchPort]) -> dict[str, list[SwitchPort]]:
    members: dict[str, list[SwitchPort]] = {}
    for pod in cluster.pods():
        for provider in allocated(pod):
            port = ports.get(port_name(pod, provider))
            for group in (annotations_of(pod).get(nic_annotation("security_groups", provider)) or "").split(","):
                if port is not None and group.strip():
                    members.setdefault(group.strip(), []).append(port)
    return members


def _acls(group: Object) -> Iterator[Acl]:
    pg = group_name(name(group))
    for way, side, end, rules in DIRECTIONS:
        if spec(group).get("allowSameGroupTraffic"):
            yield Acl(way, ALLOW, f"{side} == @{pg} && ip4 && ip4.{end} == ${pg}.associated.v4", "allow-related")
        offer, request = (67, 68) if way == "to-lport" else (68, 67)
        yield Acl(way, BASE, f"{side} == @{pg} && arp", "allow-related")
        yield Acl(way, BASE, f"{side} == @{pg} && udp.src == {offer} && udp.dst == {request} && ip4", "allow-related")
        for rule in spec(group).get(rules) or ():
            if str(rule.get("ipVersion") or "ipv4") == "ipv4":
                yield _rule(rule, way, f"{side} == @{pg} && ip4", f"ip4.{end}")


def _rule(rule: Mapping[str, Any], way: str, base: str, key: str) -> Acl:
    remote = (
        f"${group_name(str(rule['remoteSecurityGroup']))}.associated.v4"
        if rule.get("remoteType") == "securityGroup"
        else rule["remoteAddress"]
    )
    match = f"{base} && {key} == {remote}"
    protocol = str(rule.get("protocol") or "all")
    if protocol == "icmp":
        match += " && icmp4"
    elif protocol in ("tcp", "udp"):
        match += f" && {rule['portRangeMin']} <= {protocol}.dst <= {rule['portRangeMax']}"
    action = "allow-related" if rule.get("policy") == "allow" else "drop"
    return Acl(way, HIGHEST - int(rule["priority"]), match, action)
