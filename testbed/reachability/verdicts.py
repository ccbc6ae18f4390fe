"""The verdict on every ordered pair of pods of different clients."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from testbed.reachability.acl import Origin
from testbed.reachability.flow import EVERY, Hop, Walk
from testbed.reachability.groups import Groups
from testbed.reachability.model import Model
from testbed.reachability.networks import Hazard
from testbed.reachability.ports import Port
from testbed.workloads import Pod

Verdict = Literal["isolated", "reachable", "unknown"]
Via = Literal["direct", "forged-source", "server"]
MAX_FOUND = 20_000  # pairs that are not isolated; beyond it the count is a lower bound


@dataclass(frozen=True, eq=False)
class Pair:
    """What holds for packets from one pod to another."""

    source: Pod
    target: Pod
    verdict: Verdict
    via: Via | None = None
    path: tuple[Hop, ...] = ()


@dataclass(frozen=True, eq=False)
class Result:
    """All verdicts of a model.

    Attributes:
        found: the pairs that are not isolated, by (source, target).
        total: number of ordered pairs of pods of different clients that must be isolated.
        complete: False when the search ended at ``MAX_FOUND``.
    """

    model: Model
    groups: Groups
    found: Mapping[tuple[Pod, Pod], Pair]
    total: int
    complete: bool = True
    touching: tuple[tuple[Hazard, frozenset[str]], ...] = field(default=())

    @property
    def isolated(self) -> int:
        """Number of pairs proved isolated."""
        return self.total - len(self.found)

    def pairs(self) -> Iterator[Pair]:
        """Every pair, isolated ones included, by name."""
        clients = sorted((p for p in self.model.pods if p.client), key=lambda p: p.name)
        for source in clients:
            for target in clients:
                if self.groups.apart(source, target):
                    yield self.found.get((source, target)) or Pair(source, target, "isolated")


def _sends(port: Port) -> Iterator[tuple[Via, str]]:
    yield "direct", ""
    if not port.secured:
        yield "forged-source", " with a forged source: port security is off"


def from_port(model: Model, port: Port, via: Via) -> Iterator[tuple[Pod, Via, tuple[Hop, ...]]]:
    """The client pods that packets of ``port`` reach, with the way."""
    forged = via == "forged-source"
    note = " with a forged source: port security is off" if forged else ""
    for arrival in Walk(model).start(port, EVERY if forged else port.addresses, note):
        if arrival.port.pod.client:
            hops = arrival.hops
            if forged:
                first = hops[0]
                hops = (Hop(first.at, first.why, Origin(port.pod.owner, port.security, "no port security")), *hops[1:])
            yield arrival.port.pod, ("server" if arrival.relayed else via), hops


def decide(model: Model, groups: Groups, sources: Collection[Pod] | None = None) -> Result:
    """Decide every pair, or only those from ``sources``.

    Args:
        groups: which clients may share a network.
    """
    clients = [pod for pod in model.pods if pod.client]
    found: dict[tuple[Pod, Pod], Pair] = {}
    complete = True
    chosen = [p for p in model.ports if p.pod.client and (sources is None or p.pod in sources)]
    for port in chosen:
        for via, _ in _sends(port):
            for target, way, hops in from_port(model, port, via):
                pair = (port.pod, target)
                if pair not in found and groups.apart(*pair):
                    found[pair] = Pair(*pair, "reachable", way, hops)
            if len(found) > MAX_FOUND:
                complete = False
                break
        if not complete:
            break
    touching = []
    doubtful: set[Pod] = set()
    on_subnet: dict[str, list[Pod]] = defaultdict(list)
    for port in model.ports:
        if port.pod.client:
            on_subnet[port.subnet.name].append(port.pod)
    by_name: dict[str, list[Pod]] = defaultdict(list)
    for pod in clients:
        by_name[pod.name].append(pod)
    reasons: dict[Pod, Hazard] = {}
    for hazard in model.hazards:
        nets = model.touched(hazard)
        mine = set(by_name.get(hazard.pod or "", ()))
        if hazard.pod is None or not mine:
            mine |= {p for net in nets for p in on_subnet[net]}
        if nets or mine:
            touching.append((hazard, nets))
            doubtful |= mine
            for pod in mine:
                reasons.setdefault(pod, hazard)
    for pod in doubtful:
        if len(found) > MAX_FOUND:
            complete = False
            break
        hazard = reasons[pod]
        hop = (Hop(str(hazard.origin), hazard.reason, hazard.origin),)
        for other in clients:
            for pair in ((pod, other), (other, pod)):
                if pair not in found and groups.apart(*pair) and (sources is None or pair[0] in sources):
                    found[pair] = Pair(*pair, "unknown", None, hop)
    return Result(model, groups, found, _total(clients, groups, sources), complete, tuple(touching))


def _total(clients: list[Pod], groups: Groups, sources: Collection[Pod] | None) -> int:
    sizes = Counter(groups.of(pod) for pod in clients)
    return sum(len(clients) - sizes[groups.of(p)] for p in clients if sources is None or p in sources)
