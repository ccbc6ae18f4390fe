"""A pod's NICs: read from the annotations that Kube-OVN's controller leaves, plugged into Open vSwitch as veths.

Source: Kube-OVN ``pkg/daemon/handler.go``, ``handleAdd``; ``pkg/daemon/ovs_linux.go``, ``configureNic``;
``pkg/ovs/util.go``, ``PodNameToPortName``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from typing import TYPE_CHECKING

from lab.ovn.daemons import BRIDGE, command, sockets
from lab.paths import Paths
from testbed.contract import MULTUS_NETWORKS, nic_annotation

if TYPE_CHECKING:  # the nodes' plugin starts for every pod, and has no use for the client that this would load
    from lab.api import Object

MTU = 1400  # Kube-OVN: the node's 1500 less the Geneve header
WAIT = 60  # seconds until ovn-controller has installed a port's flows


@dataclass(frozen=True)
class Nic:
    """One network interface of a pod.

    Attributes:
        interface: name inside the pod, ``eth0`` or ``netI``.
        mac: hardware address.
        address: IP address with the subnet's prefix length.
        gateway: the subnet's gateway; eth0's is the pod's default route.
        port: logical switch port.
        router: logical router port that has the gateway's address.
    """

    interface: str
    mac: str
    address: IPv4Interface
    gateway: str
    port: str
    router: str

    @property
    def host(self) -> str:
        """Name of the veth's end in the fabric: at most 15 characters, one a logical port."""
        return f"v{hashlib.sha256(self.port.encode()).hexdigest()[:13]}"


def nics(pod: Object) -> list[Nic] | None:
    """The NICs of a pod, eth0 first; None until the controller has allocated all of them and routed eth0.

    The controller's events about the pod say why when it takes long.
    """
    meta = pod["metadata"]
    marks, base = meta.get("annotations") or {}, f"{meta['name']}.{meta['namespace']}"
    found = []
    for provider, interface in (("ovn", "eth0"), *_attachments(pod)):

        def value(field: str, provider: str = provider) -> str:
            return str(marks.get(nic_annotation(field, provider), ""))

        if value("allocated") != "true" or (interface == "eth0" and value("routed") != "true"):
            return None
        address = IPv4Interface(f"{value('ip_address')}/{IPv4Network(value('cidr')).prefixlen}")
        port = base if provider == "ovn" else f"{base}.{provider}"
        router = f"{value('logical_router')}-{value('logical_switch')}"
        found.append(Nic(interface, value("mac_address"), address, value("gateway"), port, router))
    return found


def _attachments(pod: Object) -> list[tuple[str, str]]:
    """Provider and interface of each further network of a pod, as Multus reads ``k8s.v1.cni.cncf.io/networks``."""
    own, text = pod["metadata"]["namespace"], (pod["metadata"].get("annotations") or {}).get(MULTUS_NETWORKS) or ""
    if text.strip().startswith("["):
        items = [(one.get("namespace"), one["name"], one.get("interface")) for one in json.loads(text)]
    else:  # [namespace/]name[@interface], ...
        parts = [item.strip().partition("@") for item in text.split(",") if item.strip()]
        items = [(path.rpartition("/")[0], path.rpartition("/")[2], interface) for path, _, interface in parts]
    return [(f"{nad}.{ns or own}.ovn", interface or f"net{i}") for i, (ns, nad, interface) in enumerate(items, 1)]


def plug(paths: Paths, netns: str, nics: Sequence[Nic], sandbox: str) -> None:
    """Connect a pod's network namespace to the fabric; returns when its packets flow.

    Idempotent: what a plug cut short has left is made anew, and what a pod of this name had is taken over.

    Args:
        paths: the lab.
        netns: name of the pod's network namespace, which exists.
        nics: the pod's NICs; the default route goes through eth0 only.
        sandbox: what ``unplug`` will find them by.

    Raises:
        FabricError: a command failed, or the flows did not come within 60 s.
    """
    _remove(paths, [n.host for n in nics])
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
        arguments += [f"external_ids:sandbox={sandbox}", f"external_ids:pod_netns={netns}"]
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


def unplug(paths: Paths, sandbox: str) -> None:
    """Disconnect what was plugged for a sandbox; nothing may be there any more.

    Raises:
        FabricError: Open vSwitch does not answer.
    """
    found = sockets(paths).vsctl("--bare", "--columns=name", "find", "Interface", f"external_ids:sandbox={sandbox}")
    _remove(paths, found.split())


def namespaces(paths: Paths) -> dict[str, str]:
    """The network namespace, by name, that each logical port is plugged into.

    Raises:
        FabricError: Open vSwitch does not answer.
    """
    table = json.loads(sockets(paths).vsctl("--format=json", "--columns=external_ids", "list", "Interface"))
    rows = (dict(row[0][1]) for row in table["data"])
    return {row["iface-id"]: row["pod_netns"] for row in rows if "pod_netns" in row}


def _remove(paths: Paths, hosts: Sequence[str]) -> None:
    if hosts:
        arguments = [word for host in hosts for word in ("--", "--if-exists", "del-port", BRIDGE, host)]
        sockets(paths).vsctl(*arguments)
        present = command("ip", "-n", paths.fabric, "-o", "link")
        _batch(*(f"link delete {host}" for host in hosts if f" {host}@" in present), netns=paths.fabric)


def _batch(*lines: str, netns: str = "") -> None:
    if lines:
        command("ip", *(("-n", netns) if netns else ()), "-batch", "-", text="\n".join(lines) + "\n")
