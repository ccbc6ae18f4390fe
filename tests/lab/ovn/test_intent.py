"""The intent the matrix measures against, and the endpoints of node ports."""

from __future__ import annotations

from ipaddress import IPv4Interface
from typing import Any

import pytest
from rich.console import Console

from lab.matrix import Matrix, Result, Routers, Station, meant, probes, show, stations, superlink_port
from lab.ovn.nodeport import targets
from lab.ovn.ports import Nic
from lab.ovn.probes import Kind, Probe, Seen
from testbed.contract import ROLE_CLIENT, ROLE_P3VC, ROLE_RUN, ROLE_SERVER, nic_annotation

from . import topology

PORT = topology.PORT


def station(role: str, *addresses: str) -> Station:
    nics = [
        Nic(f"net{i}" if i else "eth0", f"0a:00:00:00:00:0{i}", IPv4Interface(f"{a}/24"), "10.0.0.1", f"{role}{i}", "r")
        for i, a in enumerate(addresses)
    ]
    return Station(f"ns/{role}{addresses[0]}", role, tuple(nics))


SERVER = station(ROLE_SERVER, "10.31.0.2", "10.32.1.2", "10.32.2.2")
CLIENT = station(ROLE_CLIENT, "10.32.1.3")
OTHER = station(ROLE_CLIENT, "10.32.2.3")
RELEASE = station(ROLE_P3VC, "10.32.1.4")
RUN = station(ROLE_RUN, "10.31.0.3")
STRANGER = station("", "10.16.0.2")


@pytest.mark.parametrize(
    ("source", "target", "nic", "wanted"),
    [
        (CLIENT, SERVER, 1, True),
        (CLIENT, SERVER, 0, False),
        (CLIENT, SERVER, 2, False),
        (OTHER, SERVER, 2, True),
        (RUN, SERVER, 0, True),
        (RUN, SERVER, 1, None),
        (SERVER, RUN, 0, None),
        (SERVER, CLIENT, 0, False),
        (CLIENT, OTHER, 0, False),
        (CLIENT, RUN, 0, False),
        (RUN, CLIENT, 0, False),
        (RELEASE, SERVER, 1, False),
        (RELEASE, CLIENT, 0, False),
        (CLIENT, RELEASE, 0, False),
        (STRANGER, SERVER, 0, False),
    ],
)
def test_who_is_meant_to_reach_the_superlink(source: Station, target: Station, nic: int, wanted: bool | None) -> None:
    def ask(kind: Kind, port: int = PORT) -> bool | None:
        probe = Probe(source.name, target.name, str(target.nics[nic].address.ip), kind, port)
        return meant(source, target, target.nics[nic], probe, PORT)

    assert ask(Kind.TCP) is wanted
    for other in (ask(Kind.TCP, 22), ask(Kind.UDP), ask(Kind.ICMP)):
        assert not other


def test_forged_packets_take_another_clients_and_the_nodes_source_by_every_way() -> None:
    routers = Routers(frozenset({"100.64.0.2"}), {"r": "0a:00:00:00:00:99"})
    planned = [p for p, _ in probes([SERVER, CLIENT, OTHER], PORT, routers) if p.kind is Kind.FORGED]
    to_other = {p.forged for p in planned if (p.source, p.target) == (CLIENT.name, OTHER.name)}
    assert {source for source, _, _ in to_other} == {"100.64.0.2", "10.32.2.2", "10.32.1.3"}
    assert {way for _, _, way in to_other} == {SERVER.nics[1].mac, "0a:00:00:00:00:99"}
    assert not [p for p in planned if p.source == SERVER.name]


def test_a_difference_is_shown_with_its_packet() -> None:
    probe = Probe(CLIENT.name, OTHER.name, "10.32.2.3", Kind.UDP)
    console = Console(width=60)
    matrix = Matrix((CLIENT, OTHER), (Result(probe, False, Seen.ONE_WAY),))
    with console.capture() as captured:
        show(matrix, console)
    assert "✗" in captured.get()
    assert "UDP to 10.32.2.3:61799: meant nothing, seen arrived unanswered" in captured.get()
    assert "differences: 1" in captured.get()


def service(**spec: Any) -> dict[str, Any]:
    body = {"type": "NodePort", "selector": {"kubeflower.io/role": "server"}, **spec}
    return topology.obj("Service", "superlink", "t-server", spec=body)


def endpoints(owner: str, ready: bool, namespace: str = "t-server") -> dict[str, Any]:
    metadata = {"labels": {"kubernetes.io/service-name": owner}}
    found = [{"addresses": [topology.SERVER], "conditions": {"ready": ready}}]
    ports = [{"name": "", "port": PORT, "protocol": "TCP"}, {"name": "other", "port": 9, "protocol": "TCP"}]
    return topology.obj("EndpointSlice", "x", namespace, metadata=metadata, endpoints=found, ports=ports)


def test_node_ports_go_to_ready_endpoints() -> None:
    found = service(ports=[{"port": 80, "targetPort": PORT, "nodePort": 30051}])
    assert targets([found], []) == {30051: []}
    assert targets([found], [endpoints("superlink", True)]) == {30051: [(topology.SERVER, PORT)]}
    assert targets([found], [endpoints("superlink", False)]) == {30051: []}
    others = [endpoints("another", True), endpoints("superlink", True, "elsewhere")]
    assert targets([found], others) == {30051: []}
    assert targets([service(type="ClusterIP", ports=[{"port": 80}])], [endpoints("superlink", True)]) == {}
    assert superlink_port([found]) == PORT
    assert superlink_port([]) == 8080


def test_stations_are_running_pods_servers_first_and_numbers_in_order() -> None:
    def running(pod: dict[str, Any]) -> dict[str, Any]:
        given = {
            "allocated": "true",
            "routed": "true",
            "ip_address": "10.32.1.3",
            "cidr": "10.32.1.0/24",
            "mac_address": "0a:0:0:0:0:1",
        }
        marks = {nic_annotation(field): value for field, value in given.items()}
        return {
            **pod,
            "status": {"phase": "Running"},
            "metadata": {**pod["metadata"], "uid": "u", "annotations": marks},
        }

    pods = [running(o) for o in topology.testbed(11) if o["kind"] == "Pod"]
    names = [s.name for s in stations([*pods, topology.pod("waiting", "t-server", "run", "t-net-server")])]
    assert names == ["t-server/superlink-0", *(f"t-client-{i}/supernode-0" for i in range(1, 12))]
