"""The verdicts against Kube-OVN and OVN: random testbeds, built by the real controller, asked by ovn-trace."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest

from lab.ovn.daemons import sockets
from testbed.reachability import model, space, verdicts
from testbed.reachability.groups import Groups
from testbed.reachability.verdicts import Result
from tests.lab.ovn import topology
from tests.lab.ovn.control import present
from tests.lab.ovn.trace import Trace
from tests.lab.ovn.worker import Worker

from .scenarios import Scenario, objects

pytestmark = pytest.mark.fabric

# Which testbeds to try: the same ones every time; a longer search in another place is two environment variables away.
SCENARIOS = int(os.environ.get("KUBEFLOWER_ORACLE_SCENARIOS", "60"))
SEED = int(os.environ.get("KUBEFLOWER_ORACLE_SEED", "1"))
L4 = ("tcp && tcp.dst == 8080", "udp && udp.dst == 53")
FORGED = ("100.64.0.9", "192.168.1.1")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("network")) as running:
        yield running


@dataclass(frozen=True)
class Question:
    """Whether a packet of one port comes out of another."""

    source: str
    target: str
    address: str
    l4: str
    forged: str | None = None
    via: str = ""


class Asked:
    """The network as it is now, and questions about its ports."""

    def __init__(self, worker: Worker, bodies: list[dict[str, Any]]) -> None:
        self.trace = Trace(sockets(worker.paths))
        self.l4 = L4 if "tcp" in str(bodies) else L4[:1]

    def ports(self, pod: str) -> list[str]:
        namespace, _, name = pod.partition("/")
        whole = f"{name}.{namespace}"
        return sorted(n for n in self.trace.ports if n == whole or n.startswith(f"{whole}."))

    def address(self, port: str) -> str:
        return self.trace.ports[port].address

    def any(self, questions: Iterable[Question]) -> Question | None:
        """The first question OVN answers with yes."""

        def ask(q: Question) -> Question | None:
            return q if q.target in self.trace.delivered(q.source, q.address, q.l4, q.forged, q.via) else None

        with ThreadPoolExecutor(4) as pool:
            return next((q for q in pool.map(ask, list(questions)) if q), None)

    def sources(self, port: str, target: str, tried: str | None) -> Iterator[str | None]:
        """The port's own address, and forged ones where nothing stops them."""
        yield None
        if not self.trace.ports[port].secured:
            near = self.address(target).rsplit(".", 1)[0]
            yield from dict.fromkeys((*([tried] if tried else []), *FORGED, f"{near}.14", self.address(target)))

    def delivers(self, pair: verdicts.Pair) -> str | None:
        """How OVN brings some packet of one pod to another, None when it brings none of those tried."""
        tried = space.text(pair.packets[0].s0) if pair.packets else None
        ways = list(product(self.ports(pair.source.name), self.ports(pair.target.name)))
        direct = [
            Question(one, two, self.address(two), l4, forged)
            for one, two in ways
            for forged in self.sources(one, two, tried)
            for l4 in self.l4
        ]
        found = self.any(direct)
        return str(found) if found else self._relayed(direct)

    def _relayed(self, direct: list[Question]) -> str | None:
        """Whether the server's NICs let a packet in that is not theirs, and out again."""
        server, port = self.ports("t-server/superlink"), self.trace.ports
        for question in direct:
            near = [p for p in server if port[p].switch == port[question.source].switch]
            entry = self.any(replace(question, target=p, via=port[p].mac) for p in near)
            if entry:
                sender = question.forged or self.address(question.source)
                out = self.any(replace(question, source=p, forged=sender) for p in server)
                if out:
                    return f"server: {entry}, {out}"
        return None


def judge(bodies: list[dict[str, Any]]) -> Result:
    return verdicts.decide(model.build(objects(bodies)), Groups({}))


def cause(result: Result, pair: verdicts.Pair) -> str:
    """Which deliberate over-approximation a false alarm is (docs/policies.md)."""
    if pair.verdict == "unknown":
        return "outside the model"
    if any(
        port.addresses == port.subnet.free for pod in (pair.source, pair.target) for port in result.model.of_pod[pod]
    ):
        return "address not pinned"
    text = " ".join(hop.why for hop in pair.path)
    if pair.via == "forged-source":
        return "forged source: only some were tried"
    if pair.via == "server":
        return "server forwarding"
    if "policyRoutes" in text or "staticRoutes" in text:
        return "route choice"
    return "rule match: ports, protocols or two-stage egress"


@pytest.mark.timeout(1800)  # the controller takes two seconds or more to make a testbed and to take it away
def test_ovn_delivers_nothing_that_the_policy_calls_isolated(
    worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    missed: list[str] = []
    alarms: Counter[str] = Counter()
    examples: dict[str, str] = {}
    isolated = reachable = unplaced = 0
    for seed in range(SEED, SEED + SCENARIOS):
        scenario = Scenario(seed)
        bodies = scenario.objects()
        result = judge(bodies)
        with present(worker.paths, bodies, whole=False) as placed:
            asked = Asked(worker, bodies)
            both = [pair for pair in result.pairs() if {pair.source.name, pair.target.name} <= placed.keys()]
            ways = [(pair, asked.delivers(pair)) for pair in both]
            unplaced += result.total - len(both)
        for pair, way in ways:
            if way:
                reachable += 1
                if pair.verdict == "isolated":
                    missed.append(f"seed {seed} {scenario.notes}: {pair.source.name} -> {pair.target.name} by {way}")
            else:
                isolated += 1
                if pair.verdict != "isolated":
                    why = cause(result, pair)
                    alarms[why] += 1
                    examples.setdefault(
                        why, f"seed {seed} {pair.source.name} -> {pair.target.name}: {[h.why for h in pair.path]}"
                    )
    lines = [
        f"OVN: seeds {SEED} to {SEED + SCENARIOS - 1}, {reachable} pairs delivered, {isolated} not, "
        f"{unplaced} with a pod that Kube-OVN gives no network; false alarms {dict(alarms)}"
    ]
    lines += [f"  {why}: {example}" for why, example in examples.items()]
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
    assert not missed, "\n".join(missed)
    assert reachable > 10, "the scenarios make no mistakes"
    assert sum(alarms.values()) < 0.02 * isolated, f"{alarms} of {isolated}\n{examples}"


def test_the_clean_layout_is_isolated_in_ovn_too(worker: Worker) -> None:
    bodies = topology.testbed(3)
    result = judge(bodies)
    assert result.total == 6
    assert not result.found
    with present(worker.paths, bodies):
        asked = Asked(worker, bodies)
        for pair in result.pairs():
            assert asked.delivers(pair) is None
