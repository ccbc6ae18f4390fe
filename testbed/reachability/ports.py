"""Logical switch ports: the NICs of every pod template, by Kube-OVN's and Multus' annotations."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, Path_, mapping, sequence
from testbed.reachability import space
from testbed.reachability.acl import Origin, Rule, ordered
from testbed.reachability.networks import DEFAULT_SUBNET, Hazard, Subnet
from testbed.reachability.space import Interval
from testbed.selectors import selects
from testbed.workloads import Pod

DEFAULT_NETWORK = "v1.multus-cni.io/default-network"
# Annotations that let a port send or take more than its own address.
LOOSE = ("layer2_forward", "aaps", "vip", "port_vips")


@dataclass(frozen=True, eq=False)
class Port:
    """One NIC of a pod on one switch.

    Attributes:
        nic: ``eth0`` or the secondary interface's provider.
        addresses: those it may have; the whole subnet's when none is pinned.
        secured: port security is on, so it sends only from and takes only its own addresses.
        origin: the field that places it here.
    """

    pod: Pod
    nic: str
    subnet: Subnet
    addresses: tuple[Interval, ...]
    secured: bool
    primary: bool
    origin: Origin
    security: Path_
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()

    @cached_property
    def arriving(self) -> tuple[Rule, ...]:
        """Rules on packets the switch delivers to this port (to-lport)."""
        return ordered((*self.subnet.to_port, *self.ingress)) if self.ingress else self.subnet.to_port

    @cached_property
    def leaving(self) -> tuple[Rule, ...]:
        """Rules on packets this port sends (from-lport)."""
        return ordered((*self.subnet.from_port, *self.egress)) if self.egress else self.subnet.from_port


def bindings(
    namespaces: Mapping[str, Object], subnets: Mapping[str, Subnet], vpcs: Iterable[Object]
) -> dict[str, list[Subnet]]:
    """The subnets a pod without a NIC annotation may land on, by namespace."""
    found: dict[str, list[Subnet]] = defaultdict(list)
    for net in subnets.values():
        spec = net.obj.spec if net.obj else {}
        names = {str(n) for n in sequence(spec.get("namespaces"))}
        for selector in sequence(spec.get("namespaceSelectors")):
            names |= {n for n, o in namespaces.items() if selects(mapping(selector), o.labels).may}
        for name in names:
            found[name].append(net)
    for vpc in vpcs:
        default = subnets.get(str(vpc.spec.get("defaultSubnet")))
        for name in sequence(vpc.spec.get("namespaces")) if default else ():
            if default and default not in found[str(name)]:
                found[str(name)].append(default)
    for name, obj in namespaces.items():
        for part in str(obj.annotations.get(c.nic_annotation("logical_switch")) or "").split(","):
            net_ = subnets.get(part.strip())
            if net_ and net_ not in found[name]:
                found[name].append(net_)
    return found


def _attachments(pod: Pod) -> Iterator[tuple[str, str, int | None]]:
    """``(namespace, name, index)`` of each secondary network asked for.

    Raises:
        ValueError: when the annotation cannot be read.
    """
    value = pod.annotations.get(c.MULTUS_NETWORKS)
    if value in (None, ""):
        return
    if not isinstance(value, str):
        raise ValueError("not text")
    if value.lstrip().startswith("["):
        for index, item in enumerate(json.loads(value)):
            if not isinstance(item, dict) or not isinstance(item.get("name"), str):
                raise ValueError("an entry has no name")
            yield str(item.get("namespace") or pod.namespace), item["name"], index
        return
    for index, part in enumerate(value.split(",")):
        namespace, _, name = part.strip().rpartition("/")
        yield namespace or pod.namespace, name.split("@")[0], index


def _provider(attachment: Object) -> str:
    """The Kube-OVN provider of a NetworkAttachmentDefinition.

    Raises:
        ValueError: when its configuration is not one Kube-OVN network.
    """
    config = json.loads(str(attachment.spec.get("config")))
    if not isinstance(config, dict) or config.get("type") != "kube-ovn" or "plugins" in config:
        raise ValueError("not a kube-ovn network")
    return str(config.get("provider") or "ovn")


class Placer:
    """Places pods on switches."""

    def __init__(self, objects: tuple[Object, ...], subnets: dict[str, Subnet]) -> None:
        self.subnets = subnets
        namespaces = {o.name: o for o in objects if o.kind == "Namespace" and o.group == ""}
        self.bound = bindings(namespaces, subnets, [o for o in objects if o.kind == "Vpc" and o.group == "kubeovn.io"])
        self.default = [s for s in subnets.values() if s.obj and s.obj.spec.get("default") is True] or [
            subnets[DEFAULT_SUBNET]
        ]
        self.attachments = {(o.namespace, o.name): o for o in objects if o.kind == "NetworkAttachmentDefinition"}
        self.by_provider: dict[str, list[Subnet]] = defaultdict(list)
        for net in subnets.values():
            if net.provider != "ovn":
                self.by_provider[net.provider].append(net)
        self.hazards: list[Hazard] = []

    def ports(self, pod: Pod) -> list[Port]:
        """Every NIC of ``pod``; what cannot be told becomes a hazard on it."""
        if pod.spec.get("hostNetwork") is True:
            self._hazard(pod, pod.path("spec", "hostNetwork"), "it shares the node's network", "remove hostNetwork")
        if DEFAULT_NETWORK in pod.annotations:
            path = pod.annotation(DEFAULT_NETWORK)
            self._hazard(pod, path, "it replaces eth0 by another network", "remove the annotation")
        primary = self._nics(pod, None, "eth0", self.bound.get(pod.namespace) or self.default)
        found = list(primary)
        path = pod.annotation(c.MULTUS_NETWORKS)
        try:
            wanted = list(_attachments(pod))
        except ValueError as error:
            self._hazard(pod, path, f"the list of networks cannot be read: {error}", "write it as a JSON list")
            wanted = []
        for namespace, name, _ in wanted:
            attachment = self.attachments.get((namespace, name))
            if attachment is None:
                why = f"NetworkAttachmentDefinition {namespace}/{name} is not among the resources"
                self._hazard(pod, path, why, "declare it here, or remove it from the list")
                continue
            try:
                provider = _provider(attachment)
            except ValueError:
                why = (
                    f"NetworkAttachmentDefinition {namespace}/{name} is not a kube-ovn network: OVN does not isolate it"
                )
                self._hazard(pod, path, why, "attach kube-ovn networks only")
                continue
            fallback = self.by_provider.get(provider) or [p.subnet for p in primary]
            found += self._nics(pod, provider, provider, fallback)
        return found

    def _hazard(self, pod: Pod, path: Path_, reason: str, repair: str) -> None:
        self.hazards.append(Hazard(Origin(pod.owner, path), reason, repair, pod=pod.name))

    def _nics(self, pod: Pod, provider: str | None, nic: str, fallback: list[Subnet]) -> list[Port]:
        def value(field: str) -> Any:
            return pod.annotations.get(c.nic_annotation(field, provider))

        placement = pod.annotation(c.nic_annotation("logical_switch", provider))
        switch = value("logical_switch")
        if switch in (None, ""):
            names = [(net, Origin(pod.owner, placement, f"absent, so {net.name}")) for net in fallback]
        else:
            names = []
            for part in str(switch).split(","):
                net_ = self.subnets.get(part.strip())
                if net_ is None:
                    why = f"subnet {part.strip()} is not among the resources"
                    self._hazard(pod, placement, why, f"declare Subnet {part.strip()} here, or name a declared one")
                else:
                    names.append((net_, Origin(pod.owner, placement, f"on {net_.name}")))
        loose = any(value(field) not in (None, "", "false") for field in LOOSE)
        secured = value("port_security") == "true" and not loose
        pinned: tuple[Interval, ...] = ()
        if value("ip_address"):
            try:
                pinned = space.networks(value("ip_address"))
            except ValueError:
                path = pod.annotation(c.nic_annotation("ip_address", provider))
                self._hazard(pod, path, "its address cannot be read", "give one address, or remove the annotation")
        security = pod.annotation(c.nic_annotation("port_security", provider))
        return [
            Port(pod, nic, net, _addresses(net, pinned), secured, provider is None, origin, security)
            for net, origin in names
        ]


def _addresses(net: Subnet, pinned: tuple[Interval, ...]) -> tuple[Interval, ...]:
    """The pinned addresses; with the whole subnet's when one lies outside it, since then another may be given."""
    inside = pinned and all(any(low <= a and b <= high for low, high in net.cidrs) for a, b in pinned)
    return pinned if inside else (*pinned, *net.cidrs)
