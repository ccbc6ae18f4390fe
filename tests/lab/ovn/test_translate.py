"""The translation of Kube-OVN's resources, without any database."""

from __future__ import annotations

import json
import random
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.ovn.addresses import allocate
from lab.ovn.cluster import Cluster
from lab.ovn.defaults import with_defaults
from lab.ovn.model import Acl, Northbound, Policy, Route, RouterPort
from lab.ovn.nics import requests, unserved
from lab.ovn.ports import nics
from lab.ovn.translate import northbound, translate
from testbed.contract import MULTUS_NETWORKS, nic_annotation

from . import topology
from .topology import obj, pod, subnet


def acls(configuration: Northbound, switch: str) -> frozenset[Acl]:
    return next(s.acls for s in configuration.switches if s.name == switch)


def router(configuration: Northbound, name: str) -> tuple[frozenset[Route], frozenset[Policy]]:
    found = next(r for r in configuration.routers if r.name == name)
    return found.routes, found.policies


def test_a_private_subnet_has_kube_ovns_rules() -> None:
    objects = [obj("Vpc", "v", spec={}), subnet("s", "v", "10.1.0", [], allowSubnets=["10.2.0.0/24", " "])]
    assert acls(northbound(objects), "s") == {
        Acl("to-lport", 1000, "ip", "drop"),
        Acl("to-lport", 1001, "ip4.src == 10.1.0.0/24 && ip4.dst == 10.1.0.0/24", "allow-related"),
        Acl("to-lport", 3000, "ip4.src == 100.64.0.0/16", "allow-related"),
        Acl(
            "to-lport",
            1001,
            "(ip4.src == 10.1.0.0/24 && ip4.dst == 10.2.0.0/24) || (ip4.src == 10.2.0.0/24 && ip4.dst == 10.1.0.0/24)",
            "allow-related",
        ),
    }


def test_a_subnet_that_is_not_private_has_its_own_rules_only() -> None:
    rule = {"direction": "to-lport", "priority": 1500, "match": "ip4", "action": "allow-related"}
    objects = [
        obj("Vpc", "v", spec={}),
        subnet("open", "v", "10.1.0", [], private=False),
        subnet("ruled", "v", "10.2.0", [], private=False, acls=[rule], allowEWTraffic=True),
    ]
    configuration = northbound(objects)
    same = "ip4.src == 10.2.0.0/24 && ip4.dst == 10.2.0.0/24"
    assert acls(configuration, "open") == frozenset()
    assert acls(configuration, "ruled") == {
        Acl("to-lport", 1500, "ip4", "allow-related"),
        Acl("to-lport", 1900, same, "allow"),
        Acl("from-lport", 1900, same, "allow"),
    }


def test_names_and_routes_are_kube_ovns() -> None:
    configuration = northbound(topology.testbed(1))
    ports = {port.name: port for port in configuration.switch_ports}
    assert set(ports) == {
        "ovn-default-ovn-cluster",
        "join-ovn-cluster",
        "t-net-server-ovn-cluster",
        "t-net-s001-t-vpc-s001",
        "supernode-0.t-client-1",
        "superlink-0.t-server",
        "superlink-0.t-server.link-s001.t-server.ovn",
    }
    assert ports["t-net-s001-t-vpc-s001"].router_port == "t-vpc-s001-t-net-s001"
    link = ports["superlink-0.t-server.link-s001.t-server.ovn"]
    assert link.switch == "t-net-s001"
    assert link.addresses == link.port_security
    assert link.addresses[0].endswith(" 10.32.1.2")
    assert router(configuration, "t-vpc-s001") == (
        frozenset({Route("10.32.1.0/24", "10.32.1.1", "src-ip")}),
        frozenset(),
    )
    routes, policies = router(configuration, "ovn-cluster")
    assert routes == {Route("0.0.0.0/0", "100.64.0.1")}
    assert policies == {
        Policy(31000, f"ip4.dst == {cidr}", "allow") for cidr in ("10.16.0.0/16", "100.64.0.0/16", "10.31.0.0/24")
    }
    assert configuration.untranslated == ()


def test_a_running_pod_keeps_its_ports_when_its_attachment_goes() -> None:
    cluster = Cluster.of(with_defaults(topology.testbed(1)))
    done = allocate(cluster).applied(cluster)
    gone = Cluster({**done.objects, "NetworkAttachmentDefinition": {}})
    assert translate(gone).switch_ports == translate(done).switch_ports
    assert translate(gone).port_groups == translate(done).port_groups


def test_there_is_no_port_security_unless_a_pod_asks_for_it() -> None:
    configuration = northbound(topology.testbed(2, secured=False))
    assert {port.port_security for port in configuration.switch_ports} == {()}


def test_vpc_fields() -> None:
    spec = {
        "staticRoutes": [
            {"policy": "policySrc", "cidr": "10.1.0.0/24", "nextHopIP": "10.1.0.9", "routeTable": "x"},
            {"policy": "policyDst", "cidr": "10.2.0.0/24", "nextHopIP": "169.254.0.2", "bfdId": "b"},
        ],
        "policyRoutes": [
            {"priority": 10, "match": "ip4.src == 10.1.0.5", "action": "reroute", "nextHopIP": "10.1.0.9"},
            {"priority": 11, "match": "ip4", "action": "drop"},
        ],
        "vpcPeerings": [{"remoteVpc": "w", "localConnectIP": "169.254.0.1/30"}],
        "enableExternal": True,
    }
    configuration = northbound([obj("Vpc", "v", spec=spec), obj("Vpc", "w", spec={})])
    assert router(configuration, "v") == (
        frozenset({Route("10.1.0.0/24", "10.1.0.9", "src-ip", "x"), Route("10.2.0.0/24", "169.254.0.2")}),
        frozenset({Policy(10, "ip4.src == 10.1.0.5", "reroute", ("10.1.0.9",)), Policy(11, "ip4", "drop")}),
    )
    (peering,) = (p for p in configuration.router_ports if p.peer)
    assert peering == RouterPort("v-w", "v", peering.mac, ("169.254.0.1/30",), "w-v")
    assert {(u.object, u.field) for u in configuration.untranslated} == {
        ("Vpc/v", "spec.enableExternal"),
        ("Vpc/v", "spec.staticRoutes[1].bfdId"),
    }


def test_a_network_policy_covers_every_nic_of_its_pods() -> None:
    configuration = northbound(topology.testbed(1))
    group = next(g for g in configuration.port_groups if g.name == "default.t.server")
    assert group.ports == {"superlink-0.t-server", "superlink-0.t-server.link-s001.t-server.ovn"}
    allow = "$default.t.server.ingress.allow.IPv4.0"
    excepted = "$default.t.server.ingress.except.IPv4.0"
    assert Acl("to-lport", 2000, "outport == @default.t.server && ip4", "drop") in group.acls
    assert (
        Acl(
            "to-lport",
            2001,
            f"outport == @default.t.server && ip && ip4.src == {allow} && ip4.src != {excepted} && tcp.dst == 8080",
            "allow-related",
        )
        in group.acls
    )
    assert Acl("from-lport", 2000, "inport == @default.t.server && ip4", "drop", after_lb=True) in group.acls
    sets = {s.name: s.addresses for s in configuration.address_sets}
    assert sets[allow[1:]] == {"10.32.0.0/16", "10.31.0.0/24", "100.64.0.0/16"}
    assert sets[excepted[1:]] == frozenset()


def test_security_groups_and_what_they_deny() -> None:
    rule = {
        "ipVersion": "ipv4",
        "protocol": "tcp",
        "priority": 5,
        "remoteType": "address",
        "remoteAddress": "10.9.0.0/16",
        "portRangeMin": 80,
        "portRangeMax": 90,
        "policy": "allow",
    }
    objects = [
        obj("Vpc", "v", spec={}),
        subnet("s", "v", "10.1.0", []),
        obj("SecurityGroup", "web-1", spec={"ingressRules": [rule], "allowSameGroupTraffic": True}),
        pod("p", "n", "client", "s", "10.1.0.5", **{nic_annotation("security_groups"): "web-1"}),
    ]
    configuration = northbound(objects)
    groups = {g.name: g for g in configuration.port_groups}
    assert groups["ovn.sg.web.1"].ports == groups["ovn.sg.kubeovn_deny_all"].ports == {"p.n"}
    match = "outport == @ovn.sg.web.1 && ip4 && ip4.src == 10.9.0.0/16 && 80 <= tcp.dst <= 90"
    assert Acl("to-lport", 18479, match, "allow-related") in groups["ovn.sg.web.1"].acls
    assert {a.priority for a in groups["ovn.sg.kubeovn_deny_all"].acls} == {2003}
    assert {s.addresses for s in configuration.address_sets} == {frozenset({"10.1.0.5"})}


def test_a_subnet_outside_its_vpcs_namespaces_never_has_a_switch() -> None:
    objects = topology.testbed(1)
    next(o for o in objects if o["kind"] == "Vpc")["spec"]["namespaces"] = []
    cluster = Cluster.of(with_defaults(objects))
    problems = {str(p) for p in allocate(cluster).problems.values()}
    assert problems == {
        f"{nic} on subnet 't-net-s001': spec.namespaces: namespace 't-client-1' is not among the namespaces of Vpc "
        "'t-vpc-s001'"
        for nic in ("eth0", "net1")
    }
    assert "t-net-s001" not in {s.name for s in translate(cluster).switches}


def test_a_pod_names_any_subnet_whatever_its_namespace() -> None:
    objects = [*topology.testbed(1), pod("intruder", "elsewhere", "", "t-net-s001")]
    assert northbound(objects).port("intruder.elsewhere").switch == "t-net-s001"


def test_what_is_not_built_is_said() -> None:
    gateway = {"apiVersion": "kubeovn.io/v1", "kind": "VpcNatGateway", "metadata": {"name": "g"}, "spec": {"vpc": "v"}}
    objects = [
        gateway,
        obj("Vpc", "v", spec={"extraExternalSubnets": ["x"]}),
        subnet("s", "ovn-cluster", "10.1.0", [], vlan="v1", natOutgoing=True, gatewayType="centralized"),
        obj("NetworkAttachmentDefinition", "macvlan", "n", spec={"config": '{"type": "macvlan"}'}),
        pod("p", "n", "", "s", **{nic_annotation("eip"): "1.2.3.4", MULTUS_NETWORKS: "macvlan"}),
    ]
    cluster = Cluster.of(with_defaults(objects))
    (problem,) = filter(None, (unserved(p, cluster) for p in cluster.pods()))
    assert problem.reason == "UnsupportedAttachment"
    assert "p.n" in {p.name for p in northbound(objects).switch_ports}
    assert {(u.object, u.field) for u in northbound(objects).untranslated} == {
        ("VpcNatGateway/g", ""),
        ("Vpc/v", "spec.extraExternalSubnets"),
        ("Subnet/s", "spec.vlan"),
        ("Subnet/s", "spec.natOutgoing"),
        ("Subnet/s", "spec.gatewayType"),
        ("NetworkAttachmentDefinition/n/macvlan", "spec.config"),
        ("Pod/n/p", f"metadata.annotations[{nic_annotation('eip')}]"),
    }


# Addresses.


def test_an_address_held_by_another_is_named_with_its_holder() -> None:
    objects = [*topology.testbed(1), pod("second", "t-client-1", "client", "t-net-s001", "10.32.1.3")]
    allocation = allocate(Cluster.of(with_defaults(objects)))
    assert {k: (p.reason, str(p)) for k, p in allocation.problems.items()} == {
        "Pod/t-client-1/supernode-0": (
            "AddressConflict",
            "address 10.32.1.3 in subnet 't-net-s001' is held by Pod/t-client-1/second; "
            "it is retried when that frees it",
        )
    }


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ({nic_annotation("ip_address"): "10.33.0.4"}, "AddressOutOfRange"),
        ({nic_annotation("ip_address"): "10.32.1.1"}, "AddressConflict"),
        ({nic_annotation("ip_address"): "ten"}, "InvalidAddress"),
        ({nic_annotation("logical_switch"): "nowhere"}, "SubnetNotReady"),
        ({MULTUS_NETWORKS: "t-server/absent"}, "NetworkAttachmentMissing"),
        ({MULTUS_NETWORKS: "[{]"}, "InvalidNetworks"),
    ],
)
def test_a_pod_that_cannot_be_placed(annotations: dict[str, str], reason: str) -> None:
    new = pod("new", "t-client-1", "client", "t-net-s001")
    new["metadata"]["annotations"].update(annotations)
    allocation = allocate(Cluster.of(with_defaults([*topology.testbed(1), new])))
    assert {key: p.reason for key, p in allocation.problems.items()} == {"Pod/t-client-1/new": reason}
    assert "Pod/t-client-1/new" not in allocation.annotations


def test_a_full_subnet_says_so() -> None:
    tiny = subnet("tiny", "ovn-cluster", "10.1.0", [], cidrBlock="10.1.0.0/30")
    pods = [pod(f"p{i}", "n", "", "tiny") for i in range(2)]
    allocation = allocate(Cluster.of(with_defaults([tiny, *pods])))
    assert [p.reason for p in allocation.problems.values()] == ["NoAvailableAddress"]
    assert len(allocation.annotations) == 1


def test_nics_are_read_from_what_was_allocated() -> None:
    cluster = Cluster.of(with_defaults(topology.testbed(2)))
    server = next(p for p in cluster.pods() if p["metadata"]["namespace"] == "t-server")
    assert nics(server) is None
    done = allocate(cluster).applied(cluster)
    found = nics(next(p for p in done.pods() if p["metadata"]["namespace"] == "t-server")) or []
    assert [(n.interface, str(n.address), n.gateway) for n in found] == [
        ("eth0", "10.31.0.2/24", "10.31.0.1"),
        ("net1", "10.32.1.2/24", "10.32.1.1"),
        ("net2", "10.32.2.2/24", "10.32.2.1"),
    ]
    assert len({n.host for n in found}) == 3
    assert all(len(n.host) <= 15 for n in found)


def test_multus_short_form() -> None:
    config = json.dumps({"type": "kube-ovn", "provider": "a.n.ovn"})
    nad = obj("NetworkAttachmentDefinition", "a", "n", spec={"config": config})
    bound = subnet("s", "ovn-cluster", "10.1.0", [], provider="a.n.ovn")
    new = pod("p", "n", "", "ovn-default", **{MULTUS_NETWORKS: "a@extra, n/a"})
    found = requests(new, Cluster.of(with_defaults([nad, bound, new])))
    assert [(n.interface, n.subnets) for n in found] == [
        ("eth0", ("ovn-default",)),
        ("extra", ("s",)),
        ("net2", ("s",)),
    ]


@st.composite
def clusters(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Pods, some with a fixed address, on a few small subnets that may not all be valid."""
    objects: list[dict[str, Any]] = [obj("Vpc", "v", spec={"namespaces": ["a"]})]
    for index in range(draw(st.integers(1, 3))):
        prefix = f"10.1.{draw(st.integers(0, 2))}"
        vpc = draw(st.sampled_from(["ovn-cluster", "v", "absent"]))
        namespaces = draw(st.lists(st.sampled_from(["a", "b"]), unique=True))
        block = {"cidrBlock": f"{prefix}.0/{draw(st.integers(28, 30))}", "private": draw(st.booleans())}
        objects.append(subnet(f"s{index}", vpc, prefix, namespaces, **block))
    for index in range(draw(st.integers(0, 8))):
        switch = f"s{draw(st.integers(0, 2))}"
        address = draw(st.sampled_from(["", "", "10.1.0.3", "10.1.1.2", "10.1.0.1"]))
        objects.append(pod(f"p{index}", draw(st.sampled_from(["a", "b"])), "client", switch, address))
    return objects


@given(clusters(), st.randoms(use_true_random=False))
def test_allocation_and_translation_hold_their_promises(objects: list[dict[str, Any]], order: random.Random) -> None:
    cluster = Cluster.of(with_defaults(objects))
    allocation = allocate(cluster)
    done = allocation.applied(cluster)
    subnets = {s["metadata"]["name"]: s["spec"] for s in cluster.all("Subnet")}
    seen = set()
    for marks in allocation.annotations.values():
        switch, address = marks[nic_annotation("logical_switch")], IPv4Address(marks[nic_annotation("ip_address")])
        assert address in IPv4Network(subnets[switch]["cidrBlock"])
        assert str(address) != subnets[switch]["gateway"]
        assert (switch, address) not in seen
        seen.add((switch, address))
    assert allocate(done).annotations == {}
    assert len(allocation.annotations) + len(allocation.problems) == len(cluster.pods())
    shuffled = order.sample(objects, len(objects))
    assert northbound(shuffled) == northbound(objects) == translate(done)
    configuration = translate(done)
    switches = {s.name for s in configuration.switches}
    assert {p.switch for p in configuration.switch_ports} <= switches
    assert {p.router_port for p in configuration.switch_ports} - {""} == {p.name for p in configuration.router_ports}
