"""IPAM: which address each NIC gets, as annotations.

Source: Kube-OVN ``pkg/ipam`` and ``pkg/controller/pod.go``, ``reconcileAllocateSubnets`` and ``acquireAddress``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from lab.ovn.cluster import (
    JOIN_SUBNET,
    Cluster,
    Object,
    annotations_of,
    cidr_of,
    defect,
    gateway_of,
    name,
    namespace,
    reference,
    spec,
)
from lab.ovn.nics import Request, UnplaceableError, allocated, requests
from testbed.contract import nic_annotation


def mac_of(*parts: str) -> str:
    """A locally administered MAC, the same for the same parts (Kube-OVN draws one at random)."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x0A, *digest[:5]))


def gateway_mac(gateway: str) -> str:
    """MAC of the router port with this gateway address; gateways of one VPC differ."""
    return mac_of("gateway", gateway)


@dataclass(frozen=True)
class Allocation:
    """What IPAM decided.

    Attributes:
        annotations: new annotations by the reference of the pod or node they belong on; only those that are missing.
        problems: why a pod or node got nothing, by reference.
        using: addresses in use by subnet.
    """

    annotations: Mapping[str, Mapping[str, str]]
    problems: Mapping[str, UnplaceableError]
    using: Mapping[str, frozenset[IPv4Address]]

    def applied(self, cluster: Cluster) -> Cluster:
        """The cluster with these annotations written."""
        objects = {kind: dict(found) for kind, found in cluster.objects.items()}
        for kind in ("Pod", "Node"):
            for key, obj in objects.get(kind, {}).items():
                new = self.annotations.get(reference(obj))
                if new:
                    copy = deepcopy(dict(obj))
                    copy["metadata"]["annotations"] = {**annotations_of(obj), **new}
                    objects[kind][key] = copy
        return Cluster(objects)


@dataclass
class _Pool:
    """One subnet's addresses."""

    subnet: Object
    cidr: IPv4Network
    reserved: frozenset[IPv4Address]
    taken: dict[IPv4Address, str] = field(default_factory=dict)

    @classmethod
    def of(cls, subnet: Object) -> _Pool:
        cidr = cidr_of(subnet)
        excluded = {IPv4Address(gateway_of(subnet)), cidr.network_address, cidr.broadcast_address}
        for item in spec(subnet).get("excludeIps") or ():
            first, _, last = str(item).partition("..")
            start, end = int(IPv4Address(first)), int(IPv4Address(last or first))
            excluded.update(IPv4Address(n) for n in range(start, end + 1) if IPv4Address(n) in cidr)
        return cls(subnet, cidr, frozenset(excluded))

    def take(self, owner: str, wanted: IPv4Address | None) -> IPv4Address | None:
        """The wanted address or the next free one; None when the subnet is full.

        Raises:
            UnplaceableError: the wanted address is outside the subnet, is the gateway's, or is another pod's.
        """
        if wanted is not None:
            where = f"address {wanted} in subnet {name(self.subnet)!r}"
            if wanted not in self.cidr or wanted in (self.cidr.network_address, self.cidr.broadcast_address):
                raise UnplaceableError("AddressOutOfRange", f"{where}: allowed are the hosts of {self.cidr}")
            if str(wanted) == gateway_of(self.subnet):
                raise UnplaceableError("AddressConflict", f"{where} is the gateway's; choose another")
            holder = self.taken.setdefault(wanted, owner)
            if holder != owner:
                raise UnplaceableError(
                    "AddressConflict", f"{where} is held by {holder}; it is retried when that frees it"
                )
            return wanted
        for number in range(int(self.cidr.network_address) + 1, int(self.cidr.broadcast_address)):
            address = IPv4Address(number)
            if address not in self.reserved and address not in self.taken:
                self.taken[address] = owner
                return address
        return None


def capacity(subnet: Object) -> int:
    """How many NICs the subnet can hold."""
    pool = _Pool.of(subnet)
    return pool.cidr.num_addresses - len(pool.reserved)


def allocate(cluster: Cluster) -> Allocation:
    """Give every NIC of every pod, and every node on the join subnet, its address and MAC.

    Addresses already written stay; fixed ones (annotation ``ip_address``) come before free ones, so that a free one
    never takes what another pod names. A pod gets all its NICs or none.
    """
    pools = {name(s): _Pool.of(s) for s in cluster.all("Subnet") if defect(s, cluster) is None}
    result: dict[str, dict[str, str]] = {}
    problems: dict[str, UnplaceableError] = {}
    pods = cluster.pods()
    for pod in pods:
        for provider in allocated(pod):
            pool = pools.get(annotations_of(pod).get(nic_annotation("logical_switch", provider), ""))
            if pool is not None:
                held = IPv4Address(annotations_of(pod)[nic_annotation("ip_address", provider)])
                pool.taken[held] = reference(pod)
    for node in cluster.all("Node"):
        _allocate_node(node, pools, result, problems)
    # Fixed addresses first; then the order of creation, so that names do not decide who gets the last address.
    pods.sort(key=lambda pod: (not _fixed(pod), pod["metadata"].get("creationTimestamp") or "", reference(pod)))
    for pod in pods:
        before = {key: dict(pool.taken) for key, pool in pools.items()}
        try:
            new = _allocate_pod(pod, requests(pod, cluster), pools, cluster)
        except UnplaceableError as problem:
            problems[reference(pod)] = problem
            for key, taken in before.items():
                pools[key].taken = taken
        else:
            if new:
                result[reference(pod)] = new
    return Allocation(result, problems, {key: frozenset(pool.taken) for key, pool in pools.items()})


def _fixed(pod: Object) -> bool:
    return any(key.endswith(".kubernetes.io/ip_address") for key in annotations_of(pod))


def _allocate_pod(
    pod: Object, nics: tuple[Request, ...], pools: Mapping[str, _Pool], cluster: Cluster
) -> dict[str, str]:
    new: dict[str, str] = {}
    for nic in nics:
        if annotations_of(pod).get(nic.key("allocated")) == "true":
            continue
        new.update(_allocate_nic(pod, nic, pools, cluster))
    return new


def _allocate_nic(pod: Object, nic: Request, pools: Mapping[str, _Pool], cluster: Cluster) -> dict[str, str]:
    fixed = annotations_of(pod).get(nic.key("ip_address"))
    try:
        wanted = IPv4Address(fixed) if fixed else None
    except ValueError as problem:
        raise UnplaceableError("InvalidAddress", f"annotation {nic.key('ip_address')}: {problem}") from problem
    for candidate in nic.subnets:
        pool = pools.get(candidate)
        if pool is None:
            subnet = cluster.get("Subnet", candidate)
            why = defect(subnet, cluster) if subnet else "there is no Subnet of this name"
            raise UnplaceableError("SubnetNotReady", f"{nic.interface} on subnet {candidate!r}: {why}")
        address = pool.take(reference(pod), wanted)
        if address is None:
            continue
        mac = annotations_of(pod).get(nic.key("mac_address")) or mac_of(candidate, str(address))
        return {
            nic.key("allocated"): "true",
            nic.key("logical_switch"): candidate,
            nic.key("ip_address"): str(address),
            nic.key("mac_address"): mac,
            nic.key("cidr"): str(pool.cidr),
            nic.key("gateway"): gateway_of(pool.subnet),
        }
    raise UnplaceableError("NoAvailableAddress", f"{nic.interface}: no free address in {', '.join(nic.subnets)}")


def _allocate_node(
    node: Object, pools: Mapping[str, _Pool], result: dict[str, dict[str, str]], problems: dict[str, UnplaceableError]
) -> None:
    """A node's address on the join subnet. Source: Kube-OVN ``pkg/controller/node.go``, ``handleAddNode``."""
    pool = pools.get(JOIN_SUBNET)
    if pool is None:
        return
    fixed = annotations_of(node).get(nic_annotation("ip_address"))
    try:
        address = pool.take(reference(node), IPv4Address(fixed) if fixed else None)
    except UnplaceableError as problem:
        problems[reference(node)] = problem
        return
    if address is not None and annotations_of(node).get(nic_annotation("allocated")) != "true":
        result[reference(node)] = {
            nic_annotation("allocated"): "true",
            nic_annotation("logical_switch"): JOIN_SUBNET,
            nic_annotation("ip_address"): str(address),
            nic_annotation("mac_address"): annotations_of(node).get(nic_annotation("mac_address"))
            or mac_of(JOIN_SUBNET, str(address)),
            nic_annotation("cidr"): str(pool.cidr),
            nic_annotation("gateway"): gateway_of(pool.subnet),
        }


def port_name(pod: Object, provider: str = "ovn") -> str:
    """The logical switch port of a pod's NIC: ``<pod>.<ns>`` or ``<pod>.<ns>.<provider>``.

    Source: Kube-OVN ``pkg/ovs/util.go``, ``PodNameToPortName``.
    """
    base = f"{name(pod)}.{namespace(pod)}"
    return base if provider == "ovn" else f"{base}.{provider}"
