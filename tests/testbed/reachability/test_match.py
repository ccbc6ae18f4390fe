"""OVN match expressions as sets, against packets decided one by one."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.reachability import match, space
from testbed.reachability.space import Box, Region

A, B, C = "10.0.0.0/24", "10.0.1.0/24", "10.0.0.5"


def holds(region: Region, source: str, target: str) -> bool:
    s, d = space.network(source)[0], space.network(target)[0]
    return any(b.s0 <= s <= b.s1 and b.d0 <= d <= b.d1 for b in region)


@pytest.mark.parametrize(
    ("text", "source", "target", "may", "must"),
    [
        ("ip4.src == 10.0.0.0/24", C, "10.9.9.9", True, True),
        ("ip4.src == 10.0.0.0/24", "10.0.1.1", C, False, False),
        ("ip4.src == 10.0.0.0/24 && tcp", C, C, True, False),
        ("!(ip4.src == 10.0.0.0/24)", C, C, False, False),
        ("!(ip4.src == 10.0.0.0/24 && tcp)", C, C, True, False),
        ("ip4.src != {10.0.0.5, 10.0.0.6}", C, C, False, False),
        ("ip4.dst == {10.0.0.5, 10.0.0.6}", "1.1.1.1", C, True, True),
        ("ip6", C, C, False, False),
        ("ip", "fd00::1", "fd00::2", True, True),
        ("(ip4.src == 10.0.0.5) || (ip4.dst == 10.0.0.5 && udp)", "9.9.9.9", C, True, False),
        ("arp", C, C, False, False),
        ('inport == "x" && ip4.src == $set', C, C, True, False),
        ("ip4.src == 10.0.0.0/24 && ip4.dst == 10.0.1.0/24 || ip", C, C, True, False),
        ("nonsense ==", C, C, True, False),
        ("ip4.src == 10.0.0.0/255.255.255.0", C, C, True, True),
        ("ip4.src == 0.0.0.0/0", C, C, True, True),
        ("!ip6 && !(ip4.src == 10.0.1.0/24)", C, C, True, True),
        ("ip4 || tcp.dst == {1, no}", C, C, True, False),  # which OVN refuses as a whole
        ("ip4 || ip4.dst == $missing", C, C, True, False),
        ("ip4.src == 10.0.1.0/24 && ip4.dst < 9", C, C, False, False),
    ],
)
def test_expressions(text: str, source: str, target: str, may: bool, must: bool) -> None:
    found = match.parse(text)
    assert (holds(found.may, source, target), holds(found.must, source, target)) == (may, must)


@pytest.mark.parametrize("mask", ["0.0.0.255", "255.0.255.0", "0.255.255.255"])
def test_a_mask_of_a_host_is_no_network(mask: str) -> None:
    with pytest.raises(ValueError, match=re.escape(mask)):
        space.network(f"10.0.0.0/{mask}")


def test_what_ovn_refuses_is_marked() -> None:
    for text in (
        "",
        "ip4.src == nowhere",
        "a && b || c",
        "(ip4",
        "ip4.src == 10.0.0.0/24 ip",
        "(" * 60 + "ip" + ")" * 60,
        "ip4.src == 0.0.0.3/0.0.0.255",  # bitwise for OVN: any source that ends in 3
        "ip4.src == 10.0.0.3/255.0.255.0",
        "ip4.src == 10.0.0.5/24",  # Value contains unmasked 1-bits
        "ip4.src == 10.0.0.0/024",
        "ip4.src != fd00::/8",
        "ip6.dst == 10.0.0.1",
        "!ip4.src == 10.0.0.0/24",  # Missing parentheses around operand of !
        "!!ip4",
        "!ip4.src",
        "ip4 || nonsense",
        "ip4.src",
    ):
        assert not match.parse(text).understood, text


BOX = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)).map(
    lambda t: Box(min(t[:2]), max(t[:2]), min(t[2:]), max(t[2:]))
)
REGION = st.lists(BOX, max_size=4).map(tuple)


def points(region: Region) -> set[tuple[int, int]]:
    return {(s, d) for b in region for s in range(b.s0, b.s1 + 1) for d in range(b.d0, b.d1 + 1)}


@given(REGION, REGION)
def test_sets_of_packets_behave_like_sets(one: Region, two: Region) -> None:
    assert points(space.intersect(one, two)) == points(one) & points(two)
    assert points(space.subtract(one, two)) == points(one) - points(two)
    assert space.contains(one, two) == (points(two) <= points(one))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=8))
def test_merged_intervals_hold_the_same_addresses(raw: list[tuple[int, int]]) -> None:
    intervals = [(low, low + length) for low, length in raw]
    found = space.merged(intervals)
    assert {x for a, b in found for x in range(a, b + 1)} == {x for a, b in intervals for x in range(a, b + 1)}
    assert all(b + 1 < c for (_, b), (c, _) in pairwise(found))
