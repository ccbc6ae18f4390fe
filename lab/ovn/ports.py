"""A pod's NICs: read from its annotations, plugged into the fabric as veths.

Source: Kube-OVN ``pkg/daemon/ovs_linux.go``, ``configureNic`` and ``configureContainerNic``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network

from lab.ovn.addresses import port_name
from lab.ovn.cluster import Object, annotations_of
from lab.ovn.daemons import BRIDGE, command, sockets
from lab.ovn.nics import UnplaceableError, attachments
from lab.paths import Paths
from testbed.contract import DOMAIN, nic_annotation

MTU = 1400  # Kube-OVN: the node's 1500 less the Geneve header
WAIT = 60  # seconds until ovn-controller has installed a port's flows
PROBLEM = f"{DOMAIN}/network-problem"  # why a pod has no addresses yet, for the node agent to show


@dataclass(frozen=True)
class Nic:
    """One network interface of a pod.

    Attributes:
        interface: name inside the pod, ``eth0`` or ``netI``.
        mac: hardware address.
        address: IP address with the subnet's prefix length.
        gateway: the subnet's gateway; eth0's is the pod's default route.
        port: logical switch port.
    """

    interface: str
    mac: str
    address: IPv4Interface
    gateway: str
    port: str

    @property
    def host(self) -> str:
        """Name of the veth's end in the fabric: at most 15 characters, one a logical port."""
        return f"v{hashlib.sha256(self.port.encode()).hexdigest()[:13]}"


def nics(pod: Object) -> list[Nic] | None:
    """The NICs of a pod, eth0 first; None until the controller has allocated all of them.

    ``problem`` says why when it takes long.
    """
    try:
        wanted = [("ovn", "eth0"), *((f"{nad}.{ns}.ovn", interface) for ns, nad, interface in attachments(pod))]
    except UnplaceableError:
        return None
    found = []
    for provider, interface in wanted:

        def value(field: str, provider: str = provider) -> str:
            return annotations_of(pod).get(nic_annotation(field, provider), "")

        if value("allocated") != "true":
            return None
        prefix = IPv4Network(value("cidr")).prefixlen
        address = IPv4Interface(f"{value('ip_address')}/{prefix}")
        found.append(Nic(interface, value("mac_address"), address, value("gateway"), port_name(pod, provider)))
    return found


def problem(pod: Object) -> str | None:
    """Why the pod has no addresses yet, None when nothing is wrong."""
    return annotations_of(pod).get(PROBLEM) or None


def plug(paths: Paths, netns: str, nics: Sequence[Nic]) -> None:
    """Connect a pod's network namespace to the fabric; returns when its packets flow.

    Idempotent: what a plug cut short has left is made anew.

    Args:
        paths: the lab.
        netns: name of the pod's network namespace, which exists.
        nics: the pod's NICs; the default route goes through eth0 only.

    Raises:
        FabricError: a command failed, or the flows did not come within 60 s.
    """
    unplug(paths, nics)
    _batch(*(f"link add {n.host} netns {paths.fabric} type veth peer name {n.interface} netns {netns}" for n in nics))
    _batch(*(f"link set {n.host} mtu {MTU} up" for n in nics), netns=paths.fabric)
    # Open vSwitch's userspace datapath forwards packets as they are: checksums must be complete when they leave.
    script = 'for i in "$@"; do ethtool -K "$i" tx off; echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; done'
    interfaces = [n.interface for n in nics]
    command("nsenter", f"--net=/run/netns/{netns}", "sh", "-ec", script, "sh", *interfaces)
    lines = ["link set lo up"]
    for n in nics:
        lines += [
            f"link set {n.interface} address {n.mac} mtu {MTU} up",
            f"address add {n.address} dev {n.interface}",
        ]
    lines += [f"route add default via {n.gateway} dev eth0" for n in nics if n.interface == "eth0"]
    _batch(*lines, netns=netns)
    arguments: list[str] = []
    for n in nics:
        arguments += ["--", "add-port", BRIDGE, n.host]
        arguments += ["--", "set", "Interface", n.host, f"external_ids:iface-id={n.port}"]
    sockets(paths).vsctl(f"--timeout={WAIT}", *arguments)
    wait(paths, [n.host for n in nics])


def wait(paths: Paths, interfaces: Sequence[str]) -> None:
    """Return when ovn-controller has installed the flows of these interfaces.

    Raises:
        FabricError: not within 60 s.
    """
    arguments: list[str] = []
    for interface in interfaces:
        arguments += ["--", "wait-until", "Interface", interface, "external_ids:ovn-installed=true"]
    sockets(paths).vsctl(f"--timeout={WAIT}", *arguments)


def unplug(paths: Paths, nics: Sequence[Nic]) -> None:
    """Disconnect a pod's NICs; those that are not there are passed over.

    Raises:
        FabricError: Open vSwitch does not answer.
    """
    arguments = [word for n in nics for word in ("--", "--if-exists", "del-port", BRIDGE, n.host)]
    sockets(paths).vsctl(*arguments)
    present = command("ip", "-n", paths.fabric, "-o", "link")
    _batch(*(f"link delete {n.host}" for n in nics if f" {n.host}@" in present), netns=paths.fabric)


def _batch(*lines: str, netns: str = "") -> None:
    if lines:
        command("ip", *(("-n", netns) if netns else ()), "-batch", "-", text="\n".join(lines) + "\n")
