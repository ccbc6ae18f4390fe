"""The Kubernetes objects the network is made of, and the NICs a pod asks for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network
from typing import Any

from testbed.contract import DEFAULT_VPC, MULTUS_NETWORKS, nic_annotation

Object = Mapping[str, Any]

DEFAULT_SUBNET = "ovn-default"
JOIN_SUBNET = "join"
KINDS = (
    "Vpc",
    "Subnet",
    "NetworkAttachmentDefinition",
    "Pod",
    "Namespace",
    "NetworkPolicy",
    "SecurityGroup",
    "Node",
)


def name(obj: Object) -> str:
    """``metadata.name``."""
    return str(obj["metadata"]["name"])


def namespace(obj: Object) -> str:
    """``metadata.namespace``, empty for cluster-scoped objects."""
    return str(obj["metadata"].get("namespace") or "")


def annotations_of(obj: Object) -> Mapping[str, str]:
    """``metadata.annotations``, never None."""
    return obj["metadata"].get("annotations") or {}


def labels_of(obj: Object) -> Mapping[str, str]:
    """``metadata.labels``, never None."""
    return obj["metadata"].get("labels") or {}


def spec(obj: Object) -> Mapping[str, Any]:
    """``spec``, never None."""
    return obj.get("spec") or {}


def reference(obj: Object) -> str:
    """``Kind/name`` or ``Kind/namespace/name``."""
    return "/".join(part for part in (str(obj.get("kind", "")), namespace(obj), name(obj)) if part)


class UnplaceableError(Exception):
    """A pod that cannot be given its NICs yet; the message is for the pod's owner."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Request:
    """One NIC a pod asks for.

    Attributes:
        provider: ``ovn`` for eth0, ``<nad>.<namespace>.ovn`` for the others; prefix of the NIC's annotations.
        interface: name inside the pod.
        subnets: candidate subnets in order; Kube-OVN takes the next one when the one before is full.
    """

    provider: str
    interface: str
    subnets: tuple[str, ...]

    def key(self, what: str) -> str:
        """The annotation of this NIC with the field ``what``."""
        return nic_annotation(what, self.provider)


@dataclass(frozen=True)
class Cluster:
    """Objects by kind and key (``name`` or ``namespace/name``)."""

    objects: Mapping[str, Mapping[str, Object]] = field(default_factory=dict)

    @classmethod
    def of(cls, objects: Iterable[Object]) -> Cluster:
        """Sort objects by their kind; kinds the network does not know are kept and reported by the translation."""
        found: dict[str, dict[str, Object]] = {kind: {} for kind in KINDS}
        for obj in objects:
            key = f"{namespace(obj)}/{name(obj)}" if namespace(obj) else name(obj)
            found.setdefault(str(obj["kind"]), {})[key] = obj
        return cls(found)

    def all(self, kind: str) -> list[Object]:
        """Every object of a kind, by key."""
        return [obj for _, obj in sorted(self.objects.get(kind, {}).items())]

    def get(self, kind: str, key: str) -> Object | None:
        """One object, or None."""
        return self.objects.get(kind, {}).get(key)

    def pods(self) -> list[Object]:
        """Pods that hold their ports: scheduled or waiting, not finished, not on the host's network.

        Source: Kube-OVN ``pkg/controller/pod.go``, ``isPodAlive``.
        """
        return [pod for pod in self.all("Pod") if on_network(pod)]


def on_network(pod: Object) -> bool:
    """Whether the pod holds logical ports."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in ("Succeeded", "Failed") and not spec(pod).get("hostNetwork")


def vpc_of(subnet: Object) -> str:
    """The subnet's VPC; the default one when it names none."""
    return str(spec(subnet).get("vpc") or DEFAULT_VPC)


def cidr_of(subnet: Object) -> IPv4Network:
    """The subnet's IPv4 block.

    Raises:
        ValueError: not one IPv4 CIDR.
    """
    network = ip_network(str(spec(subnet).get("cidrBlock", "")), strict=False)
    if not isinstance(network, IPv4Network):
        raise ValueError(f"cidrBlock {network} is not IPv4")
    return network


def gateway_of(subnet: Object) -> str:
    """The subnet's gateway: as given, or the first host of the block (Kube-OVN ``formatSubnet``)."""
    return str(spec(subnet).get("gateway") or cidr_of(subnet)[1])


def defect(subnet: Object, cluster: Cluster) -> str | None:
    """Why Kube-OVN would not make this subnet ready, or None.

    Source: Kube-OVN ``pkg/controller/subnet.go``, ``handleAddOrUpdateSubnet`` and ``checkSubnetConflict``.
    """
    try:
        block = cidr_of(subnet)
    except ValueError as problem:
        return f"spec.cidrBlock: {problem}"
    vpc = cluster.get("Vpc", vpc_of(subnet))
    if vpc is None and vpc_of(subnet) != DEFAULT_VPC:
        return f"spec.vpc: there is no Vpc {vpc_of(subnet)!r}"
    if vpc is not None and vpc_of(subnet) != DEFAULT_VPC:
        for ns in spec(subnet).get("namespaces") or ():
            if ns not in (spec(vpc).get("namespaces") or ()):
                return f"spec.namespaces: namespace {ns!r} is not among the namespaces of Vpc {vpc_of(subnet)!r}"
    for other in cluster.all("Subnet"):
        if name(other) >= name(subnet) or vpc_of(other) != vpc_of(subnet):
            continue
        try:
            overlaps = cidr_of(other).overlaps(block)
        except ValueError:
            continue
        if overlaps:
            return f"spec.cidrBlock: {block} overlaps {cidr_of(other)} of subnet {name(other)!r} in the same VPC"
    return None


def requests(pod: Object, cluster: Cluster) -> tuple[Request, ...]:
    """The NICs a pod asks for, eth0 first.

    Raises:
        UnplaceableError: a NetworkAttachmentDefinition is missing or malformed.

    Source: Kube-OVN ``pkg/controller/pod.go``, ``getPodKubeovnNets``, ``getPodDefaultSubnet`` and
    ``getPodAttachmentNet``; Multus' ``k8s.v1.cni.cncf.io/networks``.
    """
    default = _default_subnets(pod, cluster)
    nics = [Request("ovn", "eth0", default)]
    for ns, nad, interface in attachments(pod):
        provider = _provider(cluster, ns, nad)
        if provider is None:
            continue
        named = annotations_of(pod).get(nic_annotation("logical_switch", provider))
        bound = [name(subnet) for subnet in cluster.all("Subnet") if spec(subnet).get("provider") == provider]
        # Bound to nothing, Kube-OVN 1.12 falls back to the pod's own subnet.
        nics.append(Request(provider, interface, (named,) if named else tuple(bound) or default))
    return tuple(nics)


def _default_subnets(pod: Object, cluster: Cluster) -> tuple[str, ...]:
    named = annotations_of(pod).get(nic_annotation("logical_switch"))
    if named:
        return (named,)
    ns = cluster.get("Namespace", namespace(pod))
    bound = annotations_of(ns).get(nic_annotation("logical_switch")) if ns else None
    if bound:
        return tuple(part.strip() for part in bound.split(","))
    return namespace_subnets(namespace(pod), cluster)


def namespace_subnets(ns: str, cluster: Cluster) -> tuple[str, ...]:
    """Subnets bound to a namespace, else its VPC's default, else the cluster's.

    A binding gives a default; it refuses nobody who names another subnet.

    Source: Kube-OVN ``pkg/controller/namespace.go``, ``handleAddNamespace``.
    """
    bound = tuple(name(s) for s in cluster.all("Subnet") if ns in (spec(s).get("namespaces") or ()))
    if bound:
        return bound
    for vpc in cluster.all("Vpc"):
        if ns in (spec(vpc).get("namespaces") or ()) and spec(vpc).get("defaultSubnet"):
            return (str(spec(vpc)["defaultSubnet"]),)
    return (DEFAULT_SUBNET,)


def attachments(pod: Object) -> list[tuple[str, str, str]]:
    """``(namespace, name, interface)`` of each secondary network, from Multus' JSON list or its short form.

    Raises:
        UnplaceableError: the annotation is neither.
    """
    text = (annotations_of(pod).get(MULTUS_NETWORKS) or "").strip()
    if not text:
        return []
    if text.startswith("["):
        try:
            items = [(i.get("namespace"), i["name"], i.get("interface")) for i in json.loads(text)]
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise UnplaceableError(
                "InvalidNetworks", f"annotation {MULTUS_NETWORKS} is not Multus' JSON list: {problem}"
            ) from problem
    else:
        items = [_short(item.strip()) for item in text.split(",")]
    return [
        (ns or namespace(pod), nad, interface or f"net{index}") for index, (ns, nad, interface) in enumerate(items, 1)
    ]


def _short(item: str) -> tuple[str, str, str]:
    """``[namespace/]name[@interface]``."""
    path, _, interface = item.partition("@")
    ns, _, nad = path.rpartition("/")
    return ns, nad, interface


def _provider(cluster: Cluster, ns: str, nad: str) -> str | None:
    """The Kube-OVN provider of an attachment, None when another CNI serves it."""
    obj = cluster.get("NetworkAttachmentDefinition", f"{ns}/{nad}")
    if obj is None:
        raise UnplaceableError(
            "NetworkAttachmentMissing", f"there is no NetworkAttachmentDefinition {nad!r} in namespace {ns!r}"
        )
    try:
        config = json.loads(spec(obj).get("config") or "{}")
        plugins = config.get("plugins") or [config]
        return next((str(p.get("provider") or "ovn") for p in plugins if p.get("type") == "kube-ovn"), None)
    except (ValueError, AttributeError) as problem:
        raise UnplaceableError(
            "InvalidNetworkAttachment", f"{ns}/{nad}: spec.config is not CNI JSON: {problem}"
        ) from problem
