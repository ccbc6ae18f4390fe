"""What Kubernetes, Multus, Kube-OVN and OVN make of an unusual way to write a network."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import combinations, pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.contract import MULTUS_NETWORKS, nic_annotation
from testbed.reachability import groups, model, verdicts
from testbed.reachability.groups import Groups
from testbed.reachability.ports import Port
from testbed.reachability.routers import rank_connected

from .scenarios import Body, body, cidr, nic, objects, pod, subnet

ONE, TWO = "t-client-1", "t-client-2"
PROVIDER = f"own.{ONE}.ovn"
CONFIG = {"cniVersion": "0.3.1", "type": "kube-ovn", "server_socket": "/s", "provider": PROVIDER}


def clients(**marks: str) -> list[Body]:
    """Two clients, each on a private network and a router of its own; ``marks`` are the first one's annotations."""
    found = []
    for i, namespace in ((1, ONE), (2, TWO)):
        labels = {"kubeflower.io/role": "client", "kubeflower.io/client": f"{i}", "kubeflower.io/testbed": "t"}
        found += [
            body("Namespace", namespace, labels=labels),
            body("Vpc", f"t-vpc-{i}", spec={"namespaces": [namespace]}),
            subnet(f"t-net-{i}", f"t-vpc-{i}", cidr(i), [namespace]),
        ]
        own = nic(f"t-net-{i}", f"10.64.{i}.3", secured=True)
        found.append(pod("supernode", namespace, "client", {**own, **(marks if i == 1 else {})}, **labels))
    return found


def verdict(bodies: list[Body]) -> set[str]:
    return {pair.verdict for pair in verdicts.decide(model.build(objects(bodies)), Groups({})).pairs()}


def attachment(config: str | Body, namespace: str = ONE, api: str = "k8s.cni.cncf.io/v1") -> Body:
    text = config if isinstance(config, str) else json.dumps(config)
    return {**body("NetworkAttachmentDefinition", "own", namespace, {"config": text}), "apiVersion": api}


def attached(networks: Any, *attachments: Body) -> set[str]:
    text = networks if isinstance(networks, str) else json.dumps(networks)
    marks = {MULTUS_NETWORKS: text, **nic("t-net-1", "10.64.1.4", True, PROVIDER)}
    return verdict([*clients(**marks), *attachments])


def test_two_clients_are_isolated_with_a_second_nic_of_their_own_too() -> None:
    assert verdict(clients()) == {"isolated"}
    assert attached("own", attachment(CONFIG)) == {"isolated"}
    assert attached([{"name": "own", "namespace": ONE}], attachment(CONFIG)) == {"isolated"}


OTHER_KEYS = [
    [{"name": "own", "Name": "link-2"}],
    [{"name": "own", "Namespace": TWO}],
    [{"name": "own", "name\u017fpace": TWO}],  # Go folds the long s
    '[{"name": "link-2", "name": "own"}]',
    [{"name": "own", "namespace": 1}],
    [{"name": "own", "ips": ["10.64.1.9"]}],
    [{"name": "own", "IPs": ["10.64.1.9"]}],
    "[" * 100_000,
]


@pytest.mark.parametrize("networks", OTHER_KEYS, ids=range(len(OTHER_KEYS)))
def test_a_list_of_networks_that_go_reads_otherwise_is_unknown(networks: Any) -> None:
    assert attached(networks, attachment(CONFIG)) == {"unknown"}


CONFIGS: list[str | Body] = [
    {**CONFIG, "Type": "macvlan"},
    {**CONFIG, "PLUGINS": [{"type": "macvlan"}]},
    f'{{"type": "macvlan", "type": "kube-ovn", "provider": "{PROVIDER}"}}',
    {**CONFIG, "type": "macvlan"},
    {**CONFIG, "provider": f"other.{ONE}.ovn"},
    {k: v for k, v in CONFIG.items() if k != "provider"},
    "{",
]


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_an_attachment_that_go_or_kube_ovn_reads_otherwise_is_unknown(config: str | Body) -> None:
    assert attached("own", attachment(config)) == {"unknown"}


def test_an_attachment_of_another_api_group_is_none() -> None:
    fake = attachment(CONFIG, api="z.example.com/v1")
    assert attached("own", fake) == {"unknown"}
    assert attached("own", attachment({"type": "macvlan"}), fake) == {"unknown"}


def unbound() -> list[Body]:
    """Clients that name no network: their namespaces decide."""
    found = clients()
    for one in found:
        if one["kind"] == "Pod":
            one["metadata"]["annotations"] = {}
        elif one["kind"] == "Subnet":
            one["spec"]["namespaces"] = []
    return found


@pytest.mark.parametrize("declared", [True, False])
def test_a_subnet_may_select_namespaces_by_the_label_every_one_has(declared: bool) -> None:
    selector = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": [ONE, TWO]}]}
    shared = subnet("shared", "t-vpc-1", cidr(9), [], namespaceSelectors=[selector])
    found = [b for b in unbound() if declared or b["kind"] != "Namespace"]
    built = model.build(objects([*found, shared]))
    assert {port.subnet.name for port in built.ports} == {"shared"}


def test_a_namespace_cannot_hide_its_name_by_a_label_of_its_own() -> None:
    selector = {"matchLabels": {"kubernetes.io/metadata.name": ONE}}
    shared = subnet("shared", "t-vpc-1", cidr(9), [], namespaceSelectors=[selector])
    found = unbound()
    found[0]["metadata"]["labels"]["kubernetes.io/metadata.name"] = "other"
    nets = {p.pod.namespace: p.subnet.name for p in model.build(objects([*found, shared])).ports}
    assert nets[ONE] == "shared"


POOL = nic_annotation("ip_pool")


def test_an_address_from_a_pool_is_unknown_unless_the_pool_is_a_list_of_addresses() -> None:
    assert verdict(clients(**{POOL: "nodes"})) == {"unknown"}
    assert verdict(clients(**{POOL: "10.64.1.5;10.64.1.6"})) == {"isolated"}
    assert verdict(clients(**{POOL: "10.64.1.5,10.64.1.6"})) == {"isolated"}


def test_a_pool_bound_to_the_namespace_counts_where_no_address_is_given() -> None:
    pool = {**body("IPPool", "nodes", spec={"subnet": "join", "namespaces": [ONE]}), "apiVersion": "kubeovn.io/v1"}
    assert verdict([*clients(), pool]) == {"isolated"}
    free = clients()
    for one in free:
        one["metadata"].get("annotations", {}).pop(nic_annotation("ip_address"), None)
    assert verdict(free) == {"isolated"}
    assert verdict([*free, pool]) == {"unknown"}
    free[0]["metadata"]["annotations"] = {POOL: "nodes"}
    assert verdict(free) == {"unknown"}


@pytest.mark.parametrize("source", ["0.0.0.3/0.0.0.255", "10.64.1.3/28"])
def test_an_allow_with_another_mask_than_a_prefix_may_match_anything(source: str) -> None:
    found = clients()
    for one in found:
        if one["kind"] == "Subnet":
            one["spec"] |= {"vpc": "t-vpc-1", "acls": [
                {"direction": "to-lport", "priority": 1500, "match": f"ip4.src == {source}", "action": "allow"}
            ]}  # fmt: skip
    assert verdict(found) == {"reachable"}


GROUPS = nic_annotation("security_groups")
LATE_DROP = {"direction": "to-lport", "priority": 3500, "match": "ip4", "action": "drop"}


@pytest.mark.parametrize(("groups", "says"), [((1,), "isolated"), ((2,), "isolated"), ((1, 2), "reachable")], ids=str)
def test_a_security_group_goes_before_private_and_drops_on_both_sides(groups: tuple[int, ...], says: str) -> None:
    found = clients()
    for one in found:
        if one["kind"] == "Subnet":
            one["spec"] |= {"vpc": "t-vpc-1", "acls": [LATE_DROP]}
        elif one["kind"] == "Pod" and int(one["metadata"]["namespace"][-1]) in groups:
            one["metadata"]["annotations"][GROUPS] = "web"
    assert verdict(found) == {says}


def guarded(*names: str, secured: str = "true") -> list[Body]:
    """Two clients in one VPC that a default-deny policy alone keeps apart."""
    found = clients(**{nic_annotation("port_security"): secured})
    for one in found:
        if one["kind"] == "Subnet":
            one["spec"] |= {"vpc": "t-vpc-1", "private": False}
    policy = {"podSelector": {}, "policyTypes": ["Ingress"]}
    return [*found, *(body("NetworkPolicy", name, namespace, policy) for name in names for namespace in (ONE, TWO))]


def test_a_policy_of_1_12_lets_in_who_says_it_is_a_gateway() -> None:
    assert verdict(guarded("default")) == {"isolated"}
    result = verdicts.decide(model.build(objects(guarded("default", secured="false"))), Groups({}))
    assert [(pair.source.namespace, pair.via) for pair in result.found.values()] == [(ONE, "forged-source")]


def test_two_policies_of_one_port_group_are_not_credited() -> None:
    assert verdict(guarded("a-b", "a-c")) == {"isolated"}
    assert verdict(guarded("a-b", "a.b")) == {"reachable"}


@pytest.mark.parametrize(
    ("nodes", "shared"),
    [(("a-b", "a-b"), True), (("a.b", "a-b"), False), (("a-b", "A-b"), False), (("a-b", ["a-b"]), False)],
    ids=str,
)
def test_clients_share_a_network_only_on_one_node(nodes: tuple[Any, Any], shared: bool) -> None:
    found = clients()
    for one, node in zip([b for b in found if b["kind"] == "Pod"], nodes, strict=True):
        one["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
        one["metadata"]["labels"]["kubeflower.io/network"] = "a-b"
    for one in found:
        if one["kind"] == "Namespace":
            one["metadata"]["annotations"] = {"kubeflower.io/isolation": "node"}
            one["metadata"]["labels"]["kubeflower.io/network"] = "a-b"
    built = model.build(objects(found))
    decided, problems = groups.decide(built.objects, built.pods, "node")
    first, second = built.pods
    assert decided.apart(first, second) is not shared
    assert bool(problems) is not shared


def peered(links: Iterable[tuple[int, int]], routes: Callable[[int, int], list[str]]) -> list[Body]:
    """Two clients without a private network, on the routers 1 and 2 of a graph; ``routes`` are those over each link."""
    specs: dict[int, Body] = defaultdict(lambda: {"vpcPeerings": [], "staticRoutes": []})
    for number, (a, b) in enumerate(links):
        block = f"169.{254 - number // 256}.{number % 256}"
        for here, there, own, next_hop in ((a, b, 1, 2), (b, a, 2, 1)):
            peering = {"remoteVpc": f"t-vpc-{there}", "localConnectIP": f"{block}.{own}/30"}
            specs[here]["vpcPeerings"].append(peering)
            specs[here]["staticRoutes"] += [
                {"cidr": c, "nextHopIP": f"{block}.{next_hop}"} for c in routes(here, there)
            ]
    found = clients()
    for one in found:
        if one["kind"] == "Subnet":
            one["spec"]["private"] = False
        elif one["kind"] == "Vpc":
            one["spec"] |= specs.pop(int(one["metadata"]["name"][6:]), {})
    return found + [body("Vpc", f"t-vpc-{i}", spec=spec) for i, spec in specs.items()]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("block", "says"), [("203.0.113.0/24", "isolated"), ("10.64.0.0/16", "reachable")])
def test_routers_that_all_route_to_each_other_are_walked_once(block: str, says: str) -> None:
    found = peered(combinations(range(1, 31), 2), lambda *_: [block])
    assert verdict(found) == {says}
    (pair, *_) = verdicts.decide(model.build(objects(found)), Groups({})).pairs()
    assert sum(hop.at.startswith("peering") for hop in pair.path) == (says == "reachable")  # the nearest way


def test_a_chain_of_routers_is_followed_to_its_end() -> None:
    chain = [1, *range(3, 503), 2]
    assert verdict(peered(pairwise(chain), lambda *_: ["10.64.0.0/16"])) == {"reachable"}
    assert verdict(peered(pairwise(chain), lambda here, _: [] if here == 250 else ["10.64.0.0/16"])) == {"isolated"}


BLOCKS = ("10.64.1.0/28", "10.64.2.0/28", "10.64.2.3/32", "0.0.0.0/0", "10.64.0.0/16")


@given(st.sets(st.sampled_from(list(combinations(range(1, 6), 2)))), st.integers(0, 10**9))
def test_a_set_of_packets_goes_where_its_packets_go(links: set[tuple[int, int]], seed: int) -> None:
    random = Random(seed)
    found = peered(sorted(links), lambda *_: random.choices(BLOCKS, k=random.randrange(3)))
    built = model.build(objects(found))
    assert {(p.source.name, p.target.name) for p in verdicts.decide(built, Groups({})).found.values()} == {
        (one.pod.name, other.pod.name) for one in built.ports for other in built.ports if _arrives(built, one, other)
    }


def _arrives(built: model.Model, sender: Port, receiver: Port) -> bool:
    """One packet, from router to router: at each one the routes of the highest rank that take it."""
    source, target = sender.addresses[0][0], receiver.addresses[0][0]
    waiting, seen = [sender.subnet.vpc], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        router = built.routers[name]
        taking = [r for r in router.routes if any(b.s0 <= source <= b.s1 and b.d0 <= target <= b.d1 for b in r.region)]
        best = max((route.rank for route in taking), default=0)
        if receiver.subnet in router.subnets and rank_connected(receiver.subnet.cidrs[0]) > best:
            return receiver is not sender
        for route in taking:
            if route.rank == best:
                ends = router.links.items()
                waiting += [r for r, (ips, _) in ends if any(low <= route.next_hop <= high for low, high in ips)]
    return False
