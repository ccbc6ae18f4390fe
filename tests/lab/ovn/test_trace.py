"""What OVN itself makes of the translation: the northbound database, and ovn-trace's answers."""

from __future__ import annotations

from typing import Any

import pytest

from lab.ovn import northbound as writer
from lab.ovn.addresses import allocate
from lab.ovn.cluster import Cluster
from lab.ovn.daemons import FabricError
from lab.ovn.defaults import with_defaults
from lab.ovn.model import Acl, Northbound, Switch
from lab.ovn.trace import Oracle
from lab.ovn.translate import northbound, translate

from . import topology

pytestmark = pytest.mark.fabric

ONE, TWO, SERVER = "supernode-0.t-client-1", "supernode-0.t-client-2", "superlink-0.t-server"


def unguarded(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without NetworkPolicies, so that what is left is the subnets' doing."""
    return [o for o in objects if o["kind"] != "NetworkPolicy"]


def both_ways(oracle: Oracle, objects: list[dict[str, Any]]) -> tuple[bool, bool]:
    oracle.load(northbound(objects))
    return oracle.reaches(ONE, TWO), oracle.reaches(TWO, ONE)


# The database.


def test_what_is_written_is_what_is_read(oracle: Oracle) -> None:
    wanted = northbound(topology.testbed(3))
    oracle.load(wanted)
    found, _ = writer.read(oracle.at)
    assert found == writer.rows(wanted)
    assert writer.apply(oracle.at, wanted) == 0


def test_a_change_touches_nothing_else(oracle: Oracle) -> None:
    objects = topology.testbed(3)
    oracle.load(northbound(objects))
    _, before = writer.read(oracle.at)
    subnet = next(o for o in objects if o["metadata"]["name"] == "t-net-s001")
    subnet["spec"]["allowSubnets"] = ["10.9.0.0/24"]
    assert writer.apply(oracle.at, northbound(objects)) == 2  # create the rule, add it to the switch
    _, after = writer.read(oracle.at)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1


def test_everything_can_go_and_come_back(oracle: Oracle) -> None:
    wanted = northbound(topology.testbed(2))
    oracle.load(Northbound())
    assert writer.read(oracle.at)[0] == {}
    oracle.load(wanted)
    moved = [o for o in topology.testbed(2) if o["metadata"].get("namespace") != "t-client-2"]
    oracle.load(northbound(moved))
    assert writer.read(oracle.at)[0] == writer.rows(northbound(moved))


def test_a_refused_configuration_changes_nothing(oracle: Oracle) -> None:
    oracle.load(northbound(topology.testbed(1)))
    before = writer.read(oracle.at)
    broken = Northbound(switches=frozenset({Switch("x", frozenset({Acl("sideways", 1, "ip", "drop")}))}))
    with pytest.raises(FabricError, match="sideways"):
        writer.apply(oracle.at, broken)
    assert writer.read(oracle.at) == before


# The answers. Those of the real kube-ovn-controller 1.12.22 on the same layouts.


def test_a_client_reaches_the_server_on_its_link_and_nothing_else(oracle: Oracle) -> None:
    objects = topology.testbed(2)
    oracle.load(northbound(objects))
    link = "superlink-0.t-server.link-s001.t-server.ovn"
    assert oracle.delivered(ONE, "10.32.1.2") == {link}
    for address in ("10.32.2.2", "10.32.2.3", topology.SERVER, "10.16.0.5"):
        assert oracle.delivered(ONE, address) == frozenset()
    assert oracle.delivered(ONE, "10.32.1.2", "tcp && tcp.dst == 22") == frozenset()
    assert oracle.delivered(ONE, "10.32.1.2", "udp && udp.dst == 8080") == frozenset()


def test_forged_sources_and_packets_through_the_server_go_nowhere(oracle: Oracle) -> None:
    cluster = Cluster.of(with_defaults(topology.testbed(2)))
    done = allocate(cluster).applied(cluster)
    configuration = translate(done)
    oracle.load(configuration)
    server = configuration.port("superlink-0.t-server.link-s001.t-server.ovn").addresses[0].split()[0]
    for forged in (None, "100.64.0.2", "10.32.2.2"):
        assert oracle.delivered(ONE, "10.32.2.3", forged=forged, via=server) == frozenset()
        assert oracle.delivered(ONE, "10.32.2.3", forged=forged) == frozenset()


def test_in_one_vpc_one_private_side_blocks(oracle: Oracle) -> None:
    objects = unguarded(topology.shared_vpc(topology.testbed(2), private=False))
    assert both_ways(oracle, objects) == (True, True)
    next(o for o in objects if o["metadata"]["name"] == "t-net-s001")["spec"]["private"] = True
    assert both_ways(oracle, objects) == (False, False)


@pytest.mark.parametrize(
    ("first", "second", "open_"),
    [
        (["10.32.2.0/24"], ["10.32.1.0/24"], True),
        (["10.32.2.0/24"], [], False),
        (["10.32.2.0/30"], ["10.32.1.0/30"], True),
        (["0.0.0.0/0"], ["0.0.0.0/0"], True),
    ],
)
def test_allow_subnets_opens_when_both_sides_cover_the_pods(
    oracle: Oracle, first: list[str], second: list[str], open_: bool
) -> None:
    objects = unguarded(topology.shared_vpc(topology.testbed(2), private=True))
    for group, allowed in (("s001", first), ("s002", second)):
        next(o for o in objects if o["metadata"]["name"] == f"t-net-{group}")["spec"]["allowSubnets"] = allowed
    assert both_ways(oracle, objects) == (open_, open_)


@pytest.mark.parametrize(
    ("priority", "direction", "open_"),
    [(1500, "to-lport", True), (900, "to-lport", False), (1500, "from-lport", False)],
)
def test_acls_above_the_drop_open(oracle: Oracle, priority: int, direction: str, open_: bool) -> None:
    objects = unguarded(topology.shared_vpc(topology.testbed(2), private=True))
    rule = {"direction": direction, "priority": priority, "match": "ip4", "action": "allow-related"}
    for each in objects:
        if each["metadata"]["name"].startswith("t-net-s0"):
            each["spec"]["acls"] = [rule]
    assert both_ways(oracle, objects) == (open_, open_)


def test_a_network_policy_on_the_receiver_alone_opens_nothing(oracle: Oracle) -> None:
    objects = unguarded(topology.shared_vpc(topology.testbed(2), private=True))
    everyone = topology.policy("t-client-2", [{}], [{}])
    assert both_ways(oracle, [*objects, everyone]) == (False, False)


def test_the_join_network_reaches_private_pods_of_the_default_vpc(oracle: Oracle) -> None:
    layout = topology.shared_vpc(topology.testbed(2, secured=False), private=True, vpc="ovn-cluster")
    oracle.load(northbound(unguarded(layout)))
    assert oracle.delivered(ONE, "10.32.2.3") == frozenset()
    assert oracle.delivered(ONE, "10.32.2.3", forged="100.64.0.9") == {TWO}
    secured = topology.shared_vpc(topology.testbed(2), private=True, vpc="ovn-cluster")
    oracle.load(northbound(unguarded(secured)))
    assert oracle.delivered(ONE, "10.32.2.3", forged="100.64.0.9") == frozenset()


def peered(first: bool, second: bool, private: bool) -> list[dict[str, Any]]:
    objects = unguarded(topology.testbed(2))
    for each in objects:
        if each["kind"] == "Subnet" and "server" not in each["metadata"]["name"]:
            each["spec"]["private"] = private
        for me, other, declared in ((1, 2, first), (2, 1, second)):
            if each["metadata"]["name"] == f"t-vpc-s00{me}" and declared:
                each["spec"]["vpcPeerings"] = [
                    {"remoteVpc": f"t-vpc-s00{other}", "localConnectIP": f"169.254.0.{me}/30"}
                ]
                each["spec"]["staticRoutes"] = [
                    {"policy": "policyDst", "cidr": f"10.32.{other}.0/24", "nextHopIP": f"169.254.0.{other}"}
                ]
    return objects


@pytest.mark.parametrize(
    ("first", "second", "private", "open_"),
    [(True, True, False, True), (True, False, False, False), (True, True, True, False)],
)
def test_peering_needs_both_sides_and_open_subnets(
    oracle: Oracle, first: bool, second: bool, private: bool, open_: bool
) -> None:
    assert both_ways(oracle, peered(first, second, private)) == (open_, open_)


def test_one_route_of_a_peering_is_a_one_way_leak(oracle: Oracle) -> None:
    objects = peered(True, True, False)
    next(o for o in objects if o["metadata"]["name"] == "t-vpc-s002")["spec"].pop("staticRoutes")
    assert both_ways(oracle, objects) == (True, False)


def test_naming_a_subnet_is_enough_to_be_in_it(oracle: Oracle) -> None:
    intruder = topology.pod("intruder", "elsewhere", "", "t-net-s001")
    oracle.load(northbound([*unguarded(topology.testbed(1)), intruder]))
    assert oracle.reaches("intruder.elsewhere", ONE)
