from __future__ import annotations

import itertools
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from testbed import addressing, placement
from tests.testbed.testbeds import build, shapes

Shape = tuple[dict[int, int], str, int, int]


@given(shapes())
def test_addresses_are_unique_and_inside_their_subnets(shape: Shape) -> None:
    spec = build(*shape)
    links = addressing.links(spec)
    for link, following in itertools.pairwise(links):
        assert link.cidr.broadcast_address < following.cidr.network_address
    for link in links:
        assert link.cidr.subnet_of(spec.network.clients)
        assert not link.cidr.overlaps(spec.network.server)
    taken = [*addressing.server_addresses(spec), *(link.gateway for link in links)]
    for client in placement.clients(spec):
        link, address = addressing.link_of(spec, client), addressing.client_address(spec, client)
        assert link.group == placement.group(spec, client)
        assert link.cidr.network_address < address < link.cidr.broadcast_address
        taken.append(address)
    assert len(taken) == len(set(taken))
    assert addressing.server_gateway(spec) < addressing.server_address(spec) < spec.network.server.broadcast_address


@given(shapes(), st.integers(1, 250), st.integers(1, 5))
def test_a_new_client_moves_nobody(shape: Shape, slot: int, node: int) -> None:
    slots, isolation, capacity, prefix = shape
    before = build(*shape)
    after = build({**slots, slot % capacity + 1: slots.get(slot % capacity + 1, node)}, isolation, capacity, prefix)
    assert addressing.links(after) == addressing.links(before)
    assert addressing.server_addresses(after) == addressing.server_addresses(before)
    new = {client.id: client for client in placement.clients(after)}
    for client in placement.clients(before):
        assert addressing.client_address(after, new[client.id]) == addressing.client_address(before, client)


@given(shapes())
def test_pinned_addresses_are_reserved_and_some_are_left_for_releases(shape: Shape) -> None:
    spec = build(*shape)
    clients = placement.clients(spec)
    for link in addressing.links(spec):
        first, last = map(IPv4Address, addressing.reserved(spec, link).split(".."))
        members = [addressing.client_address(spec, c) for c in clients if placement.group(spec, c) == link.group]
        for address in (link.gateway, link.server, *members):
            assert first <= address <= last
        assert int(link.cidr.broadcast_address) - int(last) - 1 >= len(members)


def test_the_servers_interfaces_count_from_one() -> None:
    spec = build({2: 1}, "client", 3, 28)
    assert [(link.interface, link.group, str(link.server)) for link in addressing.links(spec)] == [
        ("net1", "s001", "10.64.0.2"),
        ("net2", "s002", "10.64.0.18"),
        ("net3", "s003", "10.64.0.34"),
    ]
    assert str(addressing.client_address(spec, placement.clients(spec)[0])) == "10.64.0.19"
