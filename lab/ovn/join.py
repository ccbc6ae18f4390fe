"""The machine's own place in the network: the node's port on the join switch.

A real node has the interface ``ovn0`` on switch ``join``, through which kubelet and kube-proxy reach pods of the
default VPC. The lab's is inside the fabric's network namespace, so that nothing of it shows on the machine.

Source: Kube-OVN ``pkg/daemon/ovs_linux.go``, ``configureNodeNic``.
"""

from __future__ import annotations

from typing import Any

from lab.ovn.addresses import mac_of
from lab.ovn.cluster import JOIN_SUBNET
from lab.ovn.daemons import BRIDGE, command, sockets
from lab.ovn.defaults import JOIN_CIDR, JOIN_GATEWAY
from lab.ovn.ports import MTU, wait
from lab.paths import Paths
from testbed.contract import nic_annotation

INTERFACE = "ovn0"
ADDRESS = "100.64.0.2"
PREFIX = JOIN_CIDR.partition("/")[2]


def node(paths: Paths) -> dict[str, Any]:
    """The node object that stands for the machine on the join subnet; its port is ``node-<lab>``."""
    fields = {
        "allocated": "true",
        "logical_switch": JOIN_SUBNET,
        "ip_address": ADDRESS,
        "mac_address": mac_of(JOIN_SUBNET, ADDRESS),
        "cidr": JOIN_CIDR,
        "gateway": JOIN_GATEWAY,
    }
    annotations = {nic_annotation(field): value for field, value in fields.items()}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": paths.name, "annotations": annotations}}


def attach(paths: Paths) -> None:
    """Create the interface, with its address and the way to the default VPC. Idempotent.

    Raises:
        FabricError: a command failed, or the logical port does not exist yet.
    """
    mac = mac_of(JOIN_SUBNET, ADDRESS)
    sockets(paths).vsctl(
        *("--", "--may-exist", "add-port", BRIDGE, INTERFACE),
        *("--", "set", "Interface", INTERFACE, "type=internal", f"mtu_request={MTU}", f'mac="{mac}"'),
        f"external_ids:iface-id=node-{paths.name}",
    )
    lines = (
        "link set lo up",
        f"link set {INTERFACE} address {mac} up",
        f"address replace {ADDRESS}/{PREFIX} dev {INTERFACE}",
        f"route replace default via {JOIN_GATEWAY} dev {INTERFACE}",
    )
    command("nsenter", f"--net=/run/netns/{paths.fabric}", "ethtool", "-K", INTERFACE, "tx", "off")
    command("ip", "-n", paths.fabric, "-batch", "-", text="\n".join(lines) + "\n")
    wait(paths, [INTERFACE])
