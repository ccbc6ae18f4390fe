"""From Kubernetes objects to OVN's northbound configuration, as Kube-OVN's controller writes it.

Pure. Kube-OVN's weaknesses are translated too: no port security unless a pod asks for it, namespaces that control no
access, source-based allow rules. Ready for IPv4 overlay networks; everything else is named in ``untranslated``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lab.ovn.addresses import allocate, gateway_mac, mac_of, port_name
from lab.ovn.cluster import (
    JOIN_SUBNET,
    Cluster,
    Object,
    annotations_of,
    cidr_of,
    defect,
    gateway_of,
    name,
    spec,
    vpc_of,
)
from lab.ovn.defaults import with_defaults
from lab.ovn.model import (
    Acl,
    Northbound,
    Policy,
    PortGroup,
    Route,
    Router,
    RouterPort,
    Switch,
    SwitchPort,
)
from lab.ovn.networkpolicy import network_policies
from lab.ovn.nics import allocated
from lab.ovn.securitygroup import security_groups
from lab.ovn.untranslated import untranslated
from testbed.contract import DEFAULT_VPC, nic_annotation

# Kube-OVN pkg/util/const.go.
DEFAULT_DROP, SUBNET_ALLOW, EAST_WEST_ALLOW, NODE_ALLOW = 1000, 1001, 1900, 3000
GATEWAY_POLICY, NODE_POLICY, SUBNET_POLICY = 29000, 30000, 31000


def northbound(objects: Iterable[Object]) -> Northbound:
    """What a cluster with these objects would have in its northbound database.

    Kube-OVN's default VPC and subnets are added where missing, and pods without addresses get them.
    """
    cluster = Cluster.of(with_defaults(objects))
    return translate(allocate(cluster).applied(cluster))


def translate(cluster: Cluster) -> Northbound:
    """Translate objects whose pods and nodes already carry their addresses.

    Subnets that Kube-OVN would not make ready have no switch, and NICs without an allocation or a switch have no port.
    """
    subnets = {name(s): s for s in cluster.all("Subnet") if defect(s, cluster) is None and _overlay(s)}
    ports = [*_subnet_ports(subnets), *_pod_ports(cluster, subnets), *_node_ports(cluster, subnets)]
    groups, sets = network_policies(cluster, {port.name for port in ports})
    sg_groups, sg_sets = security_groups(cluster, ports)
    routers = {name(v) for v in cluster.all("Vpc")} | {vpc_of(s) for s in subnets.values()}
    node_groups = list(_node_groups(cluster, subnets, {port.name for port in ports}))
    return Northbound(
        switches=frozenset(Switch(title, frozenset(_switch_acls(s, subnets))) for title, s in subnets.items()),
        routers=frozenset(_router(vpc, cluster, subnets, node_groups) for vpc in routers),
        switch_ports=frozenset(ports),
        router_ports=frozenset([*_gateways(subnets), *_peerings(cluster)]),
        port_groups=frozenset([*groups, *sg_groups, *node_groups]),
        address_sets=frozenset([*sets, *sg_sets]),
        untranslated=tuple(sorted(untranslated(cluster))),
    )


def _overlay(subnet: Object) -> bool:
    """Whether OVN serves the subnet. Source: Kube-OVN ``isOvnSubnet`` (provider ``ovn`` or ``*.ovn``)."""
    provider = str(spec(subnet).get("provider") or "ovn")
    return provider == "ovn" or provider.endswith(".ovn")


# Switches.


def _switch_acls(subnet: Object, subnets: dict[str, Object]) -> Iterator[Acl]:
    """ACLs of a subnet's switch.

    Source: Kube-OVN ``pkg/ovs/ovn-nb-acl.go``, ``SetLogicalSwitchPrivate`` and ``UpdateLogicalSwitchACL``.
    """
    cidr = str(cidr_of(subnet))
    same = f"ip4.src == {cidr} && ip4.dst == {cidr}"
    if spec(subnet).get("private"):
        yield Acl("to-lport", DEFAULT_DROP, "ip", "drop")
        yield Acl("to-lport", SUBNET_ALLOW, same, "allow-related")
        if JOIN_SUBNET in subnets:
            yield Acl("to-lport", NODE_ALLOW, f"ip4.src == {cidr_of(subnets[JOIN_SUBNET])}", "allow-related")
        for allowed in spec(subnet).get("allowSubnets") or ():
            other = str(allowed).strip()
            if other:
                there = f"(ip4.src == {cidr} && ip4.dst == {other})"
                back = f"(ip4.src == {other} && ip4.dst == {cidr})"
                yield Acl("to-lport", SUBNET_ALLOW, f"{there} || {back}", "allow-related")
    rules = spec(subnet).get("acls") or ()
    if rules and spec(subnet).get("allowEWTraffic"):
        for direction in ("to-lport", "from-lport"):
            yield Acl(direction, EAST_WEST_ALLOW, same, "allow")
    for rule in rules:
        yield Acl(rule["direction"], int(rule["priority"]), rule["match"], rule["action"])


def _subnet_ports(subnets: dict[str, Object]) -> Iterator[SwitchPort]:
    """Source: Kube-OVN ``pkg/ovs/ovn-nb.go``, ``CreateLogicalSwitch`` (``<subnet>-<vpc>`` peers ``<vpc>-<subnet>``)."""
    for title, subnet in subnets.items():
        vpc = vpc_of(subnet)
        yield SwitchPort(f"{title}-{vpc}", title, ("router",), router_port=f"{vpc}-{title}")


def _pod_ports(cluster: Cluster, subnets: dict[str, Object]) -> Iterator[SwitchPort]:
    """Source: Kube-OVN ``pkg/ovs/ovn-nb-logical_switch_port.go``, ``buildLogicalSwitchPort``."""
    for pod in cluster.pods():
        for provider in allocated(pod):

            def mark(field: str, pod: Object = pod, provider: str = provider) -> str:
                return annotations_of(pod).get(nic_annotation(field, provider), "")

            if mark("logical_switch") not in subnets:
                continue
            address = f"{mark('mac_address')} {mark('ip_address')}"
            secured = f"{address} {mark('port_vips').replace(',', ' ')}".strip()
            yield SwitchPort(
                port_name(pod, provider),
                mark("logical_switch"),
                (address, "unknown") if mark("layer2_forward") == "true" else (address,),
                (secured,) if mark("port_security") == "true" else (),
            )


def _node_ports(cluster: Cluster, subnets: dict[str, Object]) -> Iterator[SwitchPort]:
    """Source: Kube-OVN ``pkg/controller/node.go``, ``handleAddNode``."""
    for node in cluster.all("Node"):
        marks = annotations_of(node)
        if JOIN_SUBNET in subnets and marks.get(nic_annotation("allocated")) == "true":
            address = f"{marks[nic_annotation('mac_address')]} {marks[nic_annotation('ip_address')]}"
            yield SwitchPort(f"node-{name(node)}", JOIN_SUBNET, (address,))


# Routers.


def _gateways(subnets: dict[str, Object]) -> Iterator[RouterPort]:
    for title, subnet in subnets.items():
        vpc, gateway = vpc_of(subnet), gateway_of(subnet)
        network = f"{gateway}/{cidr_of(subnet).prefixlen}"
        yield RouterPort(f"{vpc}-{title}", vpc, gateway_mac(gateway), (network,))


def _peerings(cluster: Cluster) -> Iterator[RouterPort]:
    """One port for each declared side; OVN links them only when both exist.

    Source: Kube-OVN ``pkg/ovs/ovn-nb-logical_router_port.go``, ``CreatePeerRouterPort``.
    """
    for vpc in cluster.all("Vpc"):
        for peering in spec(vpc).get("vpcPeerings") or ():
            here, there = name(vpc), str(peering["remoteVpc"])
            networks = tuple(str(peering.get("localConnectIP") or "").split(","))
            yield RouterPort(f"{here}-{there}", here, mac_of(here, there), networks, peer=f"{there}-{here}")


def _router(vpc: str, cluster: Cluster, subnets: dict[str, Object], node_groups: list[PortGroup]) -> Router:
    """Source: Kube-OVN ``pkg/controller/vpc.go``, ``handleAddOrUpdateVpc``; ``pkg/controller/subnet.go``, routes."""
    obj = cluster.get("Vpc", vpc)
    declared = spec(obj) if obj else {}
    routes = [_static_route(route) for route in declared.get("staticRoutes") or ()]
    policies = [
        Policy(
            int(route["priority"]),
            str(route["match"]),
            str(route["action"]),
            tuple(str(route["nextHopIP"]).split(",")) if route.get("action") == "reroute" else (),
        )
        for route in declared.get("policyRoutes") or ()
    ]
    mine = [subnet for subnet in subnets.values() if vpc_of(subnet) == vpc]
    if vpc == DEFAULT_VPC:
        if JOIN_SUBNET in subnets:
            routes.append(Route("0.0.0.0/0", gateway_of(subnets[JOIN_SUBNET])))
        policies += [Policy(SUBNET_POLICY, f"ip4.dst == {cidr_of(subnet)}", "allow") for subnet in mine]
        policies += _node_policies(cluster, mine, node_groups)
    else:
        routes += [Route(str(cidr_of(s)), gateway_of(s), "src-ip", str(spec(s).get("routeTable") or "")) for s in mine]
    return Router(vpc, frozenset(routes), frozenset(policies))


def _static_route(route: Object) -> Route:
    policy = "src-ip" if route.get("policy") == "policySrc" else "dst-ip"
    return Route(str(route["cidr"]), str(route["nextHopIP"]), policy, str(route.get("routeTable") or ""))


def _node_groups(cluster: Cluster, subnets: dict[str, Object], ports: set[str]) -> Iterator[PortGroup]:
    """Per subnet and node, the pods that leave through the node's distributed gateway.

    Source: Kube-OVN ``pkg/controller/subnet.go``, ``getOverlaySubnetsPortGroupName`` (``<subnet>.<node>``).
    """
    for title, subnet in subnets.items():
        if vpc_of(subnet) != DEFAULT_VPC or title == JOIN_SUBNET:
            continue
        for node in cluster.all("Node"):
            members = {
                port_name(pod)
                for pod in cluster.pods()
                if spec(pod).get("nodeName") == name(node)
                and annotations_of(pod).get(nic_annotation("logical_switch")) == title
            }
            yield PortGroup(f"{title}.{name(node)}".replace("-", "."), frozenset(members & ports))


def _node_policies(cluster: Cluster, mine: list[Object], node_groups: list[PortGroup]) -> Iterator[Policy]:
    """Ways from the default VPC to the nodes: to a node's own address, and out of distributed gateways.

    Source: Kube-OVN ``pkg/controller/node.go``, ``addPolicyRouteForNode``; ``pkg/controller/subnet.go``,
    ``addPolicyRouteForLocalDNSCacheOnNode`` and ``addPolicyRouteByGatewayType``.
    """
    groups = {group.name for group in node_groups}
    for node in cluster.all("Node"):
        join = annotations_of(node).get(nic_annotation("ip_address"))
        if not join:
            continue
        for address in (node.get("status") or {}).get("addresses") or ():
            if address.get("type") == "InternalIP" and "." in str(address.get("address")):
                yield Policy(NODE_POLICY, f"ip4.dst == {address['address']}", "reroute", (join,))
        for subnet in mine:
            group = f"{name(subnet)}.{name(node)}".replace("-", ".")
            if group in groups and (spec(subnet).get("gatewayType") or "distributed") == "distributed":
                yield Policy(GATEWAY_POLICY, f"ip4.src == ${group}_ip4", "reroute", (join,))
