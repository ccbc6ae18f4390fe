"""Laws of the verdicts, on random testbeds with random mistakes."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from testbed.compare import difference
from testbed.edits import apply
from testbed.manifests import Object
from testbed.reachability import model, repair, verdicts
from testbed.reachability.flow import Walk
from testbed.reachability.groups import Groups
from testbed.reachability.verdicts import Result
from testbed.rules.context import Context

from .scenarios import Body, Scenario, body, cidr, objects

SEEDS = st.integers(0, 10**6)
few = settings(max_examples=40)


def judge(found: tuple[Object, ...]) -> Result:
    return verdicts.decide(model.build(found), Groups({}))


def known(result: Result) -> set[tuple[str, str, str, str | None]]:
    return {(p.source.name, p.target.name, p.verdict, p.via) for p in result.pairs()}


@few
@given(SEEDS, st.randoms(use_true_random=False))
def test_no_verdict_depends_on_the_order_of_the_resources(seed: int, random: Random) -> None:
    bodies = Scenario(seed).objects()
    before = known(judge(objects(bodies)))
    random.shuffle(bodies)
    assert known(judge(objects(bodies))) == before


def allow(bodies: list[Body], random: Random) -> None:
    """Add one thing that lets packets pass."""
    nets = [b for b in bodies if b["kind"] == "Subnet" and b["metadata"]["name"] != "t-net-server"]
    one, other = random.choice(nets)["spec"], random.choice(nets)["spec"]
    policies = [b for b in bodies if b["kind"] == "NetworkPolicy"]
    match = random.choice(["ip", f"ip4.src == {other['cidrBlock']}", f"ip4.dst == {other['cidrBlock']} && tcp"])
    acl = {"direction": random.choice(["to-lport", "from-lport"]), "match": match, "action": "allow-related"}
    kind = random.choice(["allowSubnets", "acls", "private", "policy", "security"])
    if kind == "allowSubnets":
        one["allowSubnets"] = [*one["allowSubnets"], random.choice([other["cidrBlock"], "0.0.0.0/0", cidr(9)])]
    elif kind == "acls":
        one["acls"] = [*one["acls"], {**acl, "priority": random.choice([100, 1200, 2100, 4000])}]
    elif kind == "private":
        # Without the rules of "private" drops below them count, which a higher allow keeps from mattering.
        one["private"] = False
        one["acls"] = [*one["acls"], {**acl, "direction": "to-lport", "match": "ip", "priority": 3000}]
    elif kind == "policy" and policies:
        policies[0]["spec"].setdefault("ingress", []).append({})
        policies[0]["spec"].setdefault("egress", [{}])
    else:
        pods = [b["metadata"]["annotations"] for b in bodies if b["kind"] == "Pod"]
        marks = random.choice(pods)
        for key in [k for k in marks if k.endswith("port_security")][:1]:
            del marks[key]


@few
@given(SEEDS, st.randoms(use_true_random=False))
def test_an_allow_never_isolates(seed: int, random: Random) -> None:
    bodies = Scenario(seed).objects()
    policy = next((b for b in bodies if b["kind"] == "NetworkPolicy"), None)
    if policy is not None and "Egress" not in policy["spec"]["policyTypes"]:
        policy["spec"]["policyTypes"] = ["Ingress", "Egress"]  # adding egress rules would add its default deny
    before = {(p.source.name, p.target.name) for p in judge(objects(bodies)).found.values()}
    changed = copy.deepcopy(bodies)
    allow(changed, random)
    after = {(p.source.name, p.target.name) for p in judge(objects(changed)).found.values()}
    assert before <= after


@few
@given(SEEDS, SEEDS)
def test_a_difference_is_the_inverse_of_its_inverse(one: int, two: int) -> None:
    first, second = (Context(objects(Scenario(s).objects())) for s in (one, two))
    assert difference(first, first).empty
    assert difference(first, second) == difference(second, first).inverse()


@settings(max_examples=25)
@given(SEEDS)
@example(40870)  # a third client's policy lets packets onto the network of two others
def test_a_witness_is_a_packet_that_arrives_and_its_repair_stops_it(seed: int) -> None:
    found = objects(Scenario(seed).objects())
    result = judge(found)
    for pair in list(result.found.values())[:3]:
        if pair.verdict != "reachable":
            continue
        box = pair.packets[0]
        if pair.via != "server":  # one packet alone, walked again
            again = [
                arrival.port.pod
                for port in result.model.of_pod[pair.source]
                for arrival in Walk(result.model).start(port, [(box.s0, box.s0)], destinations=[(box.d1, box.d1)])
            ]
            assert pair.target in again
        assert repair.verdict(found, "client", pair).verdict == "reachable"
        edits = repair.repair(found, "client", pair)
        assert edits, f"no repair for {[str(h.why) for h in pair.path]}"
        assert repair.verdict(apply(found, edits), "client", pair).verdict == "isolated"
        for edit in edits:
            json.dumps(edit.value)


def test_the_clean_layout_stays_isolated_whatever_one_client_adds_to_itself() -> None:
    """Peering and routes of one side alone, and its own network policies, open nothing."""
    bodies: list[dict[str, Any]] = [body("Namespace", "t-server", labels={"kubeflower.io/role": "server"})]
    seed = next(
        s for s in range(10**4) if Scenario(s).notes == ["own"] and not judge(objects(Scenario(s).objects())).found
    )
    bodies = Scenario(seed).objects()
    vpc = next(b for b in bodies if b["kind"] == "Vpc")
    vpc["spec"]["vpcPeerings"] = [{"remoteVpc": "t-vpc-2", "localConnectIP": "169.254.9.1/30"}]
    vpc["spec"]["staticRoutes"] = [{"policy": "policyDst", "cidr": "0.0.0.0/0", "nextHopIP": "169.254.9.2"}]
    bodies.append(body("NetworkPolicy", "mine", "t-client-1", {"podSelector": {}, "ingress": [{}], "egress": [{}]}))
    assert not judge(objects(bodies)).found
