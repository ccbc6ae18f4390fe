"""The NICs a pod asks for, and those it was given."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lab.ovn.cluster import DEFAULT_SUBNET, Cluster, Object, annotations_of, name, namespace, spec
from testbed.contract import MULTUS_NETWORKS, nic_annotation


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


def allocated(pod: Object) -> list[str]:
    """Providers of the NICs that have their addresses, whatever became of their attachments since."""
    suffix = ".kubernetes.io/allocated"
    return [
        k.removesuffix(suffix) for k, v in sorted(annotations_of(pod).items()) if k.endswith(suffix) and v == "true"
    ]


def unserved(pod: Object, cluster: Cluster) -> UnplaceableError | None:
    """Why a pod's networks include one of another CNI, which Multus would call and the lab does not have, or None."""
    for ns, nad, _ in attachments(pod):
        if _provider(cluster, ns, nad) is None:
            message = f"NetworkAttachmentDefinition {ns}/{nad} is another CNI's; allowed in the lab is type kube-ovn"
            return UnplaceableError("UnsupportedAttachment", message)
    return None


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
