"""Sets of packets: unions of (source interval x destination interval) boxes over one address line.

IPv4 and IPv6 share the line: IPv4 at [0, 2^32), IPv6 above, so that one interval arithmetic serves both.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

V6 = 1 << 32
TOP = V6 + (1 << 128) - 1

Interval = tuple[int, int]  # inclusive
V4_ALL: Interval = (0, V6 - 1)
V6_ALL: Interval = (V6, TOP)


class Box(NamedTuple):
    """Packets whose source is in [s0, s1] and whose destination is in [d0, d1]."""

    s0: int
    s1: int
    d0: int
    d1: int


Region = tuple[Box, ...]
EMPTY: Region = ()
IP4: Region = (Box(*V4_ALL, *V4_ALL),)
IP6: Region = (Box(*V6_ALL, *V6_ALL),)
ALL: Region = IP4 + IP6


def network(text: Any) -> Interval:
    """The interval of a CIDR or an address.

    Raises:
        ValueError: when it is neither; also for a mask with zeros before ones, which OVN takes bit by bit.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not an address or CIDR")
    net: IPv4Network | IPv6Network = ip_network(text.strip(), strict=False)
    _, _, mask = text.strip().partition("/")
    if "." in mask and mask != str(net.netmask):  # Python also reads 0.0.0.255, as /24
        raise ValueError(f"{text!r} has a mask that is no network's: write it as /24")
    offset = 0 if net.version == 4 else V6
    return offset + int(net.network_address), offset + int(net.broadcast_address)


def networks(text: Any) -> tuple[Interval, ...]:
    """The intervals of a comma-separated list of CIDRs or addresses (dual stack).

    Raises:
        ValueError: when any part is neither.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{text!r} is not an address or CIDR")
    return tuple(network(part) for part in text.split(","))


def text(value: int) -> str:
    """An address as people write it."""
    return str(IPv4Address(value) if value < V6 else IPv6Address(value - V6))


def is_address(value: Any) -> bool:
    """Whether ``value`` is one IP address in text."""
    try:
        ip_address(value)
    except ValueError:
        return False
    return isinstance(value, str)


def merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """The same addresses in the fewest intervals, in order."""
    found: list[Interval] = []
    for low, high in sorted(intervals):
        if found and low <= found[-1][1] + 1 and not (found[-1][1] == V6 - 1 and low == V6):
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def product(sources: Iterable[Interval], destinations: Iterable[Interval]) -> Region:
    """Packets from any of ``sources`` to any of ``destinations``, family by family."""
    destinations = tuple(destinations)
    return tuple(
        Box(max(s0, f0), min(s1, f1), max(d0, f0), min(d1, f1))
        for s0, s1 in sources
        for d0, d1 in destinations
        for f0, f1 in (V4_ALL, V6_ALL)
        if max(s0, f0) <= min(s1, f1) and max(d0, f0) <= min(d1, f1)
    )


def intersect(left: Region, right: Region) -> Region:
    """Packets in both."""
    found = []
    for a in left:
        for b in right:
            s0, s1 = max(a.s0, b.s0), min(a.s1, b.s1)
            d0, d1 = max(a.d0, b.d0), min(a.d1, b.d1)
            if s0 <= s1 and d0 <= d1:
                found.append(Box(s0, s1, d0, d1))
    return tuple(found)


def _cut(a: Box, b: Box) -> Iterable[Box]:
    s0, s1 = max(a.s0, b.s0), min(a.s1, b.s1)
    d0, d1 = max(a.d0, b.d0), min(a.d1, b.d1)
    if s0 > s1 or d0 > d1:
        yield a
        return
    if a.s0 < s0:
        yield Box(a.s0, s0 - 1, a.d0, a.d1)
    if s1 < a.s1:
        yield Box(s1 + 1, a.s1, a.d0, a.d1)
    if a.d0 < d0:
        yield Box(s0, s1, a.d0, d0 - 1)
    if d1 < a.d1:
        yield Box(s0, s1, d1 + 1, a.d1)


def subtract(left: Region, right: Region) -> Region:
    """Packets in ``left`` and not in ``right``."""
    for b in right:
        if not left:
            return EMPTY
        left = tuple(piece for a in left for piece in _cut(a, b))
    return left


def contains(left: Region, right: Region) -> bool:
    """Whether every packet of ``right`` is in ``left``."""
    return not subtract(right, left)


def to(region: Region, destinations: Iterable[Interval]) -> Region:
    """Packets of ``region`` whose destination is in ``destinations``."""
    destinations = tuple(destinations)
    return tuple(
        Box(b.s0, b.s1, max(b.d0, d0), min(b.d1, d1))
        for b in region
        for d0, d1 in destinations
        if max(b.d0, d0) <= min(b.d1, d1)
    )


def source_in(region: Region, sources: Iterable[Interval]) -> Region:
    """Packets of ``region`` whose source is in ``sources``."""
    sources = tuple(sources)
    return tuple(
        Box(max(b.s0, s0), min(b.s1, s1), b.d0, b.d1)
        for b in region
        for s0, s1 in sources
        if max(b.s0, s0) <= min(b.s1, s1)
    )
