"""The Kubernetes objects the network is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network
from typing import Any

from testbed.contract import DEFAULT_VPC

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
