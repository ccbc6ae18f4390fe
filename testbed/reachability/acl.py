"""Access control lists of a logical switch, evaluated on sets of packets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from testbed.manifests import Object, Path_, dotted
from testbed.reachability import space
from testbed.reachability.space import Region


@dataclass(frozen=True, eq=False)
class Origin:
    """The field of a resource that decides something; ``obj`` is None for what Kube-OVN itself brings."""

    obj: Object | None
    path: Path_ = ()
    note: str = ""

    @property
    def resource(self) -> str:
        """The resource as messages show it."""
        return self.obj.ref if self.obj else "Kube-OVN"

    @property
    def field(self) -> str:
        """The field's path as messages show it."""
        return dotted(self.path)

    def __str__(self) -> str:
        where = f"{self.resource} {self.field}".strip()
        return f"{where}: {self.note}" if self.note else where


@dataclass(frozen=True, eq=False)
class Rule:
    """One ACL: packets it may match, packets it must match, and what it does with them."""

    priority: int
    allow: bool
    may: Region
    must: Region
    origin: Origin


Passed = tuple[Region, Origin | None]  # None: no ACL matched, OVN's default is to allow


def ordered(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Rules as OVN takes them; at one priority the order is undefined in OVN, so allows come first."""
    return tuple(sorted(rules, key=lambda r: (-r.priority, not r.allow)))


def permitted(rules: tuple[Rule, ...], packets: Region) -> list[Passed]:
    """Split ``packets`` into those let through, each part with the rule that lets it.

    Args:
        rules: as :func:`ordered` returns them.
        packets: what meets them.
    """
    passed: list[Passed] = []
    for rule in rules:
        if not packets:
            break
        if rule.allow:
            hit = space.intersect(packets, rule.may)
            if hit:
                passed.append((hit, rule.origin))
                packets = space.subtract(packets, rule.may)
        else:
            packets = space.subtract(packets, rule.must)
    if packets:
        passed.append((packets, None))
    return passed


def dropping(rules: tuple[Rule, ...], packets: Region) -> list[Origin]:
    """The rules that stop some of ``packets``."""
    found = []
    for rule in rules:
        if rule.allow:
            packets = space.subtract(packets, rule.may)
        elif space.intersect(packets, rule.must):
            found.append(rule.origin)
            packets = space.subtract(packets, rule.must)
    return found
