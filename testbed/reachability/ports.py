"""Logical switch ports: the NICs of every pod template, by Kube-OVN's and Multus' annotations."""

from __future__ import annotations

import json
import re
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


def namespace_labels(name: str, namespaces: Mapping[str, Object]) -> dict[str, Any]:
    """A namespace's labels, with the one that the API server gives each.

    Kubernetes pkg/apis/core/v1/defaults.go, SetDefaults_Namespace.
    """
    declared = namespaces[name].labels if name in namespaces else {}
    return {**declared, c.LABEL_NAMESPACE_NAME: name}


def bindings(
    namespaces: Mapping[str, Object], used: Iterable[str], subnets: Mapping[str, Subnet], vpcs: Iterable[Object]
) -> dict[str, list[Subnet]]:
    """The subnets a pod without a NIC annotation may land on, by namespace; ``used`` are those of any object."""
    found: dict[str, list[Subnet]] = defaultdict(list)
    labels = {name: namespace_labels(name, namespaces) for name in {*namespaces, *used}}
    for net in subnets.values():
        spec = net.obj.spec if net.obj else {}
        names = {str(n) for n in sequence(spec.get("namespaces"))}
        for selector in sequence(spec.get("namespaceSelectors")):
            names |= {n for n, marks in labels.items() if selects(mapping(selector), marks).may}
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


def _cni(text: str, *read: str) -> Any:
    """JSON of CNI, which Go reads: encoding/json takes a key in any case, and the last of several.

    Args:
        text: the JSON.
        read: the keys the model reads.

    Raises:
        ValueError: when it is not JSON, or a key is given twice or as ``read`` in another case.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            fold = key.casefold()
            if fold in found:
                raise ValueError(f"key {key!r} is given twice, in any case of letters")
            if fold in read and key != fold:
                raise ValueError(f"key {key!r} must be written {fold!r}")
            found[fold] = value
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None


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
        for index, item in enumerate(_cni(value, "name", "namespace", "ips")):
            if not isinstance(item, dict) or not isinstance(item.get("name"), str):
                raise ValueError("an entry has no name")
            if not isinstance(item.get("namespace", ""), str):
                raise ValueError("a namespace is not text")
            if item.get("ips"):  # Kube-OVN pkg/controller/pod.go, IPRequest: it goes before the NIC's annotation
                raise ValueError("'ips' gives a NIC another address than its annotation")
            yield str(item.get("namespace") or pod.namespace), item["name"], index
        return
    for index, part in enumerate(value.split(",")):
        namespace, _, name = part.strip().rpartition("/")
        yield namespace or pod.namespace, name.split("@")[0], index


def _provider(attachment: Object) -> str:
    """The Kube-OVN provider of a NetworkAttachmentDefinition.

    Kube-OVN's controller takes ``<name>.<namespace>.ovn`` (pkg/controller/pod.go, getPodAttachmentNet), its CNI plugin
    the configuration's own: where they differ, the NIC is not the one the annotations describe.

    Raises:
        ValueError: when its configuration is not one Kube-OVN network of that provider.
    """
    config = _cni(str(attachment.spec.get("config")), "type", "provider", "plugins", "ipam")
    if not isinstance(config, dict) or config.get("type") != "kube-ovn" or "plugins" in config:
        raise ValueError("is not a kube-ovn network: OVN does not isolate it")
    provider = f"{attachment.name}.{attachment.namespace}.ovn"
    if config.get("provider") != provider:
        raise ValueError(f"has provider {config.get('provider')!r}, not {provider!r}: what it attaches is unknown")
    return provider


class Placer:
    """Places pods on switches."""

    def __init__(self, objects: tuple[Object, ...], subnets: dict[str, Subnet]) -> None:
        self.subnets = subnets
        namespaces = {o.name: o for o in objects if o.kind == "Namespace" and o.group == ""}
        vpcs = [o for o in objects if o.kind == "Vpc" and o.group == "kubeovn.io"]
        self.bound = bindings(namespaces, {o.namespace for o in objects if o.namespace}, subnets, vpcs)
        self.default = [s for s in subnets.values() if s.obj and s.obj.spec.get("default") is True] or [
            subnets[DEFAULT_SUBNET]
        ]
        self.attachments = {
            (o.namespace, o.name): o
            for o in objects
            if o.kind == "NetworkAttachmentDefinition" and o.group == "k8s.cni.cncf.io"
        }
        # Namespaces whose pods take addresses from an IPPool (Kube-OVN pkg/controller/ippool.go and namespace.go).
        self.pooled = {n for n, o in namespaces.items() if o.annotations.get(c.nic_annotation("ip_pool"))}
        for pool in (o for o in objects if o.kind == "IPPool" and o.group == "kubeovn.io"):
            self.pooled |= {str(n) for n in sequence(pool.spec.get("namespaces"))}
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
            self._hazard(
                pod,
                path,
                f"the list of networks cannot be read: {error}",
                "write it as a JSON list of name and namespace",
            )
            wanted = []
        for namespace, name, _ in wanted:
            attachment = self.attachments.get((namespace, name))
            if attachment is None:
                why = f"NetworkAttachmentDefinition {namespace}/{name} is not among the resources"
                self._hazard(pod, path, why, "declare it here, or remove it from the list")
                continue
            try:
                provider = _provider(attachment)
            except ValueError as error:
                why = f"NetworkAttachmentDefinition {namespace}/{name} {error}"
                self._hazard(pod, path, why, "attach kube-ovn networks only, each by its own provider")
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
        if not _listed(value("ip_pool")) or (provider is None and not pinned and pod.namespace in self.pooled):
            path = pod.annotation(c.nic_annotation("ip_pool", provider))
            why = "it takes its address from an IPPool, which may be of another subnet"
            self._hazard(pod, path, why, "give its address by ip_address instead, and remove the pool")
        security = pod.annotation(c.nic_annotation("port_security", provider))
        return [
            Port(pod, nic, net, _addresses(net, pinned), secured, provider is None, origin, security)
            for net, origin in names
        ]


def _listed(pool: Any) -> bool:
    """Whether an ``ip_pool`` names no IPPool: it is absent, or a list of addresses, each in its subnet or refused."""
    return pool in (None, "") or all(space.is_address(part.strip()) for part in re.split("[;,]", str(pool)))


def _addresses(net: Subnet, pinned: tuple[Interval, ...]) -> tuple[Interval, ...]:
    """The pinned addresses; with the whole subnet's when one lies outside it, since then another may be given."""
    inside = pinned and all(any(low <= a and b <= high for low, high in net.cidrs) for a, b in pinned)
    return pinned if inside else (*pinned, *net.cidrs)
