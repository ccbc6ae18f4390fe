"""What Kube-OVN's daemon does for a node itself: it names the node's chassis and plugs its port on the join switch.

All nodes of a lab are on one machine with one ovn-controller, which serves as the first node; the others have a chassis
that carries no packets. The first node's port is the machine's own way to pods of the default VPC: the interface
``ovn0`` in the fabric's network namespace, so that nothing of it shows on the machine.

Source: Kube-OVN ``pkg/daemon/ovs_linux.go``, ``configureNodeNic``; ``cmd/daemon/cniserver.go``, ``initChassisAnno``;
``pkg/controller/gc.go``, ``gcChassis``, for who keeps which chassis.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from lab.api import MERGE, Api
from lab.ovn.daemons import BRIDGE, FabricError, command, sockets
from lab.ovn.ports import MTU, wait
from lab.paths import Paths
from testbed.contract import nic_annotation

INTERFACE = "ovn0"
LOOPBACK = IPv4Address("127.0.0.1")  # ovn-controller's own; the next are the other chassis'
CHASSIS = "ovn.kubernetes.io/chassis"
TAGGED = "external_ids:vendor=kube-ovn"
PATIENCE = 60.0  # seconds


def join(paths: Paths, nodes: Sequence[str]) -> None:
    """Give every node its chassis, and plug the first node's port once the controller has given it its address.

    Args:
        paths: the lab.
        nodes: names of registered nodes; the first is the one that ovn-controller serves as.

    Raises:
        FabricError: a command failed, or the controller does not take a node within 60 s.
        ApiError: a node is not registered.
    """
    api, at, deadline = Api(paths), sockets(paths), time.monotonic() + PATIENCE
    for node in nodes:
        api.patch(f"/api/v1/nodes/{node}", {"metadata": {"annotations": {CHASSIS: node}}}, MERGE)
    # Until it has seen these annotations the controller removes chassis as nobody's; those it keeps it tags.
    while missing := set(nodes) - set(at.sbctl("--bare", "--columns=name", "find", "Chassis", TAGGED).split()):
        _wait(deadline, f"Kube-OVN has not taken the chassis of {', '.join(sorted(missing))}")
        for number, node in enumerate(nodes[1:], 1):
            add = ("--may-exist", "chassis-add", node, "geneve", str(LOOPBACK + number))
            at.sbctl(*add, "--", "set", "Chassis", node, f"hostname={node}")
    path = f"/api/v1/nodes/{nodes[0]}"
    while (marks := api.get(path)["metadata"]["annotations"]).get(nic_annotation("allocated")) != "true":
        _wait(deadline, f"Kube-OVN has given node {nodes[0]} no address")
    _plug(paths, marks)


def _wait(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise FabricError(f"{what} within {PATIENCE:.0f} s")
    time.sleep(0.1)


def _plug(paths: Paths, marks: Mapping[str, str]) -> None:
    address, mac, cidr, gateway = (marks[nic_annotation(f)] for f in ("ip_address", "mac_address", "cidr", "gateway"))
    sockets(paths).vsctl(
        *("--", "--may-exist", "add-port", BRIDGE, INTERFACE),
        *("--", "set", "Interface", INTERFACE, "type=internal", f"mtu_request={MTU}", f'mac="{mac}"'),
        f"external_ids:iface-id={marks['ovn.kubernetes.io/port_name']}",
    )
    lines = (
        "link set lo up",
        f"link set {INTERFACE} address {mac} up",
        f"address replace {address}/{IPv4Network(cidr).prefixlen} dev {INTERFACE}",
        f"route replace default via {gateway} dev {INTERFACE}",
    )
    command("nsenter", f"--net=/run/netns/{paths.fabric}", "ethtool", "-K", INTERFACE, "tx", "off")
    command("ip", "-n", paths.fabric, "-batch", "-", text="\n".join(lines) + "\n")
    wait(paths, [INTERFACE])
