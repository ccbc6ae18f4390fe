"""Hypothesis strategies of valid testbeds."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from testbed.spec import Testbed, parse

NODES = [
    {"name": f"N{i}", "role": "edge", "domain": f"d{i % 3}", "cpu": 10_000, "memory": 10_000, "disk": 80}
    for i in range(1, 6)
]
SMALL = {"resources": {"cpu": 1, "memory": 1}}


def build(slots: dict[int, int], isolation: str, capacity: int, prefix: int) -> Testbed:
    """A testbed whose client ``k<slot>`` is on node number ``slots[slot]``."""
    clients: list[dict[str, Any]] = [{"id": f"k{s}", "slot": s, "node": f"N{n}"} for s, n in slots.items()]
    return parse(
        "t",
        {
            "nodes": NODES,
            "isolation": isolation,
            "capacity": capacity,
            "server": {"node": "N1"},
            "clients": {"list": clients, **SMALL},
            "network": {"clients": "10.64.0.0/10", "prefix": prefix, "reserved": []},
        },
    )


@st.composite
def shapes(draw: st.DrawFn) -> tuple[dict[int, int], str, int, int]:
    """Clients by slot, isolation, capacity and a prefix that holds them."""
    capacity = draw(st.integers(1, 250))
    isolation = draw(st.sampled_from(["client", "node", "domain"]))
    slots = draw(st.dictionaries(st.integers(1, capacity), st.integers(1, 5), min_size=1, max_size=12))
    needed = 4 + 2 * (1 if isolation == "client" else capacity)
    tightest = 32 - (needed - 1).bit_length()
    return slots, isolation, capacity, draw(st.integers(max(16, tightest - 3), min(29, tightest)))
