"""What Kube-OVN would act on and the translation leaves out, said aloud."""

from __future__ import annotations

from collections.abc import Iterator

from lab.ovn.cluster import KINDS, Cluster, Object, annotations_of, reference, spec, vpc_of
from lab.ovn.model import Untranslated
from testbed.contract import DEFAULT_VPC

# Kube-OVN kinds that change no packet's way by themselves.
INERT = frozenset({"IP", "IPPool", "Vip", "QoSPolicy"})

VPC_FIELDS = {
    "enableExternal": "connects the router to the external network",
    "extraExternalSubnets": "connects the router to external networks",
    "enableBfd": "watches next hops by BFD",
    "bfdPort": "adds a port that answers BFD",
}
SUBNET_FIELDS = {
    "vlan": "makes the subnet an underlay, forwarded by the physical switch",
    "natOutgoingPolicyRules": "translates source addresses on the node",
    "externalEgressGateway": "routes out through an external gateway",
    "u2oInterconnection": "connects an underlay with the overlay",
    "logicalGateway": "routes an underlay in OVN",
    "vips": "adds virtual ports",
    "enableDHCP": "answers DHCP",
    "enableExternalLBAddress": "announces load balancer addresses",
    "namespaceSelectors": "binds namespaces by their labels",
    "enableMulticastSnoop": "snoops multicast",
}
POD_FIELDS = {
    "routes": "adds routes inside the pod",
    "mirror": "copies the port's traffic",
    "ip_pool": "chooses the address from a pool",
    "default_route": "moves the pod's default route to another NIC",
    "eip": "exposes the pod on an external address",
    "snat": "translates the pod's source address",
    "vip": "shares a virtual address",
    "aaps": "shares a virtual address",
    "north_gateway": "routes the pod out through another gateway",
}


def untranslated(cluster: Cluster) -> Iterator[Untranslated]:
    """Everything in the cluster the northbound configuration does not reflect."""
    for kind in sorted(set(cluster.objects) - set(KINDS) - INERT):
        for obj in cluster.all(kind):
            api = str(obj.get("apiVersion", ""))
            if api.startswith(("kubeovn.io/", "policy.networking.k8s.io/")):
                yield Untranslated(reference(obj), "", f"the lab does not build {kind}")
    for vpc in cluster.all("Vpc"):
        yield from _fields(vpc, VPC_FIELDS)
        for index, route in enumerate(spec(vpc).get("staticRoutes") or ()):
            for field in ("ecmpMode", "bfdId"):
                if route.get(field):
                    yield Untranslated(reference(vpc), f"spec.staticRoutes[{index}].{field}", "chooses among next hops")
    for subnet in cluster.all("Subnet"):
        yield from _subnet(subnet)
    for nad in cluster.all("NetworkAttachmentDefinition"):
        if "kube-ovn" not in str(spec(nad).get("config")):
            yield Untranslated(reference(nad), "spec.config", "attaches pods through another CNI")
    for pod in cluster.pods():
        yield from _pod(pod)


def _fields(obj: Object, fields: dict[str, str]) -> Iterator[Untranslated]:
    for field, reason in fields.items():
        if spec(obj).get(field):
            yield Untranslated(reference(obj), f"spec.{field}", reason)


def _subnet(subnet: Object) -> Iterator[Untranslated]:
    yield from _fields(subnet, SUBNET_FIELDS)
    if str(spec(subnet).get("protocol") or "IPv4") != "IPv4":
        yield Untranslated(reference(subnet), "spec.protocol", "carries IPv6")
    provider = str(spec(subnet).get("provider") or "ovn")
    if provider != "ovn" and not provider.endswith(".ovn"):
        yield Untranslated(reference(subnet), "spec.provider", "only assigns addresses for another CNI")
    # Both act on overlay subnets of the default VPC only (Kube-OVN pkg/daemon/gateway.go).
    if vpc_of(subnet) == DEFAULT_VPC:
        if spec(subnet).get("gatewayType") == "centralized":
            yield Untranslated(reference(subnet), "spec.gatewayType", "leaves through one node")
        if spec(subnet).get("natOutgoing"):
            yield Untranslated(reference(subnet), "spec.natOutgoing", "translates source addresses on the node")


def _pod(pod: Object) -> Iterator[Untranslated]:
    for key, value in sorted(annotations_of(pod).items()):
        prefix, _, field = key.partition(".kubernetes.io/")
        if (prefix == "ovn" or prefix.endswith(".ovn")) and field in POD_FIELDS and value:
            yield Untranslated(reference(pod), f"metadata.annotations[{key}]", POD_FIELDS[field])
    if annotations_of(pod).get("v1.multus-cni.io/default-network"):
        yield Untranslated(
            reference(pod), "metadata.annotations[v1.multus-cni.io/default-network]", "replaces the pod's eth0"
        )
