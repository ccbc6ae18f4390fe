from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed import placement
from testbed.spec import Testbed, parse

CPUS = {"C1": 4, "C2": 8, "E1": 15, "E2": 15, "E3": 8, "E4": 12}


def build(**clients: Any) -> Testbed:
    nodes = [
        {
            "name": name,
            "role": "control-plane" if name == "C1" else "edge",
            "domain": "d",
            "cpu": cpu,
            "memory": 1000,
            "disk": 1000,
        }
        for name, cpu in CPUS.items()
    ]
    resources = {"cpu": 1, "memory": 1}
    return parse(
        "t",
        {
            "nodes": nodes,
            "server": {"node": "C2"},
            "capacity": 60,
            "clients": {**clients, "resources": resources},
            "network": {"prefix": 29},
        },
    )


def nodes(spec: Testbed) -> list[str]:
    return [client.node for client in placement.clients(spec)]


@pytest.mark.parametrize("strategy", ["spread", "weighted"])
@given(count=st.integers(1, 59))
def test_one_more_client_moves_nobody(strategy: str, count: int) -> None:
    before = placement.clients(build(num_clients=count, placement=strategy))
    after = placement.clients(build(num_clients=count + 1, placement=strategy))
    assert after[:count] == before
    assert [client.slot for client in after] == list(range(1, count + 2))


@given(st.integers(1, 60))
def test_spread_differs_by_at_most_one(count: int) -> None:
    placed = Counter(nodes(build(num_clients=count, placement="spread")))
    assert "C1" not in placed
    assert max(placed.values()) - min(placed[name] for name in CPUS if name != "C1") <= 1


@given(st.integers(5, 60))
def test_weighted_leaves_no_node_much_better_off(count: int) -> None:
    placed = Counter(nodes(build(num_clients=count, placement="weighted")))
    assert "C1" not in placed
    # Moving one client from a node to another would not give it more vCPU than it has.
    for crowded, clients in placed.items():
        assert all(CPUS[other] / (placed[other] + 1) <= CPUS[crowded] / clients for other in CPUS if other != "C1")


def test_a_map_is_the_whole_truth() -> None:
    spec = build(placement={"C2": 2, "E1": 1, "E2": 1, "E3": 3, "E4": 3})
    assert Counter(nodes(spec)) == {"C2": 2, "E1": 1, "E2": 1, "E3": 3, "E4": 3}


def test_a_list_keeps_its_slots() -> None:
    spec = build(list=[{"id": "b", "slot": 7, "node": "E1"}, {"id": "a", "slot": 2, "node": "E2"}])
    assert [(client.id, client.slot) for client in placement.clients(spec)] == [("a", 2), ("b", 7)]
