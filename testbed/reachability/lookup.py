"""Route lookup of one router, on sets of packets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.reachability import space
from testbed.reachability.networks import Subnet
from testbed.reachability.routers import Route, Router, rank_connected
from testbed.reachability.space import Interval, Region

EVERY: tuple[Interval, ...] = (space.V4_ALL, space.V6_ALL)


@dataclass(frozen=True, eq=False)
class Entry:
    """A connected network or a static route.

    Attributes:
        sure: it exists for certain, so packets it takes go no other way.
    """

    area: Interval
    rank: int
    target: Subnet | Route
    sure: bool = True

    @property
    def region(self) -> Region:
        """The packets it takes."""
        return self.target.region if isinstance(self.target, Route) else space.product(EVERY, [self.area])


class Lookup:
    """The routes of one router, found by destination; the highest rank wins, equals share."""

    def __init__(self, router: Router) -> None:
        links = [interval for intervals, _ in router.links.values() for interval in intervals]
        known = [*links, *(cidr for net in router.subnets for cidr in net.cidrs)]
        # OVN installs a route only if its next hop is on one of the router's own networks.
        routes = [r for r in router.routes if any(low <= r.next_hop <= high for low, high in known)]
        self.by_source = [r for r in routes if not r.by_destination]
        entries = [
            Entry(cidr, rank_connected(cidr), net, net.obj is not None) for net in router.subnets for cidr in net.cidrs
        ]
        entries += [Entry((b.d0, b.d1), r.rank, r) for r in routes if r.by_destination for b in r.region]
        self.entries = sorted(entries, key=lambda e: e.area)
        self.starts = [e.area[0] for e in self.entries]
        self.reach: list[int] = []  # the furthest end up to each entry
        for entry in self.entries:
            self.reach.append(max(entry.area[1], self.reach[-1] if self.reach else 0))

    def overlapping(self, low: int, high: int) -> Iterator[Entry]:
        """Connected networks and destination routes that overlap [low, high]."""
        index = bisect_right(self.starts, high) - 1
        while index >= 0 and self.reach[index] >= low:
            if self.entries[index].area[1] >= low:
                yield self.entries[index]
            index -= 1

    def chosen(self, packets: Region) -> Iterator[tuple[Region, Subnet | Route]]:
        """Split ``packets`` by the network or route they take; those without a route are dropped."""
        found = {id(e): e for box in packets for e in self.overlapping(box.d0, box.d1)}
        for entry in found.values():
            hit = space.intersect(packets, entry.region)
            for other in self.overlapping(*entry.area):
                if other.rank > entry.rank and other.sure:
                    hit = space.subtract(hit, other.region)
            for route in self.by_source:
                if route.rank > entry.rank:
                    hit = space.subtract(hit, route.region)
            if hit:
                yield hit, entry.target
        for route in self.by_source:
            hit = space.intersect(packets, route.region)
            for entry in self.entries if hit else ():
                if entry.rank > route.rank and entry.sure:
                    hit = space.subtract(hit, entry.region)
            if hit:
                yield hit, route
