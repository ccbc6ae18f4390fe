"""Every property of Kube-OVN's and Multus' kinds and annotations, and what the policies make of it.

The model, ``hardened-pods`` and ``docs/properties.md`` read this one table. What is not in it is a hazard: no supported
release is known to have it.

Source: Kube-OVN's definitions and ``pkg/util/const.go``, 1.12 to 1.16.2; Multus' ``NetworkSelectionElement``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from testbed.manifests import Path_, Unknown

Status = Literal["modelled", "harmless", "hazard"]


@dataclass(frozen=True)
class Property:
    """What the policies make of one property.

    Attributes:
        status: ``modelled``: its value decides a verdict; ``harmless``: it opens nothing; ``hazard``: nothing is proved
            about what it touches.
        why: the reason, except of what is modelled.
    """

    status: Status
    why: str = ""


class Table(dict[str, Property]):
    """Properties by name: ``list[].part`` and ``mapping.part`` are parts of others."""

    @cached_property
    def wholes(self) -> frozenset[str]:
        """The beginning of each name that is a part: ``list[].`` or ``mapping.``."""
        return frozenset(name[: at + 1] for name in self for at, mark in enumerate(name) if mark == ".")


TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("namespaces", "namespaceSelectors", "allowSubnets", "acls", "plugins"), (list, tuple)),
    **dict.fromkeys(("staticRoutes", "policyRoutes", "vpcPeerings"), (list, tuple)),
    **dict.fromkeys(("private", "default", "allowEWTraffic"), (bool,)),
    **dict.fromkeys(("vpc", "gateway", "provider", "defaultSubnet"), (str,)),
}
UNKNOWN = Property("hazard", "no supported release is known to have it")


def _table(modelled: str, harmless: Mapping[str, str], hazards: Mapping[str, str]) -> Table:
    """A table from names that are split at blanks."""
    found = Table({name: Property("modelled") for name in modelled.split()})
    found.update({name: Property("harmless", why) for names, why in harmless.items() for name in names.split()})
    found.update({name: Property("hazard", why) for names, why in hazards.items() for name in names.split()})
    return found


SUBNET = _table(
    "default vpc protocol namespaces namespaceSelectors cidrBlock gateway provider private allowSubnets allowEWTraffic"
    " acls acls[].action acls[].direction acls[].match acls[].priority",
    {
        "excludeIps": "it takes addresses away",
        "mtu": "the size of packets",
        "gatewayType gatewayNode gatewayNodeSelectors natOutgoing": "a way out of the cluster from the default VPC",
        "disableGatewayCheck": "no ping at the pod's start",
        "disableInterConnection": "it keeps the subnet from other clusters",
        "enableLb": "load balancing, then routing as of any packet",
        "enableDHCP dhcpV4Options dhcpV6Options enableIPv6RA ipv6RAConfigs": "how a pod learns its own address",
        "enableEcmp": "it chooses among gateways of the default VPC",
        "enableMulticastSnoop": "multicast within one subnet",
        "nodeNetwork": "an address range that nodes may have",
    },
    {
        "vlan logicalGateway u2oInterconnection u2oInterconnectionIP u2oFeatures u2oFeatures.overlayOnlyRouting": (
            "traffic leaves OVN on a physical network, and what is beyond it is not modelled"
        ),
        "externalEgressGateway policyRoutingPriority policyRoutingTableID natOutgoingPolicyRules"
        " natOutgoingPolicyRules[].action natOutgoingPolicyRules[].match": (
            "traffic leaves OVN on its nodes, and what is beyond them is not modelled"
        ),
        "vips": "it adds virtual ports that any pod may take",
        "routeTable": "its packets follow routes of their own",
        "enableExternalLBAddress": "its addresses are given to load balancers outside",
    },
)  # fmt: skip
VPC = _table(
    "namespaces defaultSubnet staticRoutes staticRoutes[].policy staticRoutes[].cidr staticRoutes[].nextHopIP"
    " policyRoutes policyRoutes[].action policyRoutes[].match policyRoutes[].nextHopIP vpcPeerings"
    " vpcPeerings[].remoteVpc vpcPeerings[].localConnectIP",
    {
        "staticRoutes[].ecmpMode": "the model follows every route that fits",
        "staticRoutes[].bfdId": "it withdraws a route",
        "policyRoutes[].priority": "the model follows every reroute that fits",
    },
    {
        "enableExternal extraExternalSubnets": "the VPC gets a port on a network outside this model",
        "enableBfd bfdPort bfdPort.enabled bfdPort.ip bfdPort.nodeSelector": "the VPC gets a port that nodes reach",
        "staticRoutes[].routeTable": "the route holds for some subnets only",
    },
)
# Kinds that the model reads, or that carry no traffic by themselves; every other kind of kubeovn.io is a hazard to the
# networks that it names.
KINDS: Mapping[str, Table] = {
    "Subnet": SUBNET,
    "Vpc": VPC,
    "IPPool": _table(
        "subnet namespaces",
        {"ips": "a NIC that takes one is in doubt, whatever they are", "enableAddressSet": "a name for addresses"},
        {},
    ),
    "SecurityGroup": _table(
        "",
        {"allowSameGroupTraffic ingressRules egressRules tier": "a NIC in any group may send and take anything"},
        {},
    ),
    "SwitchLBRule": _table(
        "", {"endpoints namespace ports selector sessionAffinity vip": "load balancing, then routing"}, {}
    ),
    "IP": _table(
        "",
        {
            "attachIps attachMacs attachSubnets containerID ipAddress macAddress namespace nodeName podName podType"
            " subnet v4IpAddress v6IpAddress": "it reserves an address, which an unpinned NIC may have anyway"
        },
        {},
    ),
    "QoSPolicy": _table("", {"bandwidthLimitRules bindingType shared": "it delays or drops packets"}, {}),
    "ProviderNetwork": _table(
        "",
        {
            "autoCreateVlanSubinterfaces customInterfaces defaultInterface exchangeLinkName excludeNodes nodeSelector"
            " preserveVlanInterfaces vlanInterfaces": "a subnet is on it by its vlan alone, which is a hazard"
        },
        {},
    ),
    "Vlan": _table("", {"id provider providerInterfaceName vlanId": "a subnet is on it by its vlan alone"}, {}),
}  # fmt: skip
OUTSIDE: Mapping[str, str] = {
    "VpcNatGateway IptablesEIP IptablesFIPRule IptablesSnatRule IptablesDnatRule": "address translation in a pod",
    "OvnEip OvnFip OvnSnatRule OvnDnatRule RouterLBRule": "address translation on a router",
    "VpcEgressGateway VpcDns Vip": "pods or ports with a NIC on the networks it names",
    "BgpConf EvpnConf DNSNameResolver": "it tells others of the networks it names",
}
# The field of ``<provider>.kubernetes.io/<field>`` on a pod, with provider ``ovn`` for eth0.
NIC = _table(
    "logical_switch ip_address ip_pool port_security security_groups layer2_forward aaps vip port_vips",
    {
        "mac_address": "port security holds for it too",
        "default_route": "which of its own NICs a pod sends by",
        "ingress_rate egress_rate latency limit loss jitter": "it delays or drops packets, and lets none pass",
        "pod_nic_type": "how the interface is made; its port is the same",
        "dhcp-v4-options dhcp-v6-options": "how a pod learns its own address",
        "activation_strategy": "when a port begins to work",
    },
    {
        "routes": "it sends packets by another way than the subnet's",
        "mirror": "it copies the port's packets",
        "eip snat fip_enable fip_name eip_name north_gateway bgp": "it opens a way beyond the subnet",
        "chassis virtualmachine": "Kube-OVN then treats the pod as another kind of port",
        "vpc_nat_gw vpc_nat_gw_init vpc_nat_gw_activated vpc_nat_gw_container_restarted vpc_cidrs vpc_eip vpc_eips"
        " vpc_lb vpc_floating_ips vpc_dnat_md5 vpc_snat_md5 vpc_nat generate-hash": "of Kube-OVN's own gateways' pods",
        "allocated routed cidr gateway logical_router vlan_id provider_network": (
            "Kube-OVN's own record: set beforehand, the NIC is not made as declared"
        ),
        "vf vf_representor": "the NIC is a device of the node, beside OVN's ports",
    },
)
HAZARDOUS = ("security_groups", "layer2_forward", "aaps", "vip", "port_vips")  # modelled, and refused on testbeds' pods
NAMESPACE = _table(
    "logical_switch ip_pool",
    {"cidr exclude_ips": "Kube-OVN's own record, which it writes anew"},
    {},
)
NODE = _table(
    "",
    {
        "allocated cidr gateway ip_address logical_switch mac_address port_name": (
            "Kube-OVN's own record of the node's port on the join network, whose packets are let in anyway"
        ),
        "chassis tunnel_interface node_networks": "which of a node's interfaces carries the tunnels",
    },
    {},
)
SERVICE = _table(
    "",
    {"service_health_check": "whether a backend lives"},
    {
        "vpc switch_lb_vip service_external_ip_from_subnet": "Kube-OVN puts an address on networks for it",
        "attachmentprovider logical_switch lb_svc_img": "Kube-OVN makes a pod for it",
    },
)
POLICY = _table(
    "network_policy_enforcement network_policy_for",
    {"enable_log log_acl_actions acl_log_meter_rate": "what is logged"},
    {},
)
# Of an entry of ``k8s.v1.cni.cncf.io/networks``, and of a NetworkAttachmentDefinition's configuration, in lower case.
SELECTION = _table(
    "name namespace interface",
    {
        "mac": "port security holds for it too",
        "bandwidth": "it delays packets",
        "default-route": "which of its own NICs a pod sends by",
    },
    {
        "ips": "it gives a NIC another address than its annotation",
        "portmappings": "it opens ports of the node",
        "cni-args infiniband-guid ipam-claim-reference deviceid": "a plugin may take it for another network or address",
    },
)
CONFIG = _table(
    "type provider plugins",
    {"cniversion name server_socket": "how the plugin is called"},
    {
        "routes": "it sends packets by another way than the subnet's",
        "ipam": "another plugin gives the address",
        "deviceid vf_driver vhost_user_socket_volume_name vhost_user_socket_name vhost_user_socket_consumption": (
            "the NIC is a device of the node, beside OVN's ports"
        ),
    },
)


def hazards(table: Table, value: Any, path: Path_ = (), name: str = "") -> Iterator[tuple[Path_, str]]:
    """What is set below ``value`` and is no modelled or harmless property of ``table``, with the reason."""
    for key, item in value.items() if isinstance(value, Mapping) else ():
        if item in (None, False, "", [], {}, 0):
            continue
        full, at = f"{name}{key}", (*path, str(key))
        found = table.get(full, UNKNOWN)
        if found.status == "hazard":
            yield at, found.why
        elif not isinstance(item, (*TYPES.get(full, (object,)), Unknown)):
            yield at, f"it is no {TYPES[full][0].__name__}, so what it means is not known"
        elif isinstance(item, (list, tuple)) and f"{full}[]." in table.wholes:
            for index, one in enumerate(item):
                yield from hazards(table, one, (*at, index), f"{full}[].")
        elif f"{full}." in table.wholes:
            yield from hazards(table, item, at, f"{full}.")


def nic_field(key: str) -> tuple[str, str] | None:
    """Provider and field of an annotation ``<provider>.kubernetes.io/<field>``, None for any other.

    The address and MAC of one interface in 1.16, ``ip_address.<interface>``, are the field before the dot.
    """
    domain, _, field = key.rpartition("/")
    if not domain.endswith(".kubernetes.io"):
        return None
    base, dot, _ = field.partition(".")
    return domain.removesuffix(".kubernetes.io"), base if dot and base in ("ip_address", "mac_address") else field


TABLES: Mapping[str, Table] = {
    **{f"{kind} (kubeovn.io)": table for kind, table in KINDS.items()},
    "Pod: `<provider>.kubernetes.io/`": NIC,
    "Namespace: `ovn.kubernetes.io/`": NAMESPACE,
    "Node: `ovn.kubernetes.io/`": NODE,
    "Service: `ovn.kubernetes.io/`": SERVICE,
    "NetworkPolicy: `ovn.kubernetes.io/`": POLICY,
    "Entry of `k8s.v1.cni.cncf.io/networks`": SELECTION,
    "Configuration of a NetworkAttachmentDefinition": CONFIG,
}


def document() -> str:
    """The tables as ``docs/properties.md`` shows them."""
    lines = [
        "# Properties of Kube-OVN and Multus",
        "",
        "What the policies make of each property; `testbed/reachability/properties.py` writes this page.",
        "*Modelled*: its value decides a verdict. *Harmless*: it opens nothing. *Hazard*: nothing is proved",
        "about the networks it touches, so it is refused there. A property that is not here is a hazard.",
    ]
    for title, table in TABLES.items():
        lines += ["", f"## {title}", "", "| Property | Status | Why |", "|---|---|---|"]
        groups: dict[Property, list[str]] = {}
        for name, found in table.items():
            groups.setdefault(found, []).append(f"`{name}`")
        lines += [f"| {', '.join(names)} | {found.status} | {found.why} |" for found, names in groups.items()]
    lines += ["", "## Other kinds of kubeovn.io", "", "Each is a hazard to the networks that it names.", ""]
    lines += ["| Kind | What it is |", "|---|---|"]
    lines += [f"| {', '.join(f'`{kind}`' for kind in kinds.split())} | {why} |" for kinds, why in OUTSIDE.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path("docs/properties.md").write_text(document(), encoding="utf-8")
