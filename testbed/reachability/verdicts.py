"""The verdict on every ordered pair of pods of different clients."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from testbed.reachability.acl import Origin
from testbed.reachability.flow import Hop, Walk
from testbed.reachability.groups import Groups
from testbed.reachability.lookup import EVERY
from testbed.reachability.model import Model
from testbed.reachability.networks import Hazard
from testbed.reachability.ports import Port
from testbed.reachability.space import EMPTY, Region
from testbed.workloads import Pod

Verdict = Literal["isolated", "reachable", "unknown"]
Via = Literal["direct", "forged-source", "server"]
Touching = tuple[tuple[Hazard, frozenset[str]], ...]
MAX_FOUND = 20_000  # pairs that are not isolated; beyond it the count is a lower bound


@dataclass(frozen=True, eq=False)
class Pair:
    """What holds for packets from one pod to another."""

    source: Pod
    target: Pod
    verdict: Verdict
    via: Via | None = None
    path: tuple[Hop, ...] = ()
    packets: Region = EMPTY  # a reachable pair's, as they arrive


@dataclass(frozen=True, eq=False)
class Result:
    """All verdicts of a model.

    Attributes:
        found: the pairs that are not isolated, by (source, target).
        total: number of ordered pairs of pods of different clients that must be isolated.
        complete: False when the search ended at ``MAX_FOUND``.
        touching: the hazards that touch a client's network, with the switches they touch.
    """

    model: Model
    groups: Groups
    found: Mapping[tuple[Pod, Pod], Pair]
    total: int
    complete: bool = True
    touching: Touching = ()

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


def from_port(model: Model, port: Port, via: Via) -> Iterator[Pair]:
    """The client pods that packets of ``port`` reach, with the way; a pod may come several times."""
    forged = via == "forged-source"
    note = " with a forged source: port security is off" if forged else ""
    for arrival in Walk(model).start(port, EVERY if forged else port.addresses, note):
        if arrival.port.pod.client:
            hops = arrival.hops
            if forged:
                first = hops[0]
                hops = (Hop(first.at, first.why, Origin(port.pod.owner, port.security, "no port security")), *hops[1:])
            way: Via = "server" if arrival.relayed else via
            yield Pair(port.pod, arrival.port.pod, "reachable", way, hops, arrival.packets)


def decide(model: Model, groups: Groups, sources: Collection[Pod] | None = None) -> Result:
    """Decide every pair, or only those from ``sources``.

    Args:
        model: the network.
        groups: which clients may share a network.
        sources: pods to decide from; None for all clients' pods.
    """
    clients = [pod for pod in model.pods if pod.client]
    chosen = clients if sources is None else [pod for pod in clients if pod in sources]
    found: dict[tuple[Pod, Pod], Pair] = {}
    complete = _reach(model, groups, chosen, found)
    touching, doubtful = _doubts(model, clients)
    complete = _unknown(groups, clients, set(chosen), doubtful, found) and complete
    sizes = Counter(groups.of(pod) for pod in clients)
    total = sum(len(clients) - sizes[groups.of(pod)] for pod in chosen)
    return Result(model, groups, found, total, complete, touching)


def _reach(model: Model, groups: Groups, chosen: list[Pod], found: dict[tuple[Pod, Pod], Pair]) -> bool:
    """Add every reachable pair; False when there are too many to list."""
    for pod in chosen:
        for port in model.of_pod.get(pod, ()):
            ways: tuple[Via, ...] = ("direct",) if port.secured else ("direct", "forged-source")
            for via in ways:
                for pair in from_port(model, port, via):
                    if (pod, pair.target) not in found and groups.apart(pod, pair.target):
                        found[pod, pair.target] = pair
        if len(found) > MAX_FOUND:
            return False
    return True


def _doubts(model: Model, clients: list[Pod]) -> tuple[Touching, dict[Pod, Hazard]]:
    """The hazards that touch a client's network, and for each client's pod one that touches it."""
    on_subnet: dict[str, list[Pod]] = defaultdict(list)
    for port in model.ports:
        if port.pod.client:
            on_subnet[port.subnet.name].append(port.pod)
    by_name = {pod.name: pod for pod in clients}
    touching: list[tuple[Hazard, frozenset[str]]] = []
    doubtful: dict[Pod, Hazard] = {}
    for hazard in model.hazards:
        nets = model.touched(hazard)
        own = by_name.get(hazard.pod or "")
        mine = [own] if own else clients if hazard.anywhere else [pod for net in nets for pod in on_subnet[net]]
        if nets or mine or (hazard.anywhere and model.testbed):
            touching.append((hazard, nets))
        for pod in mine:
            doubtful.setdefault(pod, hazard)
    return tuple(touching), doubtful


def _unknown(
    groups: Groups,
    clients: list[Pod],
    chosen: set[Pod],
    doubtful: dict[Pod, Hazard],
    found: dict[tuple[Pod, Pod], Pair],
) -> bool:
    """Add every pair of which one side is in doubt; False when there are too many to list."""
    for pod, hazard in doubtful.items():
        hop = (Hop(str(hazard.origin), hazard.reason, hazard.origin),)
        for other in clients:
            for pair in ((pod, other), (other, pod)):
                if pair not in found and pair[0] in chosen and groups.apart(*pair):
                    found[pair] = Pair(*pair, "unknown", None, hop)
        if len(found) > MAX_FOUND:
            return False
    return True
