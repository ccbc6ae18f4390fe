"""Real packets through the fabric."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from lab.ovn.netns import Inside
from lab.ovn.probes import Kind, Seen

from . import scenarios, topology
from .worker import Worker

pytestmark = pytest.mark.fabric


def test_only_clients_and_server_reach_each_other(worker: Worker) -> None:
    matrix = worker.call(scenarios.build, topology.testbed(2))
    assert [s.name for s in matrix.stations] == [
        "t-server/superlink-0",
        "t-client-1/supernode-0",
        "t-client-2/supernode-0",
    ]
    assert matrix.differences == ()
    answered = {(r.probe.source, r.probe.address, r.probe.port) for r in matrix.results if r.seen is Seen.ANSWERED}
    assert answered == {(f"t-client-{i}/supernode-0", f"10.32.{i}.2", topology.PORT) for i in (1, 2)}
    forged = [r.probe for r in matrix.results if r.probe.kind is Kind.FORGED]
    assert {p.forged[0] for p in forged} >= {"100.64.0.2", "100.64.0.3", "10.32.2.2", "10.32.1.3"}
    ports, namespaces = worker.call(scenarios.leftovers)
    assert ports == ["ovn-n2-0", "ovn0"]  # the way to the other node's chassis, and the node's own
    assert namespaces == [worker.paths.fabric]


def test_a_network_that_leaks_is_seen_to_leak(worker: Worker) -> None:
    """Both clients in one open VPC, without NetworkPolicies."""
    objects = topology.shared_vpc(topology.testbed(2), private=False)
    matrix = worker.call(scenarios.build, [o for o in objects if o["kind"] != "NetworkPolicy"])
    found = {(r.probe.source, r.probe.target, r.probe.kind) for r in matrix.differences}
    one, two = "t-client-1/supernode-0", "t-client-2/supernode-0"
    for kind in (Kind.TCP, Kind.UDP, Kind.ICMP):
        assert {(one, two, kind), (two, one, kind)} <= found


def test_without_port_security_a_forged_source_gets_through(worker: Worker) -> None:
    """Private subnets of the default VPC, as the published operator lays them out."""
    objects = topology.shared_vpc(topology.testbed(2, secured=False), private=True, vpc="ovn-cluster")
    matrix = worker.call(scenarios.build, [o for o in objects if o["kind"] != "NetworkPolicy"])
    leaks = [r for r in matrix.differences if {r.probe.source[:8], r.probe.target[:8]} == {"t-client"}]
    assert leaks
    assert {r.probe.kind for r in leaks} == {Kind.FORGED}
    secured = topology.shared_vpc(topology.testbed(2), private=True, vpc="ovn-cluster")
    assert worker.call(scenarios.build, secured).differences == ()


def test_the_node_reaches_the_server_on_eth0_alone(worker: Worker) -> None:
    seen = worker.call(scenarios.from_node, topology.testbed(2), [topology.SERVER, "10.32.1.2", "10.32.2.2"])
    assert seen == {topology.SERVER: Seen.ANSWERED, "10.32.1.2": Seen.NOTHING, "10.32.2.2": Seen.NOTHING}


def test_namespaces_are_entered_from_outside(worker: Worker) -> None:
    """As ``lab matrix`` does from the machine's own namespaces."""
    outside = Path("/proc/self/ns/net").readlink()
    with Inside(Path(f"/proc/{worker.pid}/root/run/netns/{worker.paths.fabric}")) as inside:
        names = {name for _, name in inside.call(socket.if_nameindex)}
    assert "br-int" in names
    assert "br-int" not in {name for _, name in socket.if_nameindex()}
    assert Path("/proc/self/ns/net").readlink() == outside
    with Inside(tmp := Path("/run/netns/there-is-none")) as absent, pytest.raises(FileNotFoundError, match=tmp.name):
        absent.call(socket.if_nameindex)


def test_nothing_outlives_a_kill(tmp_path: Path) -> None:
    before = set(Path("/run/netns").iterdir()) if Path("/run/netns").is_dir() else set()
    with Worker(tmp_path) as doomed:
        doomed.call(scenarios.leftovers)
        doomed.kill()
        processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert str(tmp_path) not in processes
        assert set(Path("/run/netns").iterdir() if Path("/run/netns").is_dir() else ()) == before
